import { randomUUID } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { type Answer, errorBody, Refusal, refusalAnswer } from './answer.ts'
import { appRoutes } from './apps.ts'
import { type Caller, describeCaller, identify } from './callers.ts'
import { checkRoutes } from './checks.ts'
import { deliveryRoutes } from './deliveries.ts'
import type { Outbox } from './events.ts'
import type { createRateLimit } from './rate-limit.ts'
import { repoRoutes } from './repos.ts'
import { type RecordedRequest, readJson, redactBody } from './requests.ts'
import { matchRoute } from './route.ts'

const routes = [...appRoutes, ...checkRoutes, ...deliveryRoutes, ...repoRoutes]

/** Works out the answer of the REST API to one request, and completes the request's record. */
export async function answerApi(
  outbox: Outbox,
  req: IncomingMessage,
  {
    url,
    rateLimit,
    entry,
  }: { url: URL; rateLimit: ReturnType<typeof createRateLimit>; entry: RecordedRequest },
): Promise<Answer> {
  let limitHeaders: Record<string, string> = {}
  try {
    if (!req.headers['user-agent']) {
      throw new Refusal(403, 'Request forbidden by administrative rules. A User-Agent header is required.')
    }
    const caller = identify(outbox.state, req.headers.authorization)
    entry.caller = describeCaller(caller)
    const limit = rateLimit.count(entry.caller)
    limitHeaders = limit.headers
    if (limit.refusal) throw limit.refusal
    const body = await readJson(req)
    entry.body = redactBody(body)
    const answer = await dispatch(outbox, { method: entry.method, url, caller, body })
    entry.unknown = answer === null
    return withHeaders(answer ?? { status: 404, body: errorBody(404, 'Not Found') }, limitHeaders)
  } catch (error) {
    if (!(error instanceof Refusal)) throw error
    return withHeaders(refusalAnswer(error), limitHeaders)
  }
}

export function sendAnswer(res: ServerResponse, answer: Answer): void {
  const body = answer.body === undefined ? '' : toJson(answer.body)
  res.writeHead(answer.status, {
    'content-type': 'application/json; charset=utf-8',
    'content-length': Buffer.byteLength(body),
    'x-github-request-id': randomUUID(),
    'x-github-media-type': 'github.v3; format=json',
    'x-github-enterprise-version': '3.17.0',
    ...answer.headers,
  })
  res.end(body)
}

/** A bigint becomes a number of JSON, with all its digits. */
function toJson(value: unknown): string {
  const text = JSON.stringify(value, (_key, inner) => (typeof inner === 'bigint' ? `<${inner}n>` : inner))
  return text.replaceAll(/"<(\d+)n>"/g, '$1')
}

/** The answer of the route that knows the path, or null where none does. */
async function dispatch(
  outbox: Outbox,
  { method, url, caller, body }: { method: string; url: URL; caller: Caller; body: object | null },
): Promise<Answer | null> {
  for (const route of routes) {
    const params = matchRoute(route, method, url)
    if (params) return await route.handle({ ...outbox, caller, params, url, body })
  }
  return null
}

function withHeaders(answer: Answer, headers: Record<string, string>): Answer {
  return { ...answer, headers: { ...headers, ...answer.headers } }
}
