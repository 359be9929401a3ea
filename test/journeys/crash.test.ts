import type { ContainerInfo } from 'dockerode'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { expectNothingDue, expectStanding, releaseOf } from '../chaos/invariants.ts'
import { expectCleanEnd } from '../support/clean-end.ts'
import { type FaultProxy, type Moment, startFaultProxy } from '../support/fault-proxy.ts'
import { eventually, serverYaml, startTown, type Town } from '../support/town.ts'

let town: Town
let proxy: FaultProxy

beforeAll(async () => {
  const dockerSocket = inject('dockerSocket')
  proxy = await startFaultProxy(dockerSocket)
  const limits = 'limits: { perHost: 8, githubWriteInterval: 1ms }'
  const yaml = serverYaml(proxy.socketPath).replace(/^limits:.*$/m, limits)
  town = await startTown({ dockerSocket, serverYaml: yaml, ownProcess: true })
  const commit = await town.push({ write: { ...filesOf('old-app', first), ...filesOf('old-page', first) } })
  expect(await town.checkRun(commit, 'towline / deploy')).toMatchObject({ conclusion: 'success' })
})

afterAll(async () => {
  await town[Symbol.asyncDispose]()
  await proxy[Symbol.asyncDispose]()
})

const first = { number: 0, monitor: '500ms' }

type Hold = [pattern: RegExp, moment: Moment]

/**
 * Where Towline is killed. Each commit brings a new Service and a new Site and changes an old one of each, so that
 * all four stand still at once: `stops` of them at a held request of the Engine, the others wherever they are.
 */
const phases: { phase: string; holds: Hold[]; stops: number }[] = [
  { phase: 'pulling_source', holds: [[/^GET \S+\/images\/towline-demo/, 'before']], stops: 4 },
  { phase: 'building', holds: [[/^GET \S+\/images\/\S*sha256/, 'before']], stops: 3 },
  {
    phase: 'copying_files, nothing of it done',
    holds: [
      [/^POST \S+\/containers\/create/, 'before'],
      [/^PUT \S+\/archive/, 'before'],
    ],
    stops: 4,
  },
  {
    phase: 'copying_files, half of it done',
    holds: [
      [/^POST \S+\/containers\/create/, 'after'],
      [/^PUT \S+\/archive/, 'after'],
    ],
    stops: 4,
  },
  {
    phase: 'copying_files, the release written and nobody told',
    holds: [
      [/^POST \S+\/containers\/create\?name=\S+-2 /, 'after'],
      [/^POST \S+\/exec\/\w+\/start.*exit 4/, 'after'],
    ],
    stops: 4,
  },
  {
    phase: 'creating_symlinks (Site) and updating_routes (Service), nothing of it done',
    holds: [
      [/^POST \S+\/exec\/\w+\/start.*ln -s/, 'before'],
      [/^POST \S+\/containers\/\S*-app-\S+\/start/, 'before'],
    ],
    stops: 4,
  },
  {
    phase: 'creating_symlinks (Site) and updating_routes (Service), done and nobody told',
    holds: [
      [/^POST \S+\/exec\/\w+\/start.*ln -s/, 'after'],
      [/^POST \S+\/containers\/\S*-app-\S+\/start/, 'after'],
    ],
    stops: 4,
  },
]

test.each(phases)('killed in $phase, every deployment ends rightly after the next start', async (killed) => {
  for (const [pattern, moment] of killed.holds) proxy.hold(pattern, moment)
  const round = await pushRound()
  await eventually(`${killed.stops} deployments to stand in ${killed.phase}`, async () =>
    proxy.stoppedCount() >= killed.stops ? true : null,
  )
  await town.killTowline()
  proxy.clear()
  await town.startTowline()
  await expectRight(round)
  const resumed = runsOf(round.commit).filter(({ summary }) =>
    summary?.includes('Resumed after restart (1×)'),
  )
  expect(resumed.length).toBeGreaterThanOrEqual(killed.stops)
})

