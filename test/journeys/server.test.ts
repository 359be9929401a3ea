import { spawn } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer as createTcpServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { pino } from 'pino'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { checkNodeVersion, readEnvironment } from '../../src/environment.ts'
import { startTowline } from '../../src/main.ts'
import { apiParts } from '../../src/monitor/api.fixture.ts'
import { createServer } from '../../src/monitor/server.ts'
import { expectCleanEnd } from '../support/clean-end.ts'
import { eventually, startTown, type Town } from '../support/town.ts'

const token = 'a token of the operator'
let town: Town
let folder: string

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'towline-server-'))
  town = await startTown({
    dockerSocket: inject('dockerSocket'),
    environment: { TOWLINE_TOKEN: token, LOG_LEVEL: 'debug' },
  })
})

afterAll(async () => {
  await town[Symbol.asyncDispose]()
  await rm(folder, { recursive: true, force: true })
})

test('a server without settings names everything that is missing at once, and ends with 1', async () => {
  const { code, output } = await runServer({})
  expect(code).toBe(1)
  for (const name of ['APP_ID', 'PRIVATE_KEY', 'PRIVATE_KEY_PATH', 'WEBHOOK_SECRET']) {
    expect(output).toContain(name)
  }
  expect(output).not.toContain('at readEnvironment')
})

test('every setting that is wrong is named together with what would be right', () => {
  const wrong = {
    APP_ID: 'Iv1.8a61f9b3a7aba766',
    PORT: '30o0',
    LOG_LEVEL: 'loud',
    LOG_FORMAT: 'xml',
    GHE_PROTOCOL: 'ftp',
    DATABASE_URL: 'postgres://towline:hunter2hunter2@db/towline',
  }
  const message = messageOf(() => readEnvironment(wrong))
  for (const name of [...Object.keys(wrong), 'PRIVATE_KEY', 'WEBHOOK_SECRET']) {
    expect(message).toContain(name)
  }
  expect(message).toContain('PostgreSQL is not supported yet')
  expect(message).not.toContain('hunter2')
})

test('a variable that is empty counts as not set', () => {
  expect(messageOf(() => readEnvironment({ ...town.environment, WEBHOOK_SECRET: '' }))).toContain(
    'WEBHOOK_SECRET is not set',
  )
})

test('a private key on one line, with \\n or in base64, is the same key', () => {
  const key = town.github.app.privateKey.trim()
  const forms = [key, key.replaceAll('\n', '\\n'), Buffer.from(key).toString('base64')]
  for (const form of forms) {
    const { privateKey } = readEnvironment({ ...town.environment, PRIVATE_KEY: form })
    expect(privateKey).toEqual({ text: key })
  }
})

test('a private key that is not there is named with the variable to correct', async () => {
  const path = join(folder, 'no.pem')
  await expect(start({ PRIVATE_KEY_PATH: path })).rejects.toMatchObject({
    fault: 'operator',
    message: `the private key could not be read from ${path}`,
    hint: expect.stringContaining('PRIVATE_KEY_PATH'),
  })
})

test('each mistake in server.yaml is told at its line and column', async () => {
  const path = join(folder, 'server.yaml')
  await writeFile(
    path,
    `apiVersion: towline/v1
kind: Server
hosts:
  local: { endpoint: "ftp://docker" }
limits: { total: many }
scedule: { poll: 2s }
`,
  )
  const refusal: unknown = await start({ TOWLINE_CONFIG: path }).catch((error: unknown) => error)
  const message = refusal instanceof Error ? refusal.message : ''
  for (const line of [4, 5, 6]) expect(message).toMatch(new RegExp(`${path}:${line}:\\d+ `))
  expect(message).toContain('schedule')
})

test('a server.yaml that is not there is named with the variable to correct', async () => {
  await expect(start({ TOWLINE_CONFIG: join(folder, 'none.yaml') })).rejects.toMatchObject({
    fault: 'operator',
    hint: expect.stringContaining('TOWLINE_CONFIG'),
  })
})

test('a port that is taken is named with the variable to change', async () => {
  const other = createTcpServer()
  await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve))
  const address = other.address()
  const port = typeof address === 'object' && address ? String(address.port) : ''
  const { code, output } = await runServer({ ...town.environment, PORT: port, TOWLINE_DATA: folder })
  other.close()
  expect(code).toBe(1)
  expect(output).toContain(`127.0.0.1:${port}`)
  expect(output).toContain('PORT')
  expect(output).not.toContain('    at ')
})

test('a second server on the same data folder is refused and told who has it', async () => {
  await expect(start({ PORT: '0' })).rejects.toMatchObject({
    fault: 'operator',
    message: expect.stringContaining(`in use by process ${process.pid}`),
    hint: expect.stringContaining('TOWLINE_DATA'),
  })
})

test('another Node.js than the supported one is refused with how to start', () => {
  expect(() => checkNodeVersion('24.12.0')).not.toThrow()
  for (const version of ['20.19.4', '25.0.0']) {
    expect(messageOf(() => checkNodeVersion(version))).toContain(`this is Node.js ${version}`)
  }
})

