import { afterEach, expect, test } from 'vitest'
import { TowlineError } from '../rollout/error.ts'
import { apiParts } from './api.fixture.ts'
import { createServer, type ServerParts, webhookPath } from './server.ts'

type Server = ReturnType<typeof createServer>

const open: Server[] = []

afterEach(async () => {
  for (const server of open.splice(0)) await server.close()
})

function start(over: Partial<ServerParts> = {}): Server {
  const quiet = () => {}
  const server = createServer({
    webhook: async () => ({ status: 202, message: 'stored' }),
    notReady: () => null,
    ...apiParts(),
    token: null,
    log: { debug: quiet, info: quiet, warn: quiet, error: quiet },
    ...over,
  })
  open.push(server)
  return server
}

const trigger = { method: 'POST', url: '/api/monitoring/reconcile/trigger' } as const
const problemType = 'application/problem+json; charset=utf-8'

test('it is healthy while it answers, and ready while it can take work', async () => {
  const server = start()
  expect((await server.inject('/healthz')).json()).toEqual({ status: 'ok' })
  expect((await server.inject('/readyz')).json()).toEqual({ status: 'ready' })
})

test('what it waits for is told while it is not ready', async () => {
  const answer = await start({ notReady: () => 'stopping' }).inject('/readyz')
  expect(answer.statusCode).toBe(503)
  expect(answer.headers['content-type']).toBe(problemType)
  expect(answer.json()).toEqual({
    type: 'about:blank',
    title: 'Service Unavailable',
    status: 503,
    detail: 'stopping',
  })
})

test('what is not served is answered with a problem document', async () => {
  const answer = await start().inject('/nothing')
  expect(answer.statusCode).toBe(404)
  expect(answer.headers['content-type']).toBe(problemType)
  expect(answer.json()).toMatchObject({ title: 'Not Found', detail: 'GET /nothing is not served' })
})

test('a webhook is handed on byte for byte, whatever its type, with the headers of GitHub', async () => {
  const seen: unknown[] = []
  const server = start({
    webhook: async (request) => {
      seen.push(request)
      return { status: 202, message: 'stored' }
    },
  })
  const payload = Buffer.from('{ "a":  "\u00fc" }\n')
  for (const type of ['application/json', 'application/x-www-form-urlencoded', 'text/odd']) {
    const answer = await server.inject({
      method: 'POST',
      url: webhookPath,
      headers: {
        'content-type': type,
        'x-github-delivery': 'guid-1234',
        'x-github-event': 'push',
        'x-hub-signature-256': 'sha256=00',
      },
      payload,
    })
    expect([answer.statusCode, answer.json()]).toEqual([202, { status: 'stored' }])
  }
  const request = { body: payload, deliveryGuid: 'guid-1234', event: 'push', signature: 'sha256=00' }
  expect(seen).toEqual([request, request, request])
})

test('a webhook without body and headers is handed on as such', async () => {
  const seen: unknown[] = []
  const server = start({
    webhook: async (request) => {
      seen.push(request)
      return { status: 400, message: 'X-GitHub-Delivery is missing or no id' }
    },
  })
  const answer = await server.inject({ method: 'POST', url: webhookPath })
  expect(answer.statusCode).toBe(400)
  expect(answer.json()).toMatchObject({
    title: 'Bad Request',
    detail: 'X-GitHub-Delivery is missing or no id',
  })
  expect(seen).toEqual([
    { body: Buffer.alloc(0), deliveryGuid: undefined, event: undefined, signature: undefined },
  ])
})

test('webhooks need no token: their signature is proof enough', async () => {
  const answer = await start({ token: 'api-token' }).inject({ method: 'POST', url: webhookPath, payload: {} })
  expect(answer.statusCode).toBe(202)
})

test('a webhook that is refused is logged with its id and without its body', async () => {
  const logged: unknown[] = []
  const quiet = () => {}
  const warn = (fields: object, message: string) => logged.push([fields, message])
  const server = start({
    log: { debug: quiet, info: quiet, error: quiet, warn },
    webhook: async () => ({ status: 401, message: 'the signature does not fit the body' }),
  })
  const headers = { 'x-github-delivery': 'guid-1234' }
  const answer = await server.inject({
    method: 'POST',
    url: webhookPath,
    headers,
    payload: { secret: 'hidden' },
  })
  expect(answer.statusCode).toBe(401)
  expect(logged).toEqual([
    [
      { status: 401, message: 'the signature does not fit the body', delivery: 'guid-1234' },
      'a webhook was refused',
    ],
  ])
})