test('killed while the new release is watched, it is watched again and only then active', async () => {
  const round = await pushRound({ monitor: '3s' })
  for (const app of round.apps) {
    await town.checkRun(
      round.commit,
      `towline / ${app}@local`,
      ({ title }) => title?.startsWith('health_check') ?? false,
    )
  }
  await town.killTowline()
  await town.startTowline()
  await expectRight(round)
})

test('killed right after a release became active, what it replaced is removed by the next start', async () => {
  proxy.hold(/^POST \S+\/containers\/\w+\/stop/, 'before')
  proxy.hold(/^POST \S+\/exec\/\w+\/start.*exit 3/, 'before')
  const round = await pushRound()
  // Two containers and one release are replaced.
  await eventually('the cleaning to begin', async () => (proxy.stoppedCount() >= 3 ? true : null))
  await town.killTowline()
  proxy.clear()
  await town.startTowline()
  await expectRight(round)
})

test('killed while a deployment waits for another, both are done in their order', async () => {
  proxy.hold(/^POST \S+\/containers\/\S*-first-\S+\/start/, 'before')
  const second = `${service('second', first)}dependsOn: [first]\n`
  const commit = await town.push({
    write: { 'apps/first.yaml': service('first', first), 'apps/second.yaml': second },
  })
  await eventually('the first one to stand still', async () => (proxy.stoppedCount() >= 1 ? true : null))
  await town.checkRun(commit, 'towline / second@local', ({ status }) => status === 'queued')
  await town.killTowline()
  proxy.clear()
  await town.startTowline()
  expect(await town.checkRun(commit, 'towline / deploy')).toMatchObject({ conclusion: 'success' })
  expectOneRunEach(commit)
  for (const app of ['first', 'second']) expect(await statesOf(app)).toEqual(['running', 'running'])
})

test('killed between asking GitHub for a check run and its answer, no second run is made', async () => {
  town.github.cutNext({ method: 'POST', pathPattern: /\/check-runs$/, moment: 'after', times: 3 })
  const round = await pushRound()
  await eventually('a check run Towline knows nothing of', async () =>
    runsOf(round.commit).length >= 1 ? true : null,
  )
  await town.killTowline()
  town.github.clearFaults()
  await town.startTowline()
  await expectRight(round)
})

test('a webhook that was accepted before a kill is worked off after it', async () => {
  // Only Towline fetches; the push itself uses another path.
  town.github.failNext({ pathPattern: /git-upload-pack$/, status: 503, times: 1_000 })
  const round = await pushRound()
  await eventually('the webhook to be accepted', async () =>
    town.github.deliveries.find(
      ({ event, statusCode, request }) =>
        event === 'push' && statusCode === 202 && request.body.includes(round.commit),
    ),
  )
  await town.killTowline()
  town.github.clearFaults()
  await town.startTowline()
  await expectRight(round)
})

test('SIGTERM in the middle of a wait ends the process with 0, and the next start finishes', async () => {
  const commit = await town.push({ write: { 'apps/slow.yaml': slow } })
  await town.checkRun(
    commit,
    'towline / slow@local',
    ({ title }) => title?.startsWith('updating_routes') ?? false,
  )
  const deadline = AbortSignal.timeout(10_000)
  await town.stopTowline()
  expect(deadline.aborted).toBe(false)
  await town.startTowline()
  const run = await town.checkRun(commit, 'towline / slow@local')
  expect(run).toMatchObject({
    conclusion: 'success',
    summary: expect.stringContaining('Resumed after restart'),
  })
  expectOneRunEach(commit)
  expect(await statesOf('slow')).toEqual(['running'])
})

test('at the end GitHub was asked rightly and no secret shows', () => expectCleanEnd(town))

type Round = { commit: string; apps: string[]; number: number }

let roundCount = 0

