import { timingSafeEqual } from 'node:crypto'
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify'
import type { Log } from '../engine/ports.ts'
import { explain, faultOf } from '../rollout/error.ts'

export type ServerParts = {
  /** Handles a webhook's bytes; answers with an HTTP status. */
  webhook: (request: {
    body: Buffer
    deliveryGuid: string | undefined
    event: string | undefined
    signature: string | undefined
  }) => Promise<{ status: number; message: string }>
  /** null while Towline can take work, else what it waits for. */
  notReady: () => string | null
  /** Looks at everything now; what it found is answered as it is. */
  sweep: () => Promise<object>
  /** Bearer token of the API; null answers on loopback only. */
  token: string | null
  log: Log
}

/** Path GitHub sends webhooks to; the same stands in `app.yml`. */
export const webhookPath = '/api/github/webhooks'

/** The HTTP face of Towline. Errors are problem documents (RFC 9457). */
export function createServer(parts: ServerParts): FastifyInstance {
  const server = Fastify({
    bodyLimit: apiBodyBytes,
    requestTimeout: requestTimeoutMs,
    forceCloseConnections: true,
  })

  server.setErrorHandler((error: { statusCode?: number; message: string }, _request, reply) => {
    const status = error.statusCode ?? 500
    if (status >= 500) parts.log.error({ err: error, ...explain(error) }, 'a request failed')
    const fault = faultOf(error)
    const detail = status >= 500 && fault === 'bug' ? 'See the server log.' : error.message
    return problem(reply, status, detail)
  })
  server.setNotFoundHandler((request, reply) =>
    problem(reply, 404, `${request.method} ${request.url} is not served`),
  )

  server.get('/healthz', async () => ({ status: 'ok' }))
  server.get('/readyz', async (_request, reply) => {
    const reason = parts.notReady()
    return reason === null ? { status: 'ready' } : problem(reply, 503, reason)
  })
  server.register(async (scope) => acceptWebhooks(scope, parts))
  server.register(async (scope) => {
    scope.addHook('onRequest', async (request, reply) => {
      const refusal = refuseCaller(request, parts.token)
      if (refusal) return problem(reply, refusal.status, refusal.detail)
    })
    scope.post('/api/monitoring/reconcile/trigger', () => parts.sweep())
  })
  return server
}

/** The body is read as bytes, whatever its type: the signature is over the bytes. */
async function acceptWebhooks(scope: FastifyInstance, parts: ServerParts): Promise<void> {
  scope.removeAllContentTypeParsers()
  scope.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body))
  scope.post(webhookPath, { bodyLimit: webhookBodyBytes }, async (request, reply) => {
    const { status, message } = await parts.webhook({
      body: Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0),
      deliveryGuid: header(request, 'x-github-delivery'),
      event: header(request, 'x-github-event'),
      signature: header(request, 'x-hub-signature-256'),
    })
    if (status < 300) return reply.status(status).send({ status: message })
    parts.log.warn(
      { status, message, delivery: header(request, 'x-github-delivery') },
      'a webhook was refused',
    )
    return problem(reply, status, message)
  })
}

function refuseCaller(
  request: FastifyRequest,
  token: string | null,
): { status: number; detail: string } | null {
  if (token === null) {
    const local = request.ip === '127.0.0.1' || request.ip === '::1' || request.ip === '::ffff:127.0.0.1'
    if (local) return null
    return { status: 403, detail: 'Without TOWLINE_TOKEN the API answers on loopback only.' }
  }
  const given = /^Bearer (?<token>.+)$/.exec(request.headers.authorization ?? '')?.groups?.token ?? ''
  if (sameText(given, token)) return null
  return { status: 401, detail: 'Send the header "Authorization: Bearer <TOWLINE_TOKEN>".' }
}

/** Takes the same time wherever the texts differ, so that a token cannot be guessed letter by letter. */
function sameText(a: string, b: string): boolean {
  const left = Buffer.from(a)
  const right = Buffer.from(b)
  return left.length === right.length && timingSafeEqual(left, right)
}

function problem(reply: FastifyReply, status: number, detail: string) {
  return reply
    .status(status)
    .type('application/problem+json')
    .send({ type: 'about:blank', title: titles[status] ?? 'Request failed', status, detail })
}

function header(request: FastifyRequest, name: string): string | undefined {
  const value = request.headers[name]
  return typeof value === 'string' ? value : undefined
}

const titles: Record<number, string> = {
  400: 'Bad Request',
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'Not Found',
  413: 'Content Too Large',
  500: 'Internal Server Error',
  503: 'Service Unavailable',
}

/** GitHub sends no webhook larger than this (docs: "Webhook payloads are capped at 25 MB"). */
const webhookBodyBytes = 25 * 1024 * 1024
const apiBodyBytes = 64 * 1024
/** Time to receive a whole request; GitHub itself waits 10 s for the answer. */
const requestTimeoutMs = 30_000
