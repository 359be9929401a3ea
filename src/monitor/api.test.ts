import { Ajv2020 } from 'ajv/dist/2020.js'
import { afterEach, expect, test } from 'vitest'
import { newReport } from '../engine/config-pass.ts'
import { failure, queued, recordOf } from '../engine/records.fixture.ts'
import type { ReportState, TargetRecord } from '../engine/records.ts'
import { advance, type Deployment, type DeploymentEvent } from '../rollout/deployment.ts'
import { containerSpec, serviceRelease } from '../rollout/release.fixture.ts'
import type { ServiceSpec } from '../spec/spec.ts'
import { apiParts, counts, engineStatus } from './api.fixture.ts'
import type { ApiParts } from './api.ts'
import { operations } from './openapi.ts'
import { createServer } from './server.ts'

type Server = ReturnType<typeof createServer>
const open: Server[] = []

afterEach(async () => {
  for (const server of open.splice(0)) await server.close()
})

function start(over: Partial<ApiParts> & { token?: string | null } = {}): Server {
  const quiet = () => {}
  const { token = null, ...api } = over
  const server = createServer({
    webhook: async () => ({ status: 202, message: 'stored' }),
    notReady: () => null,
    token,
    log: { debug: quiet, info: quiet, warn: quiet, error: quiet },
    ...apiParts(api),
  })
  open.push(server)
  return server
}

const hidden = 'postgres://shop:hunter2@db/shop'
const release = serviceRelease({ containers: [containerSpec({ environment: { DATABASE_URL: hidden } })] })
const at = (minute: number) => `2026-11-21T10:${String(minute).padStart(2, '0')}:00.000Z`

function after(deployment: Deployment, ...events: DeploymentEvent[]): Deployment {
  return events.reduce((state, event, index) => advance(state, event, at(index + 1)), deployment)
}

const pinned: DeploymentEvent = { type: 'pinned', release, changes: ['create container shop (new)'] }
const succeeded = after(queued('shop'), { type: 'phase', phase: 'pulling_source' }, pinned, {
  type: 'succeeded',
})
const failed = after(queued('shop', { id: 'd-shop-2', attempt: 2, now: at(10) }), pinned, failure())

const spec: ServiceSpec = {
  kind: 'Service',
  name: 'shop',
  hosts: ['web-1'],
  dependsOn: ['db'],
  paused: null,
  image: 'shop:1',
  pullPolicy: 'missing',
  entrypoint: null,
  command: null,
  environment: { DATABASE_URL: hidden },
  user: null,
  workingDir: null,
  ports: [{ hostIp: null, hostPort: 8080, containerPort: 80, protocol: 'tcp' }],
  mounts: [],
  healthcheck: null,
  restart: { name: 'unless-stopped', maxRetries: 0 },
  cpus: null,
  memoryBytes: null,
  replicas: 1,
  order: 'stop-first',
  monitorMs: 0,
  progressDeadlineMs: null,
  keepReleases: 5,
  recreateVolumes: true,
  labels: {},
  stopSignal: null,
  stopGraceMs: 1_000,
}

const told: ReportState = { ...newReport, checkRunId: 7, done: true }

/** A target with a past, drift and an environment nobody may see. */
function shop(over: Partial<TargetRecord> = {}): TargetRecord {
  return recordOf('shop', [succeeded, failed], {
    desired: {
      commit: 'c0ffee',
      specHash: 'beef',
      spec: { spec, path: 'apps/shop.yaml', line: 1, hash: 'beef' },
    },
    attempted: { deploymentId: failed.id, specHash: 'beef', attempt: 2 },
    applied: { deploymentId: succeeded.id, specHash: 'beef', release, at: at(3) },
    drift: {
      episode: {
        id: 'drift-d-shop-1',
        commit: 'c0ffee',
        target: 'acme/config:shop@web-1',
        openedAt: at(20),
        endedAt: null,
        entries: [
          {
            drift: { subject: 'container shop-1', field: 'state', expected: 'running', found: 'exited' },
            action: 'started it',
            firstSeenAt: at(20),
            lastSeenAt: at(21),
            count: 2,
          },
        ],
        degradedReason: null,
      },
      report: told,
    },
    healing: {
      failureCount: 1,
      notBefore: at(22),
      lastDrift: [],
      lastHealedAt: null,
      healedAt: {},
      degraded: { since: at(21), reason: 'it was healed 5 times in 10 minutes', retryAt: null },
    },
    removal: null,
    reports: { [succeeded.id]: told, [failed.id]: told },
    ...over,
  })
}

