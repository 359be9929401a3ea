import { afterEach, expect, test, vi } from 'vitest'
import type { CheckRun } from '../report/check-run.ts'
import { TowlineError } from '../rollout/error.ts'
import { volumeName } from '../rollout/target.ts'
import { configRepo, serviceYaml } from './config-repo.fixture.ts'
import { createEngine, type Engine } from './engine.ts'
import { recordLog } from './log.fixture.ts'
import { memoryStore } from './memory-store.fixture.ts'
import { modelFiles, modelHost } from './model-host.fixture.ts'
import type { GitHub, HostEvent, Store } from './ports.ts'
import { createSpecReader } from './spec-reader.ts'

const repo = 'acme/config'
const key = 'acme/config:shop@web-1'
const atOnce = 'deploy: { update_config: { monitor: 0s } }\n'
const shop = (image = 'shop:1', more = '') => ({
  'apps/shop.yaml': serviceYaml('shop', image, atOnce + more),
})
const running: Engine[] = []

afterEach(async () => {
  for (const engine of running.splice(0)) await engine.stop()
})

/** One config repo, one host and a GitHub that keeps the newest state of each run. */
function scene(store: Store = memoryStore(), { reposMs = null }: { reposMs?: number | null } = {}) {
  const docker = modelHost({ volume: volumeName(store.owner) })
  const config = configRepo(shop())
  const log = recordLog()
  const runs: CheckRun[] = []
  const github: GitHub = {
    repos: async () => [{ repo, branch: 'main' }],
    createCheckRun: async (_repo, check) => runs.push(check),
    updateCheckRun: async (_repo, id, check) => {
      runs[id - 1] = check
    },
    findCheckRun: async () => null,
    missedDeliveries: async () => ({ missed: [], whole: true }),
    readDelivery: async () => null,
  }
  let emit: (event: HostEvent) => void = () => {}
  docker.host.events = async ({ signal, onOpen, onEvent }) => {
    await Promise.resolve()
    emit = onEvent
    onOpen()
    await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }))
  }

  function start(): Engine {
    const engine = createEngine({
      store,
      hosts: new Map([['web-1', docker.host]]),
      github,
      mirror: async () => config.mirror,
      specs: createSpecReader({ hosts: ['web-1'], bindMounts: [] }),
      files: modelFiles,
      siteServer: { image: 'caddy:2', command: [] },
      limits: {
        total: 4,
        perHost: 2,
        progressDeadlineMs: 300_000,
        deadlineMs: 1_800_000,
        orphanGraceMs: 300_000,
        healing: { limit: 5, windowMs: 300_000 },
        githubWriteIntervalMs: 1,
      },
      orphans: { remove: true, volumes: false },
      schedule: { sweep: '0 0 1 1 *', stuck: '0 0 1 1 *', pollMs: 20, reposMs },
      log,
    })
    running.push(engine)
    return engine
  }

  return {
    store,
    docker,
    config,
    github,
    log,
    runs,
    start,
    emit: (action: string) => emit({ host: 'web-1', repo, app: 'shop', preview: null, action }),
    /** What runs now, by image. */
    serving: () =>
      docker
        .model()
        .containers.filter(({ state }) => state === 'running')
        .map(({ image }) => image.split('@')[0]),
    results: async () =>
      ((await store.readTarget(key))?.deployments ?? []).map(({ result }) => result?.kind ?? 'open'),
  }
}

const soon = (check: () => unknown) => vi.waitFor(check, { timeout: 10_000, interval: 10 })
let guid = 0
const push = (engine: Engine, of = repo) => {
  guid += 1
  return engine.intake.accept({ guid: `guid-${guid}`, hint: { kind: 'repo', repo: of } })
}

test('the first look deploys what the repo says and tells GitHub of its end', async () => {
  const { start, serving, runs } = scene()
  await start().start()
  await soon(() => expect(serving()).toEqual(['shop:1']))
  await soon(() =>
    expect(runs.map(({ name, conclusion }) => `${name} ${conclusion}`).sort()).toEqual([
      'towline / deploy success',
      'towline / shop@web-1 success',
    ]),
  )
})

