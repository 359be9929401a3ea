import { expect, test } from 'vitest'
import { TowlineError } from '../rollout/error.ts'
import { volumeName } from '../rollout/target.ts'
import { passRepo } from './config-pass.ts'
import { configRepo, serviceYaml, siteYaml } from './config-repo.fixture.ts'
import { isApplied, planRepo } from './dry-run.ts'
import { recordLog } from './log.fixture.ts'
import { memoryStore } from './memory-store.fixture.ts'
import { modelFiles, modelHost } from './model-host.fixture.ts'
import { createSpecReader } from './spec-reader.ts'
import { passTarget } from './target-pass.ts'
import { createTracker } from './tracker.ts'

const repo = 'acme/config'
const key = 'acme/config:shop@web-1'
const { signal } = new AbortController()
const atOnce = 'deploy: { update_config: { monitor: 0s } }\n'
const shop = (image = 'shop:1', more = '') => ({
  'apps/shop.yaml': serviceYaml('shop', image, atOnce + more),
})

/** A config repo and its host, with what it takes to plan and to apply. */
function scene(files: Record<string, string> = shop()) {
  const store = memoryStore()
  const docker = modelHost({ volume: volumeName(store.owner) })
  const config = configRepo(files)
  const parts = {
    store,
    hosts: new Map([['web-1', docker.host]]),
    specs: createSpecReader({ hosts: ['web-1'], bindMounts: [] }),
    files: modelFiles,
    siteServer: { image: 'caddy:2', command: [] },
    tracker: createTracker({ pollMs: 10, watch: { subscribe: () => () => {} } }),
    onChange: () => {},
    log: recordLog(),
  }
  const head = async () => (await config.mirror.fetch({ signal })) ?? ''
  return {
    store,
    docker,
    config,
    plan: async () => planRepo(parts, { repo, commit: await head(), tree: config.mirror, signal }),
    async apply() {
      const pass = { ...parts, deadlineMs: 60_000, onWish: () => {}, onRevision: () => {} }
      await passRepo(pass, { repo, branch: 'main', mirror: config.mirror }, { force: true, signal })
      await passTarget(parts, key, { holder: 'test', signal })
    },
  }
}

test('what is new is planned step by step, and nothing is done or stored', async () => {
  const { plan, store, docker } = scene()
  const before = docker.model()
  const { targets, problems } = await plan()
  expect(problems).toEqual([])
  expect(targets).toMatchObject([{ target: key, action: 'deploy', reason: 'the spec changed', drift: [] }])
  expect(targets[0]?.steps.map((step) => step.replace(/towline-[\w-]+/, '…'))).toEqual([
    'use image shop:1 (containers have to be created)',
    'ensure network … (containers have to be created)',
    'create container … (not there yet)',
    'start container … (created and not running)',
  ])
  expect(docker.model()).toBe(before)
  expect(await store.listTargets()).toEqual([])
})

test('what was applied and stands is nothing to do', async () => {
  const { plan, apply, store } = scene()
  await apply()
  const [record] = await store.listTargets()
  expect(record && isApplied(record)).toBe(true)
  expect((await plan()).targets).toEqual([
    {
      target: key,
      action: 'none',
      reason: 'the host is as the applied release says',
      steps: [],
      drift: [],
    },
  ])
})

test('what drifted is planned to be healed, and the drift is named', async () => {
  const { plan, apply, docker } = scene()
  await apply()
  docker.change((model) => ({ ...model, containers: [] }))
  expect((await plan()).targets).toMatchObject([
    {
      action: 'heal',
      drift: [{ field: 'state', expected: 'running', found: 'missing' }],
    },
  ])
})

test('a change of the spec is planned against what stands', async () => {
  const { plan, apply, config } = scene()
  await apply()
  config.commit(shop('shop:2'))
  const [planned] = (await plan()).targets
  expect(planned?.action).toBe('deploy')
  expect(planned?.steps.at(-1)).toMatch(/^remove container towline-shop-.*\(not part of the release\)$/)
})

test('a pause is said', async () => {
  const { plan } = scene(shop('shop:1', 'paused: { reason: migration }\n'))
  expect((await plan()).targets).toEqual([
    { target: key, action: 'paused', reason: 'migration', steps: [], drift: [] },
  ])
})

test('what failed is due again', async () => {
  const { plan, apply, docker } = scene()
  docker.answer(() => ({ state: 'dead' }))
  await apply()
  expect((await plan()).targets).toMatchObject([
    { action: 'deploy', reason: 'its last deployment failed', steps: [] },
  ])
})

test('one target that cannot be planned hides nothing of the others', async () => {
  const { plan, docker } = scene({ ...shop(), 'apps/bad.yaml': serviceYaml('bad', 'nobody/has:it') })
  const { resolveImage } = docker.host
  docker.host.resolveImage = async (reference, options) => {
    if (reference !== 'nobody/has:it') return resolveImage(reference, options)
    throw new TowlineError('no registry has nobody/has:it', { fault: 'input', hint: 'Push it' })
  }
  expect((await plan()).targets).toMatchObject([
    {
      target: 'acme/config:bad@web-1',
      action: 'blocked',
      reason: 'no registry has nobody/has:it. Push it',
      steps: [],
    },
    { target: key, action: 'deploy' },
  ])
})

test('a Site is planned with its files and links', async () => {
  const { plan } = scene({ 'apps/docs.yaml': siteYaml('docs', 'sites/docs'), 'sites/docs/a': 'a' })
  const [planned] = (await plan()).targets
  expect(planned?.steps.join('\n')).toMatch(/^write release \w{12} /m)
  expect(planned?.steps.join('\n')).toMatch(/^point .*current to releases\/\w{12}/m)
})

test('problems are told beside the plan of what is sound', async () => {
  const { plan } = scene({ ...shop(), 'apps/bad.yaml': 'name: [' })
  const { targets, problems } = await plan()
  expect(targets.map(({ action }) => action)).toEqual(['deploy'])
  expect(problems.map(({ path }) => path)).toContain('apps/bad.yaml')
})