const key = 'acme/config:shop@web-1'
const targetUrl = `/api/targets/${encodeURIComponent(key)}`
const withShop = {
  targets: async () => [shop()],
  catchUp: () => ({ at: at(40), recoveredCount: 2, error: null }),
}

test('all targets are listed by key, each with what is wanted, tried and applied as three fields', async () => {
  const docs = recordOf('docs', [])
  const answer = await start({ targets: async () => [shop(), docs] }).inject('/api/targets')
  expect(answer.statusCode).toBe(200)
  const { targets } = answer.json()
  expect(targets.map((target: { key: string }) => target.key)).toEqual(['acme/config:docs@web-1', key])
  expect(targets[1]).toMatchObject({
    kind: 'Service',
    health: 'degraded',
    reason: 'it was healed 5 times in 10 minutes',
    desired: { commit: 'c0ffee', specHash: 'beef' },
    attempted: { deploymentId: 'd-shop-2', specHash: 'beef', attempt: 2, commit: 'c0ffee' },
    applied: { deploymentId: 'd-shop', commit: release.commit, releaseId: release.id },
    lastDeployment: { id: 'd-shop-2', state: 'failed' },
    drift: { id: 'drift-d-shop-1', endedAt: null, entryCount: 1 },
    healing: { failureCount: 1, degraded: { since: at(21) } },
    removal: null,
  })
})

test('one target is shown whole by its encoded key: spec, releases, drift, history', async () => {
  const answer = await start(withShop).inject(targetUrl)
  expect(answer.statusCode).toBe(200)
  expect(answer.json()).toMatchObject({
    key,
    spec: { path: 'apps/shop.yaml', image: 'shop:1', environmentNames: ['DATABASE_URL'], dependsOn: ['db'] },
    releases: [{ id: release.id, deploymentId: 'd-shop', applied: true, provenAt: at(3) }],
    driftEntries: [
      { subject: 'container shop-1', expected: 'running', found: 'exited', action: 'started it', count: 2 },
    ],
    history: [{ id: 'd-shop-2' }, { id: 'd-shop' }],
  })
})

test('the key of a preview and a long key are found too', async () => {
  const long = { ...shop(), key: `acme/${'c'.repeat(100)}:${'s'.repeat(40)}@${'h'.repeat(60)}#12` }
  const answer = await start({ targets: async () => [long] }).inject(
    `/api/targets/${encodeURIComponent(long.key)}`,
  )
  expect(answer.json()).toMatchObject({ key: long.key })
})

test.each([
  ['GET', '/api/targets/acme%2Fconfig%3Anone%40web-1', 'There is no target acme/config:none@web-1'],
  ['POST', '/api/targets/acme%2Fconfig%3Anone%40web-1/reconcile', 'There is no target'],
  ['GET', '/api/deployments/d-none', 'There is no deployment d-none'],
  ['POST', '/api/deployments/d-none/cancel', 'There is no deployment d-none'],
  ['POST', '/api/deployments/d-none/retry', 'There is no deployment d-none'],
] as const)('%s %s of what is not there is a 404 that says so', async (method, url, detail) => {
  const asked: unknown[] = []
  const ask = async (what: unknown) => {
    asked.push(what)
    return { kind: 'accepted' as const, deploymentId: '' }
  }
  const server = start({
    ...withShop,
    cancel: ask,
    retry: ask,
  })
  const answer = await server.inject({ method, url })
  expect(answer.statusCode).toBe(404)
  expect(answer.headers['content-type']).toBe('application/problem+json; charset=utf-8')
  expect(answer.json()).toMatchObject({ title: 'Not Found', detail: expect.stringContaining(detail) })
  expect(asked).toEqual([])
})