test('a push deploys', async () => {
  const { start, config, serving } = scene()
  const engine = start()
  await engine.start()
  await soon(() => expect(serving()).toEqual(['shop:1']))
  config.commit(shop('shop:2'))
  await push(engine)
  await soon(() => expect(serving()).toEqual(['shop:2']))
})

test('a push whose webhook got lost is found by the sweep', async () => {
  const { start, config, serving } = scene()
  const engine = start()
  await engine.start()
  config.commit(shop('shop:2'))
  const report = await engine.sweep({ deep: false })
  expect(report.repos).toEqual([{ repo, error: null }])
  await soon(() => expect(serving()).toEqual(['shop:2']))
})

test('a Re-run nobody delivered is done at the start, once', async () => {
  const first = scene()
  first.docker.answer(() => ({ state: 'dead' }))
  const before = first.start()
  await before.start()
  await soon(async () => expect(await first.results()).toEqual(['failed']))
  await before.stop()
  const [failed] = (await first.store.readTarget(key))?.deployments ?? []
  const { commit: headSha = '', id: externalId = '' } = failed ?? {}
  const missed = { guid: 'guid-missed', attemptId: '1', event: 'check_run.rerequested' }
  const hint = { kind: 'rerunCheck', repo, headSha, name: 'towline / shop@web-1', externalId } as const
  first.github.missedDeliveries = async () => ({ missed: [missed], whole: true })
  first.github.readDelivery = async ({ guid }) => [{ guid, hint }]
  first.docker.answer(() => ({}))
  const engine = first.start()
  expect(engine.catchUp()).toBeNull()
  await engine.start()
  await soon(async () => expect(await first.results()).toEqual(['failed', 'succeeded']))
  expect(engine.catchUp()).toMatchObject({ recoveredCount: 1, error: null })
  expect(await engine.intake.accept({ guid: 'guid-missed', hint })).toBe('duplicate')
  await engine.sweep({ deep: true })
  expect(await first.results()).toEqual(['failed', 'succeeded'])
})

test('what GitHub does not say of missed deliveries holds up no sweep, and is asked at the next one', async () => {
  const { start, github, serving } = scene()
  const answers: (() => void)[] = []
  github.missedDeliveries = () =>
    new Promise((_resolve, reject) =>
      answers.push(() => reject(new TowlineError('', { fault: 'temporary' }))),
    )
  const engine = start()
  await engine.start()
  await soon(() => expect(serving()).toEqual(['shop:1']))
  answers[0]?.()
  await soon(() => expect(engine.catchUp()).not.toBeNull())
  await engine.sweep({ deep: false })
  await soon(() => expect(answers).toHaveLength(2))
  answers[1]?.()
})

test('missed deliveries are looked for as soon as an outage of GitHub ends', async () => {
  const { start, github, config } = scene()
  const missedDeliveries = vi.fn(github.missedDeliveries)
  github.missedDeliveries = missedDeliveries
  const engine = start()
  await engine.start()
  await soon(() => expect(engine.catchUp()).not.toBeNull())
  await engine.sweep({ deep: false })
  const { probe } = config.mirror
  config.mirror.probe = () => Promise.reject(new TowlineError('no answer', { fault: 'temporary' }))
  await engine.sweep({ deep: false })
  await engine.sweep({ deep: false })
  expect(missedDeliveries).toHaveBeenCalledTimes(1)
  config.mirror.probe = probe
  await engine.sweep({ deep: false })
  await soon(() => expect(missedDeliveries).toHaveBeenCalledTimes(2))
  await engine.sweep({ deep: false })
  expect(missedDeliveries).toHaveBeenCalledTimes(2)
})

