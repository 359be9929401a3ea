import { createServer as createHttpServer } from 'node:http'
import { afterEach, expect, test } from 'vitest'
import { newReport } from '../engine/config-pass.ts'
import { failure, queued, recordOf } from '../engine/records.fixture.ts'
import type { TargetRecord } from '../engine/records.ts'
import { apiParts, engineStatus } from '../monitor/api.fixture.ts'
import { createServer, type ServerParts } from '../monitor/server.ts'
import { advance } from '../rollout/deployment.ts'
import { serviceRelease } from '../rollout/release.fixture.ts'
import { runCommand } from './main.ts'

const closes: (() => Promise<unknown>)[] = []

afterEach(async () => {
  for (const close of closes.splice(0)) await close()
})

/** A server on a real socket; resolves to its address. */
async function serve(over: Partial<ServerParts> = {}): Promise<string> {
  const quiet = () => {}
  const server = createServer({
    webhook: async () => ({ status: 202, message: 'stored' }),
    notReady: () => null,
    token: null,
    log: { debug: quiet, info: quiet, warn: quiet, error: quiet },
    ...apiParts(over),
    ...over,
  })
  closes.push(() => server.close())
  return server.listen({ host: '127.0.0.1', port: 0 })
}

async function run(url: string, argv: string[], variables: Record<string, string> = {}) {
  const written = { output: '', errors: '' }
  const code = await runCommand(argv, {
    variables: { TOWLINE_URL: url, ...variables },
    signal: new AbortController().signal,
    streams: {
      stdout: { write: (text: string) => (written.output += text) },
      stderr: { write: (text: string) => (written.errors += text) },
    },
  })
  return { code, ...written }
}

const key = 'acme/config:shop@web-1'
const at = '2026-11-21T10:05:00.000Z'
const told = { ...newReport, checkRunId: 7, done: true }
const deployment = advance(queued('shop'), { type: 'succeeded' }, at)

function shop(over: Partial<TargetRecord> = {}): TargetRecord {
  const release = serviceRelease()
  return recordOf('shop', [deployment], {
    reports: { [deployment.id]: told },
    applied: { deploymentId: deployment.id, specHash: 'beef', release, at },
    ...over,
  })
}

/** Healing of it has given up. */
function degraded(): TargetRecord {
  const drift = { subject: 'container shop-1', field: 'state', expected: 'running', found: 'exited' }
  const entry = { drift, action: 'started it', firstSeenAt: at, lastSeenAt: at, count: 5 }
  const reason = 'it was put right 5 times in 10 minutes'
  return shop({
    healing: {
      failureCount: 0,
      notBefore: at,
      lastDrift: [drift],
      lastHealedAt: at,
      healedAt: {},
      degraded: { since: at, reason, retryAt: null },
    },
    drift: {
      episode: {
        id: 'drift-d-shop-1',
        commit: 'c0ffee',
        target: key,
        openedAt: at,
        endedAt: null,
        entries: [entry],
        degradedReason: reason,
      },
      report: told,
    },
  })
}

test('doctor says that all is well where it is, and exits with 0', async () => {
  const { code, output, errors } = await run(await serve({ targets: async () => [shop()] }), ['doctor'])
  expect({ code, errors }).toEqual({ code: 0, errors: '' })
  expect(output).toMatch(
    /^Towline 0\.1\.0 at http:\/\/127\.0\.0\.1:\d+, up since 2026-11-21T09:00:00.000Z: healthy$/m,
  )
  expect(output).toContain('host web-1: known, seen 2026-11-21T10:00:00.000Z\n')
  expect(output).toContain('GitHub: reachable, last answer 2026-11-21T10:00:00.000Z; 0 ends')
  expect(output).toContain('targets: 1, 1 unwanted\n')
  expect(output).toMatch(/All is well\.\n$/)
})