test('a deployment is shown with its history, changes, result and what GitHub was told', async () => {
  const answer = await start(withShop).inject('/api/deployments/d-shop-2')
  expect(answer.json()).toMatchObject({
    id: 'd-shop-2',
    state: 'failed',
    image: { reference: release.image.reference },
    changes: ['create container shop (new)'],
    history: [{ phase: 'queued' }, { phase: 'failed' }],
    result: { kind: 'failed', phase: 'queued', fault: 'rejected', reason: 'it is gone', stuck: null },
    checkRun: { id: 7, done: true },
  })
})

test('deployments come newest first, a page at a time, each once', async () => {
  const many = Array.from({ length: 7 }, (_, index) =>
    queued('shop', { id: `d-${index}`, now: at(index < 3 ? 1 : index) }),
  )
  const server = start({ targets: async () => [recordOf('shop', many)] })
  const seen: string[] = []
  let cursor = ''
  for (let page = 1; page <= 4; page += 1) {
    const answer = (await server.inject(`/api/deployments?limit=2${cursor}`)).json()
    seen.push(...answer.deployments.map(({ id }: { id: string }) => id))
    cursor = `&cursor=${answer.next}`
    expect(answer.next === null).toBe(page === 4)
  }
  expect(seen).toEqual(['d-6', 'd-5', 'd-4', 'd-3', 'd-2', 'd-1', 'd-0'])
})

test('deployments are narrowed by target and by state', async () => {
  const docs = recordOf('docs', [queued('docs')])
  const server = start({ targets: async () => [shop(), docs] })
  const ids = async (query: string) =>
    (await server.inject(`/api/deployments?${query}`)).json().deployments.map(({ id }: { id: string }) => id)
  expect(await ids('state=open')).toEqual(['d-docs'])
  expect(await ids('state=failed')).toEqual(['d-shop-2'])
  expect(await ids(`target=${encodeURIComponent(key)}`)).toEqual(['d-shop-2', 'd-shop'])
})

test.each([
  '/api/deployments?state=stuck',
  '/api/deployments?limit=0',
  '/api/deployments?limit=101',
  '/api/deployments?limit=ten',
  '/api/deployments?cursor=bm9uZQ',
  '/api/deployments?sort=asc',
  '/api/targets?healthy=true',
])('%s is refused and says what is wrong', async (url) => {
  const answer = await start(withShop).inject(url)
  expect(answer.statusCode).toBe(400)
  expect(answer.headers['content-type']).toBe('application/problem+json; charset=utf-8')
  expect(answer.json().detail).not.toBe('')
})

test('the trigger sweeps deeply; with dryRun it asks for a sweep that changes nothing', async () => {
  const asked: unknown[] = []
  const server = start({
    sweep: async (options) => {
      asked.push(options)
      return { hosts: [], repos: [] }
    },
  })
  for (const query of ['', '?dryRun=false', '?dryRun=true']) {
    const url = `/api/monitoring/reconcile/trigger${query}`
    expect((await server.inject({ method: 'POST', url })).statusCode).toBe(200)
  }
  const [real, dry] = [
    { deep: true, dryRun: false },
    { deep: true, dryRun: true },
  ]
  expect(asked).toEqual([real, real, dry])
})

test.each(['?dryRun=maybe', '?dryrun=true', '?dryRun=true&dryRun=false'])(
  'a trigger with %s is refused and nothing is looked at',
  async (query) => {
    let sweepCount = 0
    const server = start({
      sweep: async () => {
        sweepCount += 1
        return {}
      },
    })
    const url = `/api/monitoring/reconcile/trigger${query}`
    expect((await server.inject({ method: 'POST', url })).statusCode).toBe(400)
    expect(sweepCount).toBe(0)
  },
)