test('where repos are polled, a push and a Re-run need no webhook and no sweep', async () => {
  const { start, config, serving, github, results, store } = scene(memoryStore(), { reposMs: 20 })
  await start().start()
  await soon(() => expect(serving()).toEqual(['shop:1']))
  config.commit(shop('shop:2'))
  await soon(() => expect(serving()).toEqual(['shop:2']))
  await soon(async () => expect(await results()).toEqual(['succeeded', 'succeeded']))
  const newest = (await store.readTarget(key))?.deployments.at(-1)
  const { commit: headSha = '', id: externalId = '' } = newest ?? {}
  github.readDelivery = async ({ guid }) => [
    { guid, hint: { kind: 'rerunCheck', repo, headSha, name: 'towline / shop@web-1', externalId } },
  ]
  github.missedDeliveries = async () => ({
    missed: [{ guid: 'guid-missed', attemptId: '1', event: 'check_run.rerequested' }],
    whole: true,
  })
  await soon(async () => expect(await results()).toEqual(['succeeded', 'succeeded', 'succeeded']))
})

test('polling a head that has not moved downloads nothing', async () => {
  const { start, config, serving } = scene(memoryStore(), { reposMs: 10 })
  const probe = vi.fn(config.mirror.probe)
  config.mirror.probe = probe
  await start().start()
  await soon(() => expect(serving()).toEqual(['shop:1']))
  const fetchCount = config.fetchCount()
  const probeCount = probe.mock.calls.length
  await soon(() => expect(probe.mock.calls.length).toBeGreaterThan(probeCount + 5))
  expect(config.fetchCount()).toBe(fetchCount)
})

test('a webhook of a repo Towline does not work on is let go', async () => {
  const { start, store, log } = scene()
  const engine = start()
  await engine.start()
  await push(engine, 'other/repo')
  await soon(async () => expect(await store.pendingDeliveries()).toEqual([]))
  expect(await store.readRepo('other/repo')).toBeNull()
  expect(log.lines.map(({ message }) => message)).toContain(
    'not a repo Towline works on; its webhook is ignored',
  )
})

test('a commit that could be stored only by half is read again, also where its head is known', async () => {
  const inner = memoryStore()
  let failures = 0
  const { start, config, serving } = scene({
    ...inner,
    async updateTarget(target, change, options) {
      const { deployments } = change(await inner.readTarget(target))
      if (failures > 0 && deployments.length === 2) {
        failures -= 1
        throw new TowlineError('the disk is full', { fault: 'operator' })
      }
      return inner.updateTarget(target, change, options)
    },
  })
  const engine = start()
  await engine.start()
  await soon(() => expect(serving()).toEqual(['shop:1']))
  await soon(async () => expect((await inner.readTarget(key))?.applied).not.toBeNull())
  config.commit(shop('shop:2'))
  failures = 1
  await push(engine)
  await soon(() => expect(failures).toBe(0))
  await engine.sweep({ deep: false })
  await soon(() => expect(serving()).toEqual(['shop:2']))
})

test('a newer push ends the wait of the older one at once', async () => {
  const { start, config, docker, results, serving } = scene()
  docker.answer(() => ({ health: 'starting' }))
  docker.host.checkHealth = async () => false
  const engine = start()
  await engine.start()
  await soon(async () => expect((await results())[0]).toBe('open'))
  await soon(() => expect(docker.acts.join()).toContain('startContainer'))
  docker.host.checkHealth = async (name) => !name.includes(docker.acts.at(-1) ?? '?')
  config.commit(shop('shop:2'))
  await push(engine)
  await soon(async () => expect(await results()).toEqual(['superseded', 'succeeded']))
  expect(serving()).toEqual(['shop:2'])
})

test('what depends on another app is deployed after it, without waiting for a timer', async () => {
  const { start, config, docker, serving } = scene()
  config.commit({
    ...shop('shop:1', 'dependsOn: [db]\n'),
    'apps/db.yaml': serviceYaml('db', 'db:1', atOnce),
  })
  await start().start()
  await soon(() => expect(serving()).toEqual(['db:1', 'shop:1']))
  const starts = docker.acts.filter((act) => act.startsWith('startContainer'))
  expect(starts.map((act) => act.split('-')[1])).toEqual(['db', 'shop'])
})

