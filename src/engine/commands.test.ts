import { afterEach, expect, test, vi } from 'vitest'
import { TowlineError } from '../rollout/error.ts'
import { volumeName } from '../rollout/target.ts'
import { Cancellation } from './cancellation.ts'
import { createCommands } from './commands.ts'
import { configRepo, serviceYaml } from './config-repo.fixture.ts'
import { createEngine, type Engine } from './engine.ts'
import { recordLog } from './log.fixture.ts'
import { memoryStore } from './memory-store.fixture.ts'
import { modelFiles, modelHost } from './model-host.fixture.ts'
import { queued, recordOf } from './records.fixture.ts'
import { createSpecReader } from './spec-reader.ts'
import { createStatistics } from './statistics.ts'

const repo = 'acme/config'
const key = 'acme/config:shop@web-1'
const shop = (image: string, more = '') => ({
  'apps/shop.yaml': serviceYaml(
    'shop',
    image,
    `deploy: { update_config: { monitor: 0s, order: start-first } }\n${more}`,
  ),
})
const running: Engine[] = []

afterEach(async () => {
  for (const engine of running.splice(0)) await engine.stop()
})

/** One config repo and one host, with an engine between them that has started. */
async function scene() {
  const store = memoryStore()
  const docker = modelHost({ volume: volumeName(store.owner) })
  const config = configRepo(shop('shop:1'))
  docker.host.events = ({ signal }) =>
    new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }))
  const engine = createEngine({
    store,
    hosts: new Map([['web-1', docker.host]]),
    github: {
      repos: async () => [{ repo, branch: 'main' }],
      createCheckRun: async () => 1,
      updateCheckRun: async () => {},
      findCheckRun: async () => null,
      missedDeliveries: async () => ({ missed: [], whole: true }),
      readDelivery: async () => null,
    },
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
    orphans: { remove: false, volumes: false },
    schedule: { sweep: '0 0 1 1 *', stuck: '0 0 1 1 *', pollMs: 20, reposMs: null },
    log: recordLog(),
  })
  running.push(engine)
  return {
    store,
    docker,
    config,
    engine,
    deployments: async () => (await store.readTarget(key))?.deployments ?? [],
    results: async () =>
      ((await store.readTarget(key))?.deployments ?? []).map(({ result }) => result?.kind ?? 'open'),
    images: () => docker.model().containers.map(({ image, state }) => `${image.split('@')[0]} ${state}`),
  }
}

const soon = (check: () => unknown) => vi.waitFor(check, { timeout: 10_000, interval: 10 })

test('a deployment that waits for readiness is cancelled at once, and the release before serves alone', async () => {
  const { engine, docker, config, deployments, results, images } = await scene()
  await engine.start()
  await soon(async () => expect(await results()).toEqual(['succeeded']))
  docker.answer(() => ({ health: 'starting' }))
  docker.host.checkHealth = async () => false
  config.commit(shop('shop:2'))
  await engine.sweep({ deep: false })
  await soon(() => expect(images()).toEqual(['shop:1 running', 'shop:2 running']))
  const open = (await deployments())[1] ?? queued('none')
  expect(await engine.cancel(open)).toEqual({ kind: 'accepted', deploymentId: open.id })
  await soon(async () => expect(await results()).toEqual(['succeeded', 'cancelled']))
  expect(images()).toEqual(['shop:1 running'])
  const { result } = (await deployments())[1] ?? {}
  expect(result).toMatchObject({
    reason: expect.stringMatching(/^a person asked for it\. The release before: /),
  })
  expect(await engine.cancel(open)).toEqual({ kind: 'refused', reason: 'It has ended already.' })
})

test('a first deployment that is cancelled leaves nothing on the host', async () => {
  const { engine, docker, deployments, results, images } = await scene()
  docker.answer(() => ({ health: 'starting' }))
  docker.host.checkHealth = async () => false
  await engine.start()
  await soon(() => expect(images()).toEqual(['shop:1 running']))
  await engine.cancel((await deployments())[0] ?? queued('none'))
  await soon(async () => expect(await results()).toEqual(['cancelled']))
  expect(images()).toEqual([])
})

