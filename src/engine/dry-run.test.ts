import { expect, test } from 'vitest'
import { TowlineError } from '../rollout/error.ts'
import { volumeName } from '../rollout/target.ts'
import { passRepo } from './config-pass.ts'
import { configRepo, serviceYaml } from './config-repo.fixture.ts'
import { planRepo } from './dry-run.ts'
import { alwaysKnown } from './host-status.ts'
import { recordLog } from './log.fixture.ts'
import { memoryStore } from './memory-store.fixture.ts'
import { modelFiles, modelHost } from './model-host.fixture.ts'
import { advanceStored, failure } from './records.fixture.ts'
import { createSpecReader } from './spec-reader.ts'
import { createStatistics } from './statistics.ts'
import { passTarget } from './target-pass.ts'
import { createTracker } from './tracker.ts'

const repo = 'acme/config'
const shopKey = 'acme/config:shop@web-1'
const { signal } = new AbortController()

/** A config repo, its host, and what the server would work with. */
function scene(files: Record<string, string>) {
  const config = configRepo(files)
  const store = memoryStore()
  const docker = modelHost({ volume: volumeName(store.owner) })
  const parts = {
    store,
    hosts: new Map([[docker.host.name, docker.host]]),
    specs: createSpecReader({ hosts: [docker.host.name], bindMounts: [] }),
    tracker: createTracker({ pollMs: 1_000, watch: { subscribe: () => () => {} } }),
    files: modelFiles,
    siteServer: { image: 'caddy:2', command: [] },
    hostStatus: alwaysKnown,
    progressDeadlineMs: 300_000,
    healing: { limit: 5, windowMs: 300_000 },
    statistics: createStatistics(),
    onChange: () => {},
    log: recordLog(),
  }
  return {
    config,
    store,
    docker,
    async plan() {
      const commit = (await config.mirror.probe({ signal })) ?? ''
      return planRepo(parts, { repo, commit, tree: config.mirror, signal })
    },
    /** The repo is read, its wishes are queued. */
    async push() {
      const looks = { deadlineMs: 60_000, onWish: () => {}, onRevision: () => {} }
      const found = { repo, branch: 'main', mirror: config.mirror }
      await passRepo({ ...parts, ...looks }, found, { force: false, signal })
    },
    async deploy(key: string) {
      await passTarget(parts, key, { holder: 'worker', signal })
      return (await store.readTarget(key))?.deployments.at(-1)
    },
  }
}

const shop = (image: string, more = '') => ({
  'apps/shop.yaml': serviceYaml('shop', image, `deploy: { update_config: { monitor: 0s } }\n${more}`),
})

test('what is planned is what the deployment then does, line for line', async () => {
  const { plan, push, deploy } = scene(shop('shop:1'))
  const { targets } = await plan()
  await push()
  const deployment = await deploy(shopKey)
  expect(deployment?.result).toEqual({ kind: 'succeeded' })
  expect(deployment?.changes.length).toBeGreaterThan(0)
  expect(targets).toEqual([
    {
      target: shopKey,
      action: 'deploy',
      reason: 'the spec changed',
      steps: deployment?.changes,
      drift: [],
    },
  ])
})

test('planning changes neither the host nor the store', async () => {
  const { plan, push, deploy, config, store, docker } = scene(shop('shop:1'))
  await plan()
  expect(await store.listTargets()).toEqual([])
  expect(await store.listRepos()).toEqual([])
  await push()
  await deploy(shopKey)
  config.commit(shop('shop:2'))
  const [targets, repos, model, acts] = [
    await store.listTargets(),
    await store.listRepos(),
    docker.model(),
    [...docker.acts],
  ]
  expect((await plan()).targets).toMatchObject([{ action: 'deploy' }])
  expect(await store.listTargets()).toEqual(targets)
  expect(await store.listRepos()).toEqual(repos)
  expect(docker.model()).toEqual(model)
  expect(docker.acts).toEqual(acts)
})

test('where all is as the repo says there is nothing to do', async () => {
  const { plan, push, deploy } = scene(shop('shop:1'))
  await push()
  await deploy(shopKey)
  expect((await plan()).targets).toEqual([
    {
      target: shopKey,
      action: 'none',
      reason: 'the host is as the applied release says',
      steps: [],
      drift: [],
    },
  ])
})

test('what drifted is named, with the steps that would heal it', async () => {
  const { plan, push, deploy, docker } = scene(shop('shop:1'))
  await push()
  await deploy(shopKey)
  docker.change((model) => ({
    ...model,
    containers: model.containers.map((container) => ({ ...container, state: 'exited' })),
  }))
  const { targets } = await plan()
  expect(targets).toMatchObject([
    {
      action: 'heal',
      reason: 'the host drifted from the applied release',
      drift: [{ field: 'state', expected: 'running', found: 'exited' }],
    },
  ])
  expect(targets[0]?.steps[0]).toContain('start')
})

test('a target whose last deployment failed is not passed off as deployed', async () => {
  const { plan, push, store } = scene(shop('shop:1'))
  await push()
  const [deployment] = (await store.readTarget(shopKey))?.deployments ?? []
  expect((await plan()).targets).toMatchObject([{ action: 'deploy', reason: 'a deployment is open' }])
  if (deployment) await advanceStored(store, deployment, failure())
  expect((await plan()).targets).toMatchObject([{ action: 'deploy', reason: 'its last deployment failed' }])
})

test('a paused spec is planned as paused, with its reason', async () => {
  const { plan } = scene(shop('shop:1', 'paused: { reason: migration }\n'))
  expect((await plan()).targets).toEqual([
    { target: shopKey, action: 'paused', reason: 'migration', steps: [], drift: [] },
  ])
})

test('one target that cannot be planned says why and hides no other, nor the problems of the specs', async () => {
  const { plan, docker } = scene({
    ...shop('shop:1'),
    'apps/blog.yaml': serviceYaml('blog', 'blog:none'),
    'apps/bad.yaml': 'kind: Nothing\n',
  })
  const { resolveImage } = docker.host
  docker.host.resolveImage = async (reference, options) => {
    if (reference !== 'blog:none') return resolveImage(reference, options)
    throw new TowlineError('no registry has blog:none', { fault: 'input', hint: 'Push the image.' })
  }
  const { targets, problems } = await plan()
  expect(targets.map(({ target, action, reason }) => [target, action, reason])).toEqual([
    ['acme/config:blog@web-1', 'blocked', 'no registry has blog:none. Push the image.'],
    [shopKey, 'deploy', 'the spec changed'],
  ])
  expect(problems).toMatchObject([{ path: 'apps/bad.yaml' }])
})
