/**
 * A Docker socket in front of the real one. It passes everything on, and stops chosen requests, so that a test can act
 * at exactly that moment of a deployment. Whole bodies are kept in memory: for small releases only.
 */

import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { pipeline } from 'node:stream/promises'

/** `before`: the Engine never hears of the request. `after`: the Engine has done it, and nobody hears its answer. */
export type Moment = 'before' | 'after'

export type FaultProxy = AsyncDisposable & {
  socketPath: string
  /**
   * From now on no request whose text matches gets an answer. The text is `METHOD /path` and the body where it is
   * JSON; for the start of an exec, also the body that made it.
   */
  hold(pattern: RegExp, moment: Moment): void
  /** From now on the Engine seems to fail where the text matches. */
  refuse(pattern: RegExp): void
  /** How many requests were stopped since the last `clear`. */
  stoppedCount(): number
  clear(): void
}

type Rule = { pattern: RegExp; act: Moment | 'refuse' }

export async function startFaultProxy(engineSocket: string): Promise<FaultProxy> {
  const folder = await mkdtemp(join(tmpdir(), 'towline-proxy-'))
  const socketPath = join(folder, 'docker.sock')
  const execBodies = new Map<string, string>()
  let rules: Rule[] = []
  let stoppedCount = 0

  async function serve(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const body = await buffer(req)
    const rule = rules.find(({ pattern }) => pattern.test(describe(req, body)))
    if (rule?.act === 'before' || rule?.act === 'refuse') {
      stoppedCount += 1
      if (rule.act === 'refuse') res.writeHead(500).end('{"message":"refused on purpose"}')
      return
    }
    const { method, url: path, headers } = req
    const upstream = request({ socketPath: engineSocket, method, path, headers })
    upstream.on('error', () => res.destroy())
    res.on('close', () => upstream.destroy())
    // Towline's end tears both connections down: an answer that is cut then is nothing to report.
    upstream.on('response', (answer) => void passAnswer(answer).catch(() => res.destroy()))
    async function passAnswer(answer: IncomingMessage): Promise<void> {
      if (isExecCreate(req)) return passExec(answer, { res, body, held: rule !== undefined })
      if (rule === undefined) {
        res.writeHead(answer.statusCode ?? 500, answer.headers)
        return pipeline(answer, res)
      }
      await buffer(answer)
      stoppedCount += 1
    }
    upstream.end(body)
  }

  async function passExec(
    answer: IncomingMessage,
    { res, body, held }: { res: ServerResponse; body: Buffer; held: boolean },
  ): Promise<void> {
    const text = (await buffer(answer)).toString()
    const id = /"Id":"(\w+)"/.exec(text)?.[1]
    if (id !== undefined) execBodies.set(id, body.toString())
    if (held) stoppedCount += 1
    else res.writeHead(answer.statusCode ?? 500, answer.headers).end(text)
  }

  function describe({ method, url, headers }: IncomingMessage, body: Buffer): string {
    const execId = /\/exec\/(\w+)\/start/.exec(url ?? '')?.[1]
    const json = headers['content-type']?.includes('json') ? body.toString() : ''
    return [method, url, json, execBodies.get(execId ?? '') ?? ''].join(' ')
  }

  const server = createServer((req, res) => {
    serve(req, res).catch(() => res.destroy())
  })
  // The event stream stays open for as long as Towline lives.
  server.requestTimeout = 0
  await new Promise<void>((resolve) => server.listen(socketPath, resolve))
  return {
    socketPath,
    hold: (pattern, moment) => void rules.push({ pattern, act: moment }),
    refuse: (pattern) => void rules.push({ pattern, act: 'refuse' }),
    stoppedCount: () => stoppedCount,
    clear() {
      rules = []
      stoppedCount = 0
    },
    async [Symbol.asyncDispose]() {
      const closed = new Promise((resolve) => server.close(resolve))
      server.closeAllConnections()
      await closed
      await rm(folder, { recursive: true, force: true })
    },
  }
}

function isExecCreate({ method, url }: IncomingMessage): boolean {
  return method === 'POST' && /\/containers\/[^/]+\/exec/.test(url ?? '')
}