test('a deployment that waits in the queue is cancelled though no pass would ever begin it', async () => {
  const { engine, config, deployments, results } = await scene()
  config.commit({ ...shop('shop:1', 'dependsOn: [db]\n'), 'apps/db.yaml': serviceYaml('db', 'db:1') })
  config.commit({ 'apps/db.yaml': serviceYaml('db', 'db:1', 'paused: true\n') })
  await engine.start()
  await soon(async () => expect(await results()).toEqual(['open']))
  await engine.cancel((await deployments())[0] ?? queued('none'))
  expect(await results()).toEqual(['cancelled'])
})

test('a cancelled deployment is retried as a new attempt that the API asked for', async () => {
  const { engine, docker, deployments, results, store } = await scene()
  docker.answer(() => ({ state: 'dead' }))
  await engine.start()
  await soon(async () => expect(await results()).toEqual(['failed']))
  docker.answer(() => ({}))
  const [failed = queued('none')] = await deployments()
  const answer = await engine.retry(failed)
  await soon(async () => expect(await results()).toEqual(['failed', 'succeeded']))
  const [, again] = await deployments()
  expect(answer).toEqual({ kind: 'accepted', deploymentId: again?.id })
  expect(again).toMatchObject({ trigger: 'api', attempt: 2, commit: failed.commit })
  const revision = (await store.readRepo(repo))?.revisions.at(-1)
  expect(revision?.deploymentIds).toEqual([{ target: key, deploymentId: again?.id }])
})

test('a retry is refused while one is open, and where the repo wants otherwise', async () => {
  const { engine, docker, config, deployments, results } = await scene()
  await engine.start()
  await soon(async () => expect(await results()).toEqual(['succeeded']))
  const [first = queued('none')] = await deployments()
  docker.answer(() => ({ health: 'starting' }))
  docker.host.checkHealth = async () => false
  config.commit(shop('shop:2'))
  await engine.sweep({ deep: false })
  await soon(async () => expect(await results()).toEqual(['succeeded', 'open']))
  expect(await engine.retry(first)).toMatchObject({ reason: expect.stringContaining('is open') })
  docker.answer(() => ({}))
  docker.host.checkHealth = async () => true
  await soon(async () => expect(await results()).toEqual(['succeeded', 'succeeded']))
  expect(await engine.retry(first)).toMatchObject({
    kind: 'refused',
    reason: expect.stringContaining('The repo does not want it any more'),
  })
})

test('a target whose healing backs off or has given up is healed at once when it is asked for', async () => {
  const { engine, docker, results, images, store } = await scene()
  await engine.start()
  await soon(async () => expect(await results()).toEqual(['succeeded']))
  docker.refuse(() => {
    throw new TowlineError('no space left', { fault: 'operator' })
  })
  docker.change((model) => ({ ...model, containers: [] }))
  await engine.sweep({ deep: true })
  await soon(async () => expect((await store.readTarget(key))?.healing?.failureCount).toBe(1))
  docker.refuse(() => {})
  const inAnHour = new Date(Date.now() + 3_600_000).toISOString()
  await store.updateTarget(key, (stored) => {
    if (!stored?.healing) throw new Error('it was never healed')
    const degraded = { since: inAnHour, reason: 'too often', retryAt: inAnHour }
    return { ...stored, healing: { ...stored.healing, notBefore: inAnHour, degraded } }
  })
  await engine.reconcile(key)
  await soon(() => expect(images()).toEqual(['shop:1 running']))
  await soon(async () => expect((await store.readTarget(key))?.healing?.degraded).toBeNull())
})

test('a cancellation is pending until its deployment has ended, and no longer', async () => {
  const store = memoryStore()
  const deployment = { ...queued('shop'), phase: 'building' as const }
  await store.updateTarget(key, () => recordOf('shop', [deployment]))
  const ended: unknown[] = []
  const commands = createCommands({
    store,
    statistics: createStatistics(),
    deadlineMs: 1_000,
    onWish: () => {},
    onRevision: () => {},
    onAnswer: () => {},
    endWaits: (target, reason) => ended.push([target, reason]),
    look: () => {},
  })
  expect(await commands.pendingCancellation(key)).toBeNull()
  await commands.cancel(deployment)
  expect(ended).toEqual([[key, expect.any(Cancellation)]])
  expect(await commands.pendingCancellation(key)).toMatchObject({ deploymentId: deployment.id })
  await store.updateTarget(key, () =>
    recordOf('shop', [
      { ...deployment, phase: 'failed', result: { kind: 'superseded', phase: 'building', by: '' } },
    ]),
  )
  expect(await commands.pendingCancellation(key)).toBeNull()
})
