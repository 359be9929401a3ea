import type { HttpClient } from 'isomorphic-git'
import { TowlineError } from '../rollout/error.ts'

/** What went wrong below isomorphic-git, which drops some of it: a cut list of refs reads as a shorter list there. */
export type TransferFailure =
  | { kind: 'network'; cause: unknown }
  | { kind: 'cut'; sentBytes: number }
  | { kind: 'refused'; message: string }
  | { kind: 'tooLarge'; error: TowlineError }

/**
 * An HTTP client for one git operation. `renewToken` gives a new one where the server refuses the first. It sends the token from the first request on (git's way costs a 401 first),
 * follows no redirect (the token goes nowhere else), counts bytes, and makes sure each answer is whole.
 */
export function gitHttp(options: {
  repo: string
  token: string
  renewToken: () => Promise<string>
  signal: AbortSignal
  maxBytes: number
}): {
  http: HttpClient
  failure(): TransferFailure | null
} {
  let { token } = options
  let renewed = false
  const transfer: Transfer = { ...options, receivedBytes: 0, failure: null }
  return {
    failure: () => transfer.failure,
    http: {
      async request({ url, method = 'GET', headers = {}, body }) {
        try {
          const whole = body === undefined ? null : await collect(body)
          const send = () =>
            fetch(url, {
              method,
              // GitHub serves git by the user agent's first word where a URL lacks `.git`.
              headers: { ...headers, authorization: basic(token), 'user-agent': 'git/towline' },
              redirect: 'manual',
              signal: options.signal,
              body: whole,
            })
          let response = await send()
          if (response.status === 401 && !renewed) {
            renewed = true
            await response.body?.cancel()
            token = await options.renewToken()
            response = await send()
          }
          return {
            url,
            method,
            statusCode: response.status,
            statusMessage: response.statusText,
            headers: Object.fromEntries(response.headers),
            body: receive(response, transfer),
          }
        } catch (cause) {
          transfer.failure ??= { kind: 'network', cause }
          throw cause
        }
      },
    },
  }
}

function basic(token: string): string {
  return `Basic ${Buffer.from(`x-access-token:${token}`).toString('base64')}`
}

type Transfer = {
  repo: string
  maxBytes: number
  receivedBytes: number
  failure: TransferFailure | null
}

async function* receive(response: Response, transfer: Transfer): AsyncGenerator<Uint8Array> {
  let start = ''
  let end = ''
  let sentBytes = 0
  try {
    for await (const chunk of response.body ?? []) {
      sentBytes += chunk.byteLength
      transfer.receivedBytes += chunk.byteLength
      if (transfer.receivedBytes > transfer.maxBytes) throw tooLarge(transfer)
      if (start.length < errorPacketLength) start += text(chunk.subarray(0, errorPacketLength))
      end = (end + text(chunk.subarray(-flushPacket.length))).slice(-flushPacket.length)
      yield chunk
    }
  } catch (cause) {
    transfer.failure ??=
      cause instanceof TowlineError ? { kind: 'tooLarge', error: cause } : { kind: 'network', cause }
    throw cause
  }
  const isGit = response.headers.get('content-type')?.startsWith('application/x-git-') ?? false
  if (response.status !== 200 || !isGit || end === flushPacket) return
  const refusal = errorPacket.exec(start)?.[1]
  transfer.failure ??=
    refusal === undefined ? { kind: 'cut', sentBytes } : { kind: 'refused', message: refusal.trim() }
}

/** Every whole answer of git's smart protocol ends with it. `gitprotocol-common(5)`, `gitprotocol-http(5)`. */
const flushPacket = '0000'

/** `ERR` and an explanation, in place of an answer. `gitprotocol-pack(5)`. */
const errorPacket = /^[0-9a-f]{4}ERR ([\x20-\x7e]*)/
const errorPacketLength = 200

function tooLarge({ repo, maxBytes, receivedBytes }: Transfer): TowlineError {
  return new TowlineError(
    `${repo} is larger than the limit of ${mebibytes(maxBytes)} MiB: ${mebibytes(receivedBytes)} MiB came, and more would follow`,
    { fault: 'input', hint: 'Keep large files out of the config repo; put them in an image.' },
  )
}

function mebibytes(bytes: number): string {
  return (bytes / 1024 / 1024).toFixed(1)
}

function text(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('latin1')
}

/** A request of git is a few lines; isomorphic-git passes it as an array of buffers. */
async function collect(
  body: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
): Promise<Uint8Array<ArrayBuffer>> {
  const parts: Uint8Array[] = []
  for await (const part of body) parts.push(part)
  return Buffer.concat(parts)
}
