import { timingSafeEqual } from 'node:crypto'
import Fastify, { type FastifyInstance, type FastifyRequest } from 'fastify'
import type { Log } from '../engine/ports.ts'
import { explain, faultOf } from '../rollout/error.ts'
import { type ApiParts, serveApi } from './api.ts'
import { problem } from './problem.ts'

export type ServerParts = ApiParts & {
  /** Handles a webhook's bytes; answers with an HTTP status. */
  webhook: (request: {
    body: Buffer
    deliveryGuid: string | undefined
    event: string | undefined
    signature: string | undefined
  }) => Promise<{ status: number; message: string }>
  /** null while Towline can take work, else what it waits for. */
  notReady: () => string | null
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
    routerOptions: { maxParamLength: targetKeyLength },
    // A query parameter nobody knows is an error: a misspelt `dryRun` must not act.
    ajv: { customOptions: { removeAdditional: false } },
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
    serveApi(scope, parts)
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

function header(request: FastifyRequest, name: string): string | undefined {
  const value = request.headers[name]
  return typeof value === 'string' ? value : undefined
}

/** GitHub sends no webhook larger than this (docs: "Webhook payloads are capped at 25 MB"). */
const webhookBodyBytes = 25 * 1024 * 1024
const apiBodyBytes = 64 * 1024
/** Time to receive a whole request; GitHub itself waits 10 s for the answer. */
const requestTimeoutMs = 30_000
/** A repo's name has up to 140 characters, an app and a host up to 103, and URL-encoding triples some of them. */
const targetKeyLength = 1_000
