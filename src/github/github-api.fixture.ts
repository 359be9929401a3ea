import { generateKeyPairSync } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { text } from 'node:stream/consumers'
import { pino } from 'pino'
import type { Delivery } from '../engine/records.ts'
import { type App, createApp, gitHubAddress } from './app.ts'

export type ApiRequest = {
  method: string
  path: string
  query: URLSearchParams
  body: Record<string, unknown>
}
/** A bigint in the body is sent as a number, as GitHub sends ids beyond 2⁵³. */
type ApiAnswer = { status?: number; body: unknown; headers?: Record<string, string> }

export const webhookSecret = 'a-secret-for-tests'
const { privateKey } = generateKeyPairSync('rsa', {
  modulusLength: 2048,
  publicKeyEncoding: { type: 'spki', format: 'pem' },
  privateKeyEncoding: { type: 'pkcs1', format: 'pem' },
})

/**
 * The App against an HTTP server that answers as the test says; an answer of null is a 404. It lies: it grants tokens
 * to anybody, and knows no limits.
 */
export async function startApp(
  answer: (request: ApiRequest) => ApiAnswer | null,
  accept: (delivery: Pick<Delivery, 'guid' | 'hint'>) => Promise<'stored' | 'duplicate'> = async () =>
    'stored',
): Promise<{ app: App; requests: ApiRequest[]; [Symbol.asyncDispose](): Promise<void> }> {
  const requests: ApiRequest[] = []
  const server = createServer(async (request, response) => {
    const { pathname, searchParams } = new URL(request.url ?? '/', 'http://localhost')
    const body = (await text(request)) || '{}'
    const asked: ApiRequest = {
      method: request.method ?? '',
      path: pathname.replace('/api/v3', ''),
      query: searchParams,
      body: JSON.parse(body),
    }
    requests.push(asked)
    const given = asked.path.endsWith('/access_tokens') ? token() : answer(asked)
    const { status = 200, body: sent, headers } = given ?? { status: 404, body: { message: 'Not Found' } }
    response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(toJson(sent))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  const port = typeof address === 'object' ? address?.port : 0
  const app = createApp({
    appId: 1,
    privateKey,
    webhookSecret,
    address: gitHubAddress({ host: `127.0.0.1:${port}`, protocol: 'http' }),
    accept,
    log: pino({ level: 'silent' }),
  })
  return {
    app,
    requests,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}

function toJson(value: unknown): string {
  const text = JSON.stringify(value, (_key, inner) => (typeof inner === 'bigint' ? `${inner}n` : inner))
  return text.replaceAll(/"(\d+)n"/g, '$1')
}

function token(): ApiAnswer {
  const expires = new Date(Date.now() + 3_600_000).toISOString()
  return { status: 201, body: { token: 'token-for-tests', expires_at: expires, permissions: {} } }
}