test('a command on a target or deployment is handed on and answered with 202', async () => {
  const asked: unknown[] = []
  const server = start({
    ...withShop,
    reconcile: async (what) => {
      asked.push(['reconcile', what])
      return true
    },
    cancel: async ({ id, target }) => {
      asked.push(['cancel', id, target])
      return { kind: 'accepted', deploymentId: id }
    },
    retry: async ({ id, target }) => {
      asked.push(['retry', id, target])
      return { kind: 'accepted', deploymentId: 'd-shop-3' }
    },
  })
  const post = (url: string) => server.inject({ method: 'POST', url })
  const answers = [
    await post(`${targetUrl}/reconcile`),
    await post('/api/deployments/d-shop/cancel'),
    await post('/api/deployments/d-shop/retry'),
  ]
  expect(answers.map(({ statusCode }) => statusCode)).toEqual([202, 202, 202])
  expect(answers.map((answer) => answer.json())).toEqual([
    { status: 'accepted', target: key },
    { status: 'accepted', target: key },
    { status: 'accepted', target: key, deploymentId: 'd-shop-3' },
  ])
  expect(asked).toEqual([
    ['reconcile', key],
    ['cancel', 'd-shop', key],
    ['retry', 'd-shop', key],
  ])
})

test.each(['cancel', 'retry'] as const)('a %s that cannot be is a conflict with its reason', async (verb) => {
  const refuse = async () => ({ kind: 'refused' as const, reason: 'It has ended already.' })
  const server = start({ ...withShop, [verb]: refuse })
  const answer = await server.inject({ method: 'POST', url: `/api/deployments/d-shop/${verb}` })
  expect(answer.statusCode).toBe(409)
  expect(answer.json()).toMatchObject({ title: 'Conflict', detail: 'It has ended already.' })
})

test('an installation where all is well is healthy, and says so without findings', async () => {
  const well = shop({ drift: null, healing: null, deployments: [succeeded] })
  const answer = await start({ targets: async () => [well] }).inject('/api/monitoring/health')
  expect(answer.json()).toMatchObject({
    status: 'healthy',
    version: '0.1.0',
    findings: [],
    targets: { total: 1, byHealth: { healthy: 1 } },
  })
})

test('a host without an answer makes it unknown since then, and its targets with it', async () => {
  const hosts = [{ host: 'web-1', engineId: null, unknownSince: at(30), lastSeenAt: at(29) }]
  const answer = await start({ ...withShop, status: async () => engineStatus({ hosts }) }).inject(
    '/api/monitoring/health',
  )
  expect(answer.json()).toMatchObject({
    status: 'unknown',
    findings: [{ kind: 'host', severity: 'unknown', subject: 'web-1', since: at(30) }],
    targets: { byHealth: { unknown: 1 } },
  })
})

test('what is known to be bad makes it degraded, each reason with what to do, unknown hosts or not', async () => {
  const hosts = [
    { host: 'web-1', engineId: null, unknownSince: null, lastSeenAt: null },
    { host: 'web-2', engineId: null, unknownSince: at(30), lastSeenAt: null },
  ]
  const server = start({
    ...withShop,
    status: async () => engineStatus({ hosts, recovered: false }),
    github: () => ({ unreachableSince: at(31), reason: 'no answer', lastAnswerAt: null }),
  })
  const { status, findings } = (await server.inject('/api/monitoring/health')).json()
  expect(status).toBe('degraded')
  expect(findings).toMatchObject([
    { kind: 'recovery' },
    { kind: 'host', subject: 'web-2', since: at(30) },
    { kind: 'github', since: at(31), message: expect.stringContaining('no answer') },
    { kind: 'target', subject: key, since: at(21), message: expect.stringContaining('degraded') },
  ])
  for (const { hint } of findings) expect(hint).not.toBe('')
})

test.each([
  [5, 'healthy', []],
  [
    20,
    'degraded',
    [{ kind: 'outbox', since: at(3), message: expect.stringContaining('1 deployment ended') }],
  ],
])('an end that GitHub was not told for %i minutes leaves it %s', async (minutes, status, findings) => {
  const well = { drift: null, healing: null, deployments: [succeeded] }
  const answer = await start({
    targets: async () => [shop({ ...well, reports: { [succeeded.id]: newReport } })],
    nowMs: () => Date.parse(at(3 + minutes)),
  }).inject('/api/monitoring/health')
  const outboxLagMs = minutes * 60_000
  expect(answer.json()).toMatchObject({
    status,
    findings,
    github: { untoldCount: 1, outboxLagMs, lastCatchUp: null },
  })
})