test('doctor names each trouble with what drifted, what was done and what to do, and exits with 2', async () => {
  const hosts = [
    { host: 'web-1', engineId: null, unknownSince: null, lastSeenAt: null },
    { host: 'web-2', engineId: null, unknownSince: '2026-11-21T10:30:00.000Z', lastSeenAt: null },
  ]
  const url = await serve({
    targets: async () => [degraded()],
    status: async () => engineStatus({ hosts }),
    github: () => ({ unreachableSince: at, reason: 'no answer', lastAnswerAt: null }),
    catchUp: () => ({ at, recoveredCount: 2, error: 'no answer' }),
  })
  const { code, output } = await run(url, ['doctor'])
  expect(code).toBe(2)
  expect(output).toContain('host web-2: unknown since 2026-11-21T10:30:00.000Z\n')
  expect(output).toContain(`GitHub: no good answer since ${at}`)
  expect(output).toContain(`missed webhooks: last looked for ${at}, 2 taken in; not whole: no answer\n`)
  expect(output).toContain(`target ${key} since ${at}: degraded: it was put right 5 times in 10 minutes\n`)
  expect(output).toContain('    container shop-1: state was exited, should be running; started it (5 times,')
  expect(output).toContain(`  What to do: Mend what keeps it from healing, then: towline reconcile ${key}\n`)
  expect(output.match(/ {2}What to do: /g)).toHaveLength(3)
  expect(output).toMatch(/3 findings\.\n$/)
})

test('an orphan that goes by itself is no finding; one that is only reported is', async () => {
  const orphan = {
    host: 'web-1',
    kind: 'container' as const,
    name: 'stray',
    reason: 'no record names it',
    firstSeenAt: at,
    removeAfter: '2026-11-21T10:10:00.000Z',
  }
  const server = (removeAfter: string | null) =>
    serve({ status: async () => engineStatus({ orphans: [{ ...orphan, removeAfter }] }) })
  const swept = await run(await serve({ sweep: async () => ({ hosts: [], repos: [], orphans: [orphan] }) }), [
    'reconcile',
    '--dry-run',
  ])
  expect(swept).toMatchObject({ code: 0, output: expect.stringContaining('orphan container stray on web-1') })
  const going = await run(await server(orphan.removeAfter), ['doctor'])
  expect(going.code).toBe(0)
  expect(going.output).toContain(
    'orphan container stray on web-1: no record names it; removed after 2026-11-21T10:10:00.000Z\n',
  )
  const kept = await run(await server(null), ['doctor'])
  expect(kept.code).toBe(2)
  expect(kept.output).toContain(`orphan container stray on web-1 since ${at}: no record names it\n`)
})

test('doctor --json is one value with everything in it', async () => {
  const { code, output } = await run(await serve({ targets: async () => [degraded()] }), ['doctor', '--json'])
  expect(code).toBe(2)
  expect(JSON.parse(output)).toMatchObject({
    health: { status: 'degraded', hosts: [{ host: 'web-1' }] },
    findings: [{ kind: 'target', subject: key }],
    stuck: { open: [], ended: [] },
    targets: [{ key, driftEntries: [{ field: 'state', count: 5 }] }],
  })
})

test('a server that is not there ends a command with 1 and says where to look', async () => {
  const url = await serve()
  await closes.pop()?.()
  for (const verb of ['doctor', 'get', 'reconcile']) {
    expect(await run(url, [verb])).toEqual({
      code: 1,
      output: '',
      errors: `no Towline answers at ${url}\nStart it, or set TOWLINE_URL to where it listens.\n`,
    })
  }
})

test('something else that answers there is no Towline', async () => {
  const other = createHttpServer((_request, response) => response.end('<html>hello</html>'))
  await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve))
  closes.push(async () => other.close())
  const address = other.address()
  const port = typeof address === 'object' && address ? address.port : 0
  const { code, errors } = await run(`http://127.0.0.1:${port}`, ['doctor'])
  expect(code).toBe(1)
  expect(errors).toContain('is no Towline')
})

test('a command sends the token, and says which one is missing where it is refused', async () => {
  const url = await serve({ token: 'a-long-token' })
  expect((await run(url, ['get'], { TOWLINE_TOKEN: 'a-long-token' })).code).toBe(0)
  const { code, output, errors } = await run(url, ['get'], { TOWLINE_TOKEN: 'another' })
  expect({ code, output }).toEqual({ code: 1, output: '' })
  expect(errors).toContain('Set TOWLINE_TOKEN')
  expect(errors).not.toContain('another')
})

test('a TOWLINE_URL that is no address is named', async () => {
  const { code, errors } = await run('localhost:3000', ['doctor'])
  expect(code).toBe(1)
  expect(errors).toContain('TOWLINE_URL is not an address')
})

