import type { IncomingMessage } from 'node:http'
import { Refusal } from './answer.ts'
import { redact } from './callers.ts'

/** One request this GitHub got. Credentials are never kept: paths and bodies are redacted, headers are left out. */
export type RecordedRequest = {
  at: string
  method: string
  /** With its query. */
  path: string
  /** Who called, e.g. `installation 1004`. */
  caller: string
  /** The JSON body; null where there was none, where it was git's, or where a fault struck first. */
  body: unknown
  /** null until answered, and where the connection was cut. */
  status: number | null
  /** True where no route knows the path. */
  unknown: boolean
}

/** How many requests are remembered: more than any journey makes, a few megabytes for a demo that runs for days. */
const recordLimit = 20_000

/** No request of an App comes near this. */
const bodyByteLimit = 1024 * 1024

/** Remembers requests, oldest first, the oldest dropped beyond the limit. */
export function createRequestLog() {
  const requests: RecordedRequest[] = []
  return {
    requests: requests as readonly RecordedRequest[],
    add(method: string, path: string): RecordedRequest {
      const entry: RecordedRequest = {
        at: new Date().toISOString(),
        method,
        path: redact(path),
        caller: 'anonymous',
        body: null,
        status: null,
        unknown: false,
      }
      requests.push(entry)
      if (requests.length > recordLimit) requests.shift()
      return entry
    },
  }
}

/** The JSON object of a request, or null where the body is empty. @throws Refusal 400 or 413. */
export async function readJson(req: IncomingMessage): Promise<object | null> {
  const chunks: Buffer[] = []
  let byteCount = 0
  for await (const chunk of req) {
    byteCount += chunk.length
    if (byteCount > bodyByteLimit) throw new Refusal(413, 'Request body is larger than 1 MB')
    chunks.push(chunk)
  }
  if (byteCount === 0) return null
  const value = parse(Buffer.concat(chunks).toString('utf8'))
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new Refusal(400, 'Body should be a JSON object')
  }
  return value
}

/** A body without its credentials, for the record. */
export function redactBody(body: object | null): unknown {
  return body === null ? null : JSON.parse(redact(JSON.stringify(body)))
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw new Refusal(400, 'Problems parsing JSON')
  }
}