test('the server says that it lives and that it is ready', async () => {
  expect(await (await ask('/healthz')).json()).toEqual({ status: 'ok' })
  expect(await (await ask('/readyz')).json()).toEqual({ status: 'ready' })
})

test('a server that cannot take work says why, and lives on', async () => {
  const server = openServer({ token: null, notReady: 'stopping' })
  const answer = await server.inject('/readyz')
  expect(answer.statusCode).toBe(503)
  expect(answer.headers['content-type']).toContain('application/problem+json')
  expect(answer.json()).toMatchObject({ status: 503, detail: 'stopping' })
  expect((await server.inject('/healthz')).statusCode).toBe(200)
})

test('with a token the API wants exactly that token', async () => {
  const trigger = (authorization?: string) =>
    ask('/api/monitoring/reconcile/trigger', {
      method: 'POST',
      ...(authorization !== undefined && { headers: { authorization } }),
    })
  for (const wrong of [undefined, token, `Bearer ${token}x`, `Bearer ${token.slice(1)}`, `Basic ${token}`]) {
    const answer = await trigger(wrong)
    expect(answer.status).toBe(401)
    expect(await answer.json()).toMatchObject({ title: 'Unauthorized', status: 401 })
  }
  const answer = await trigger(`Bearer ${token}`)
  expect(answer.status).toBe(200)
  expect(await answer.json()).toMatchObject({ hosts: [{ host: 'local' }], repos: [{ repo: town.repo }] })
})

test('without a token the API answers on loopback only', async () => {
  const server = openServer({ token: null })
  const trigger = (remoteAddress: string) =>
    server.inject({ method: 'POST', url: '/api/monitoring/reconcile/trigger', remoteAddress })
  for (const near of ['127.0.0.1', '::1']) expect((await trigger(near)).statusCode).toBe(200)
  const far = await trigger('203.0.113.9')
  expect(far.statusCode).toBe(403)
  expect(far.json()).toMatchObject({ status: 403, detail: expect.stringContaining('TOWLINE_TOKEN') })
})

test('what is not served, too large or not understood is a problem document', async () => {
  const server = openServer({ token })
  const authorization = `Bearer ${token}`
  const url = '/api/monitoring/reconcile/trigger'
  const json = { authorization, 'content-type': 'application/json' }
  const answers = {
    404: await server.inject('/api/nothing'),
    413: await server.inject({ method: 'POST', url, headers: json, payload: ' '.repeat(70_000) }),
    400: await server.inject({ method: 'POST', url, headers: json, payload: '{' }),
  }
  for (const [status, answer] of Object.entries(answers)) {
    expect(answer.statusCode).toBe(Number(status))
    expect(answer.headers['content-type']).toContain('application/problem+json')
    expect(answer.json()).toMatchObject({ type: 'about:blank', status: Number(status) })
  }
})

test('a bug of ours is answered without its details', async () => {
  const server = openServer({ token: null, sweep: () => Promise.reject(new Error('at line 7 of the store')) })
  const answer = await server.inject({ method: 'POST', url: '/api/monitoring/reconcile/trigger' })
  expect(answer.statusCode).toBe(500)
  expect(answer.body).not.toContain('store')
})

test('at the end GitHub was asked rightly and no secret shows', () => expectCleanEnd(town))

function ask(path: string, init: RequestInit = {}): Promise<Response> {
  return fetch(town.url + path, { signal: AbortSignal.timeout(10_000), ...init })
}

/** Starts a second server with the town's settings and these. */
function start(variables: Record<string, string>) {
  return startTowline(readEnvironment({ ...town.environment, ...variables }), pino({ level: 'silent' }))
}

type Sweep = Parameters<typeof createServer>[0]['sweep']

function openServer({
  token: apiToken,
  notReady = null,
  sweep = async () => ({ hosts: [], repos: [] }),
}: {
  token: string | null
  notReady?: string | null
  sweep?: Sweep
}) {
  const ignore = () => {}
  return createServer({
    webhook: async () => ({ status: 202, message: 'stored' }),
    notReady: () => notReady,
    ...apiParts({ sweep }),
    token: apiToken,
    log: { debug: ignore, info: ignore, warn: ignore, error: ignore },
  })
}

/** Runs the server with exactly these variables until it ends by itself. */
async function runServer(
  variables: Record<string, string>,
): Promise<{ code: number | null; output: string }> {
  const child = spawn(process.execPath, ['src/main.ts'], {
    env: { PATH: process.env.PATH ?? '', ...variables },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const output = Promise.all([text(child.stdout), text(child.stderr)])
  try {
    const code = await eventually('the server to end', async () =>
      child.exitCode === null ? null : { exitCode: child.exitCode },
    )
    return { code: code.exitCode, output: (await output).join('') }
  } finally {
    child.kill('SIGKILL')
  }
}

function messageOf(act: () => unknown): string {
  try {
    act()
  } catch (error) {
    if (error instanceof Error) return error.message
  }
  throw new Error('nothing was refused')
}