test('get lists targets and deployments, and shows one of each whole', async () => {
  const failed = advance(queued('docs'), failure(), at)
  const url = await serve({ targets: async () => [shop(), recordOf('docs', [failed])] })
  expect((await run(url, ['get'])).output).toMatch(
    /^unwanted {2}acme\/config:docs@web-1 .*\nunwanted {2}acme/,
  )
  expect((await run(url, ['get', 'targets'])).output).toBe((await run(url, ['get'])).output)
  expect((await run(url, ['get', 'deployments'])).output).toContain(
    'succeeded  d-shop acme/config:shop@web-1',
  )
  const whole = (await run(url, ['get', key])).output
  expect(whole).toContain('  applied  release new of commit c0ffee')
  expect((await run(url, ['get', 'd-docs'])).output).toContain('failed in queued: it is gone')
  expect(JSON.parse((await run(url, ['get', key, '--json'])).output)).toMatchObject({ key })
  const { code, errors } = await run(url, ['get', 'd-none'])
  expect(code).toBe(1)
  expect(errors).toContain('There is no deployment d-none')
})

const due = { target: key, reason: 'the host drifted from the applied release', drift: [] }
const swept = { hosts: [{ host: 'web-1', targetCount: 2, due: [due] }], repos: [], orphans: [] }

test('reconcile looks at everything; with --dry-run it asks for no change and exits with 2 where one is due', async () => {
  const asked: unknown[] = []
  const url = await serve({
    sweep: async ({ dryRun }) => {
      asked.push(dryRun)
      return swept
    },
  })
  const real = await run(url, ['reconcile'])
  expect(real.code).toBe(0)
  expect(real.output).toContain(`  ${key}: the host drifted from the applied release\n`)
  expect((await run(url, ['reconcile', '--dry-run'])).code).toBe(2)
  expect((await run(url, ['reconcile', key, '--dry-run'])).code).toBe(2)
  expect(await run(url, ['reconcile', 'acme/config:docs@web-1', '--dry-run'])).toMatchObject({
    code: 0,
    output: expect.stringContaining('Nothing is due.'),
  })
  expect(asked).toEqual([false, true, true, true])
})

test('reconcile of one target lifts what kept it from healing; a host that is away makes a whole one fail', async () => {
  const asked: string[] = []
  const away = { hosts: [{ host: 'web-1', error: 'no answer', hint: 'Start it.' }], repos: [], orphans: [] }
  const url = await serve({
    targets: async () => [shop()],
    reconcile: async (target) => {
      asked.push(target)
      return target === key
    },
    sweep: async () => away,
  })
  expect((await run(url, ['reconcile', key])).code).toBe(0)
  expect((await run(url, ['reconcile', 'acme/config:none@web-1'])).code).toBe(1)
  expect(asked).toEqual([key, 'acme/config:none@web-1'])
  expect(await run(url, ['reconcile'])).toMatchObject({
    code: 1,
    output: expect.stringContaining('web-1 gives no answer: no answer. Start it.'),
  })
})

test('cancel and retry name what is done, or why it is not', async () => {
  const url = await serve({
    targets: async () => [shop()],
    cancel: async () => ({ kind: 'refused', reason: 'It has ended already.' }),
  })
  expect(await run(url, ['retry', 'd-shop'])).toMatchObject({
    code: 0,
    output: `${key}: d-shop-2 is queued.\n`,
  })
  expect(await run(url, ['cancel', 'd-shop'])).toMatchObject({ code: 1, errors: 'It has ended already.\n' })
})

test.each([
  [['doctor', 'extra'], ''],
  [['cancel'], ''],
  [['retry', 'one', 'two'], ''],
  [['doctor', '--dry-run'], 'This command takes no --dry-run.'],
  [['get', '--config', 'server.yaml'], 'This command takes no --config.'],
  [['plan', '.', '--dry-run'], 'This command takes no --dry-run.'],
  [['heal'], 'There is no command "heal".'],
])('%j is answered with the usage', async (argv, mistake) => {
  const { code, output, errors } = await run('http://127.0.0.1:9', argv)
  expect({ code, output }).toEqual({ code: 1, output: '' })
  expect(errors).toContain(mistake)
  expect(errors).toContain('towline <get|doctor|reconcile|cancel|retry>')
})