/** A commit that brings a new Service and a new Site, and changes the old ones. */
async function pushRound({ monitor = '500ms' } = {}): Promise<Round> {
  roundCount += 1
  const number = roundCount
  const apps = ['old-app', `new-app-${number}`, 'old-page', `new-page-${number}`]
  const write = Object.assign({}, ...apps.map((app) => filesOf(app, { number, monitor })))
  const gone = number === 1 ? [] : [`apps/new-app-${number - 1}.yaml`, `apps/new-page-${number - 1}.yaml`]
  return { commit: await town.push({ write, remove: gone }), apps, number }
}

/** Each deployment ended well and was told once; the host has what the commit says and nothing besides. */
async function expectRight({ commit, apps, number }: Round): Promise<void> {
  const deploy = await town.checkRun(commit, 'towline / deploy')
  expect(deploy, town.log()).toMatchObject({ conclusion: 'success' })
  expectOneRunEach(commit)
  expect(runsOf(commit).map(({ name }) => name)).toEqual(apps.map((app) => `towline / ${app}@local`).sort())
  for (const run of runsOf(commit)) expect(run).toMatchObject({ status: 'completed', conclusion: 'success' })
  await expectNothingDue(town)
  for (const app of apps) {
    const releases = runsOf(commit).flatMap((run) => (run.name.includes(` ${app}@`) ? releaseOf(run) : []))
    const text = textOf(number)
    await expectStanding(
      town,
      isSite(app)
        ? { kind: 'Site', app, releases, text, files: { 'index.html': text } }
        : { kind: 'Service', app, releases, text, replicas: 2, volumes: [] },
    )
  }
}

function expectOneRunEach(commit: string): void {
  const runs = town.github.checkRuns(town.repo, commit)
  expect(new Set(runs.map(({ name }) => name)).size).toBe(runs.length)
  expect(new Set(runs.map(({ externalId }) => externalId)).size).toBe(runs.length)
}

/** Check runs of single targets on a commit, by name. */
function runsOf(commit: string) {
  return town.github
    .checkRuns(town.repo, commit)
    .filter(({ name }) => name !== 'towline / deploy')
    .sort((a, b) => (a.name < b.name ? -1 : 1))
}

async function statesOf(app: string): Promise<ContainerInfo['State'][]> {
  return (await town.containers(app)).map(({ State }) => State)
}

function isSite(app: string): boolean {
  return app.includes('page')
}

function filesOf(
  app: string,
  { number, monitor }: { number: number; monitor: string },
): Record<string, string> {
  if (!isSite(app)) return { [`apps/${app}.yaml`]: service(app, { number, monitor }) }
  return {
    [`apps/${app}.yaml`]: `apiVersion: towline/v1
kind: Site
name: ${app}
source: { files: sites/${app} }
ports: ["80"]
rollout: { keepReleases: 1 }
deploy: { update_config: { monitor: ${monitor} } }
`,
    [`sites/${app}/index.html`]: textOf(number),
  }
}

/** What every app of a round answers with. */
function textOf(number: number): string {
  return `round ${number}.`
}

function service(app: string, { number, monitor }: { number: number; monitor: string }): string {
  return `apiVersion: towline/v1
kind: Service
name: ${app}
image: towline-demo/hello:1
ports: ["8080"]
environment: { GREETING: "${textOf(number)}" }
stop_grace_period: 1s
healthcheck: { test: [CMD, wget, -q, --spider, "http://127.0.0.1:8080/"], interval: 20s, start_period: 60s }
deploy: { replicas: 2, update_config: { monitor: ${monitor} } }
`
}

/** Ready after three seconds. */
const slow = `apiVersion: towline/v1
kind: Service
name: slow
image: towline-demo/slow:1
ports: ["8080"]
stop_grace_period: 1s
healthcheck: { test: [CMD, wget, -q, --spider, "http://127.0.0.1:8080/"], interval: 20s, start_period: 60s }
deploy: { update_config: { monitor: 200ms } }
`