test('a container that ends is healed when Docker tells', async () => {
  const { start, docker, serving, emit, store } = scene()
  await start().start()
  await soon(async () => expect((await store.readTarget(key))?.applied).toBeTruthy())
  docker.change((model) => ({
    ...model,
    containers: model.containers.map((each) => ({ ...each, state: 'exited' })),
  }))
  emit('start')
  emit('die')
  await soon(() => expect(serving()).toEqual(['shop:1']))
})

test('healing goes on while GitHub is away', async () => {
  const { start, docker, github, serving, store } = scene()
  const engine = start()
  await engine.start()
  await soon(async () => expect((await store.readTarget(key))?.applied).toBeTruthy())
  github.repos = () => Promise.reject(new TowlineError('no answer', { fault: 'temporary' }))
  docker.change((model) => ({ ...model, containers: [] }))
  const { hosts } = await engine.sweep({ deep: true })
  expect(hosts).toMatchObject([{ host: 'web-1', due: [{ target: key }] }])
  await soon(() => expect(serving()).toEqual(['shop:1']))
})

test('a repo that cannot be read is named in the report and hides no other finding', async () => {
  const { start, config } = scene()
  const engine = start()
  await engine.start()
  config.mirror.probe = () => Promise.reject(new TowlineError('no answer', { fault: 'temporary' }))
  const report = await engine.sweep({ deep: true })
  expect(report.repos).toEqual([{ repo, error: 'no answer' }])
  expect(report.hosts).toHaveLength(1)
})

test('a pause that ends is noticed by the sweep though nothing was pushed', async () => {
  const { start, config, serving, store } = scene()
  const until = new Date(Date.now() + 3_600_000).toISOString()
  config.commit(shop('shop:1', `paused: { reason: migration, until: ${until} }\n`))
  const engine = start()
  await engine.start()
  const revision = (await store.readRepo(repo))?.revisions.at(-1)
  expect(revision?.pausedTargets).toMatchObject([{ target: key, reason: 'migration' }])
  const later = vi.spyOn(Date, 'now').mockReturnValue(Date.parse(until) + 1)
  await engine.sweep({ deep: false })
  later.mockRestore()
  await soon(() => expect(serving()).toEqual(['shop:1']))
})

test('Re-run of a failed target deploys again', async () => {
  const { start, docker, results, store, runs } = scene()
  docker.answer(() => ({ state: 'dead' }))
  const engine = start()
  await engine.start()
  await soon(async () => expect(await results()).toEqual(['failed']))
  await soon(() => expect(runs.every(({ conclusion }) => conclusion === 'failure')).toBe(true))
  docker.answer(() => ({}))
  const [failed] = (await store.readTarget(key))?.deployments ?? []
  const hint = {
    kind: 'rerunCheck',
    repo,
    headSha: failed?.commit ?? '',
    name: 'towline / shop@web-1',
    externalId: failed?.id ?? '',
  } as const
  await engine.intake.accept({ guid: 'guid-rerun', hint })
  await soon(async () => expect(await results()).toEqual(['failed', 'succeeded']))
})

test('what a process left unfinished is taken up by the next one', async () => {
  const first = scene()
  first.docker.answer(() => ({ health: 'starting' }))
  first.docker.host.checkHealth = async () => false
  const engine = first.start()
  await engine.start()
  await soon(() => expect(first.docker.acts.join()).toContain('startContainer'))
  await engine.stop()
  expect(await first.results()).toEqual(['open'])
  const acts = first.docker.acts.length
  await new Promise((resolve) => setTimeout(resolve, 50))
  expect(first.docker.acts).toHaveLength(acts)
  first.docker.host.checkHealth = async () => true
  await first.start().start()
  await soon(async () => expect(await first.results()).toEqual(['succeeded']))
  expect((await first.store.readTarget(key))?.deployments[0]?.resumedCount).toBe(1)
})