test('open deployments that do not get on, and those ended for it, are named with reason and since when', async () => {
  const builds = (over: Partial<Deployment>): Deployment => ({
    ...advance(queued('shop'), { type: 'phase', phase: 'building', message: 'pulling' }, at(1)),
    ...over,
  })
  const stuck: DeploymentEvent = {
    type: 'failed',
    fault: 'rejected',
    reason: 'stuck: nobody works on it',
    hint: '',
    logTail: [],
    previous: '',
    stuck: 'claim',
  }
  const longAgo = '2026-11-20T10:00:00.000Z'
  const deployments = [
    builds({ id: 'd-still', phaseUpdatedAt: at(10) }),
    builds({ id: 'd-late', phaseUpdatedAt: at(5) }),
    builds({ id: 'd-good', phaseUpdatedAt: at(56) }),
    advance(builds({ id: 'd-ended' }), stuck, at(50)),
    advance(builds({ id: 'd-long-ago' }), stuck, longAgo),
    advance(builds({ id: 'd-found' }), { type: 'succeeded' }, at(58)),
  ]
  const server = start({
    targets: async () => [recordOf('shop', deployments, { reports: {} })],
    stuck: () => [
      { target: key, deploymentId: 'd-still', reason: 'progress', since: at(10) },
      { target: key, deploymentId: 'd-late', reason: 'deadline', since: at(5) },
      { target: key, deploymentId: 'd-found', reason: 'progress', since: at(2) },
    ],
  })
  const common = { target: key, phase: 'building', endedAt: null, message: 'pulling' }
  expect((await server.inject('/api/monitoring/deployments/stuck')).json()).toEqual({
    open: [
      { ...common, id: 'd-late', reason: 'deadline', since: at(5), phaseUpdatedAt: at(5) },
      { ...common, id: 'd-still', reason: 'progress', since: at(10), phaseUpdatedAt: at(10) },
    ],
    ended: [
      {
        ...common,
        id: 'd-ended',
        reason: 'claim',
        since: at(50),
        phaseUpdatedAt: at(1),
        message: 'stuck: nobody works on it',
        endedAt: at(50),
      },
    ],
  })
  const health = (await server.inject('/api/monitoring/health')).json()
  expect(health.findings).toMatchObject([{ kind: 'stuck', since: at(5) }, { kind: 'stuck' }])
})

test('statistics count by phase, result and health, and say how long deployments take', async () => {
  const status = engineStatus({
    counts: { ...counts, stuckProgress: 3, orphansRemoved: 2 },
    queue: { waiting: 4, running: 1 },
  })
  const answer = await start({ ...withShop, status: async () => status }).inject('/api/monitoring/stats')
  expect(answer.json()).toMatchObject({
    deployments: { open: 0, byPhase: { active: 1, failed: 1 }, byResult: { succeeded: 1, failed: 1 } },
    durations: [{ kind: 'Service', count: 1, p50Ms: 120_000, p95Ms: 120_000 }],
    stuck: { now: 0, byReason: { progress: 3, deadline: 0, claim: 0 } },
    targets: { total: 1, byHealth: { degraded: 1 } },
    counts: { orphansRemoved: 2 },
    queue: { waiting: 4, running: 1 },
    hosts: { known: 1, unknown: 0 },
  })
})