test('a webhook may have 25 MB and not a byte more', async () => {
  const seen: number[] = []
  const server = start({
    webhook: async ({ body }) => {
      seen.push(body.length)
      return { status: 202, message: 'stored' }
    },
  })
  const limit = 25 * 1024 * 1024
  const post = (payload: Buffer) => {
    const headers = { 'content-type': 'application/json' }
    return server.inject({ method: 'POST', url: webhookPath, headers, payload })
  }
  expect((await post(Buffer.alloc(limit))).statusCode).toBe(202)
  const answer = await post(Buffer.alloc(limit + 1))
  expect(answer.statusCode).toBe(413)
  expect(answer.json()).toMatchObject({ title: 'Content Too Large', status: 413 })
  expect(seen).toEqual([limit])
})

test('the API takes small bodies only', async () => {
  const headers = { 'content-type': 'application/json' }
  const payload = JSON.stringify('x'.repeat(64 * 1024))
  const answer = await start().inject({ ...trigger, headers, payload })
  expect(answer.statusCode).toBe(413)
  expect(answer.headers['content-type']).toBe(problemType)
})

test('a sweep is answered with what it found', async () => {
  const report = { hosts: [{ host: 'web-1', targetCount: 2, due: [] }], repos: [] }
  const answer = await start({ sweep: async () => report }).inject(trigger)
  expect([answer.statusCode, answer.json()]).toEqual([200, report])
})

test.each(['127.0.0.1', '::1', '::ffff:127.0.0.1'])(
  'without a token the API answers loopback (%s)',
  async (remoteAddress) => {
    expect((await start().inject({ ...trigger, remoteAddress })).statusCode).toBe(200)
  },
)

test('without a token the API answers nobody else, whatever they claim to be', async () => {
  const answer = await start().inject({
    ...trigger,
    remoteAddress: '10.0.0.9',
    headers: { 'x-forwarded-for': '127.0.0.1' },
  })
  expect(answer.statusCode).toBe(403)
  expect(answer.json()).toMatchObject({
    title: 'Forbidden',
    detail: 'Without TOWLINE_TOKEN the API answers on loopback only.',
  })
})

test('with a token the API answers who sends it, from anywhere', async () => {
  const server = start({ token: 'api-token' })
  const headers = { authorization: 'Bearer api-token' }
  expect((await server.inject({ ...trigger, headers, remoteAddress: '10.0.0.9' })).statusCode).toBe(200)
})

test.each([
  ['none at all', undefined],
  ['another one', 'Bearer api-tokem'],
  ['a shorter one', 'Bearer api'],
  ['a longer one', 'Bearer api-token-2'],
  ['an empty one', 'Bearer '],
  ['another scheme', 'Basic api-token'],
  ['the bare token', 'api-token'],
])('with a token the API refuses %s, also on loopback, and does nothing', async (_what, authorization) => {
  let sweepCount = 0
  const server = start({
    token: 'api-token',
    sweep: async () => {
      sweepCount += 1
      return {}
    },
  })
  const answer = await server.inject({ ...trigger, headers: authorization ? { authorization } : {} })
  expect(answer.statusCode).toBe(401)
  expect(answer.headers['content-type']).toBe(problemType)
  expect(answer.json()).toMatchObject({ title: 'Unauthorized' })
  expect(answer.body).not.toContain('api-token')
  expect(sweepCount).toBe(0)
})

test('an error of ours is logged and not told; one a person can act on is told', async () => {
  const logged: unknown[] = []
  const log = {
    debug: () => {},
    info: () => {},
    warn: () => {},
    error: (fields: object, message: string) => logged.push([fields, message]),
  }
  const broken = start({ log, sweep: () => Promise.reject(new Error('password=hidden')) })
  const answer = await broken.inject(trigger)
  expect(answer.statusCode).toBe(500)
  expect(answer.json()).toEqual({
    type: 'about:blank',
    title: 'Internal Server Error',
    status: 500,
    detail: 'See the server log.',
  })
  expect(logged).toMatchObject([[{ reason: 'password=hidden' }, 'a request failed']])
  const full = () => Promise.reject(new TowlineError('the disk is full', { fault: 'operator' }))
  expect((await start({ log, sweep: full }).inject(trigger)).json()).toMatchObject({
    status: 500,
    detail: 'the disk is full',
  })
})

test('a webhook that cannot be stored is not acknowledged', async () => {
  const failed = () => Promise.reject(new TowlineError('the disk is full', { fault: 'operator' }))
  const server = start({ webhook: failed })
  expect((await server.inject({ method: 'POST', url: webhookPath, payload: {} })).statusCode).toBe(500)
})