test('metrics are text of Prometheus, made of the same figures', async () => {
  const hosts = [{ host: 'web-1', engineId: null, unknownSince: null, lastSeenAt: null }]
  const status = engineStatus({
    hosts,
    counts: { ...counts, deploymentsFailed: 2, stuckDeadline: 1, healingsGivenUp: 1, driftDetected: 5 },
    queue: { waiting: 4, running: 1 },
  })
  const server = start({ ...withShop, status: async () => status })
  const first = await server.inject('/metrics')
  expect(first.headers['content-type']).toBe('text/plain; version=0.0.4; charset=utf-8')
  for (const line of [
    'towline_deployments_total{result="failed"} 2',
    'towline_stuck_total{reason="deadline"} 1',
    'towline_drift_detected_total 5',
    'towline_healings_total{outcome="given_up"} 1',
    'towline_orphans_removed_total 0',
    'towline_host_unknown_seconds{host="web-1"} 0',
    'towline_queue_depth 4',
    `towline_target_info{target="${key}",repo="acme/config",app="shop",host="web-1",health="degraded"} 1`,
    'towline_deployment_duration_seconds{kind="Service",quantile="0.5"} 120',
    '# TYPE towline_deployments_total counter',
  ]) {
    expect(first.body.split('\n')).toContain(line)
  }
  expect(first.body).toContain('process_resident_memory_bytes')
  // Scraped again the counters say the same: they are read, not added up.
  expect((await server.inject('/metrics')).body).toContain('towline_deployments_total{result="failed"} 2\n')
})

const routes = Object.entries(operations).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, operation]) => ({ path, method, operation })),
)

test.each(routes.filter(({ operation }) => !operation.open))(
  '$method $path answers nobody without the token',
  async ({ method, path }) => {
    const url = path.replace('{key}', encodeURIComponent(key)).replace('{id}', 'd-shop')
    const server = start({ ...withShop, token: 'a-long-token' })
    const ask = (headers: Record<string, string>) =>
      server.inject({ method: method === 'get' ? 'GET' : 'POST', url, headers })
    expect((await ask({})).statusCode).toBe(401)
    expect((await ask({ authorization: 'Bearer a-long-token' })).statusCode).toBeLessThan(300)
  },
)

test.each(routes)('$method $path answers as /openapi.json describes it', async ({ method, path }) => {
  const server = start(withShop)
  const description = (await server.inject('/openapi.json')).json()
  const ajv = new Ajv2020({ strict: false })
  ajv.addSchema(description, 'openapi')
  const url = path.replace('{key}', encodeURIComponent(key)).replace('{id}', 'd-shop')
  const answer = await server.inject({ method: method === 'get' ? 'GET' : 'POST', url })
  const described = description.paths[path][method].responses[answer.statusCode]
  expect(described).toBeDefined()
  const [type] = String(answer.headers['content-type']).split(';')
  const schema = described.content[type ?? '']?.schema
  expect(schema).toBeDefined()
  if (type === 'text/plain') return
  const $ref = schema.$ref ? `openapi${schema.$ref}` : undefined
  const validate = ajv.compile($ref ? { $ref } : schema)
  expect(validate(answer.json()) || validate.errors).toBe(true)
  // An answer with any field more would not fit: nothing of a record shows that the description does not name.
  if ($ref && answer.statusCode === 200 && !path.includes('trigger')) {
    expect(validate({ ...answer.json(), surplus: 1 })).toBe(false)
  }
})

test('every route that is served is described, and every described one is served', async () => {
  const server = start(withShop)
  await server.ready()
  const served = new Set<string>()
  const { paths } = (await server.inject('/openapi.json')).json()
  for (const [path, methods] of Object.entries<object>(paths)) {
    for (const method of Object.keys(methods)) {
      const url = path.replace(/\{(\w+)\}/g, ':$1')
      expect([url, server.hasRoute({ method: method === 'get' ? 'GET' : 'POST', url })]).toEqual([url, true])
      served.add(`${url} (${method.toUpperCase()}`)
    }
  }
  const printed = server.printRoutes({ commonPrefix: false })
  expect(printed.match(/\((GET|POST)/g)).toHaveLength(served.size)
})

test('no answer shows a value of the environment', async () => {
  const server = start(withShop)
  for (const { path, method } of routes) {
    const url = path.replace('{key}', encodeURIComponent(key)).replace('{id}', 'd-shop')
    const { body } = await server.inject({ method: method === 'get' ? 'GET' : 'POST', url })
    expect(body).not.toContain('hunter2')
  }
})
