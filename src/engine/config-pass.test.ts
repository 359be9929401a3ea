import { beforeEach, describe, expect, test } from 'vitest'
import { serviceRelease } from '../rollout/release.fixture.ts'
import { formatTarget } from '../rollout/target.ts'
import { type ConfigParts, newReport, newTarget, passRepo, queueRerun } from './config-pass.ts'
import { configRepo, serviceYaml, siteYaml } from './config-repo.fixture.ts'
import { memoryStore } from './memory-store.fixture.ts'
import type { Store } from './ports.ts'
import { advanceStored, failure, target } from './records.fixture.ts'
import { createSpecReader } from './spec-reader.ts'

const name = 'acme/config'
const shopKey = 'acme/config:shop@web-1'
const blogKey = 'acme/config:blog@web-1'
const { signal } = new AbortController()

let store: Store
/** Keys told to look again, oldest first. */
let wished: string[]
let revisionsTold: number

beforeEach(() => {
  store = memoryStore()
  wished = []
  revisionsTold = 0
})

function partsOn(on: Store = store): ConfigParts {
  return {
    store: on,
    specs: createSpecReader({ hosts: ['web-1', 'web-2'], bindMounts: [] }),
    siteServer: { image: 'caddy:2', command: [] },
    deadlineMs: 30 * 60_000,
    onWish: (key) => wished.push(key),
    onRevision: () => {
      revisionsTold += 1
    },
  }
}

function service(app: string, image: string, more = ''): Record<string, string> {
  return { [`apps/${app}.yaml`]: serviceYaml(app, image, `hosts: [web-1]\n${more}`) }
}

async function pass(repo: ReturnType<typeof configRepo>, { force = false, on = store } = {}): Promise<void> {
  await passRepo(partsOn(on), { repo: name, branch: 'main', mirror: repo.mirror }, { force, signal })
}

async function read(key: string) {
  const record = await store.readTarget(key)
  if (!record) throw new Error(`there is no record of ${key}`)
  return record
}

const newestRevision = async () => (await store.readRepo(name))?.revisions.at(-1)
const lastDeployment = async (key: string) => (await read(key)).deployments.at(-1)

/** Ends the newest deployment of a target; where it succeeded it is what was applied. */
async function end(key: string, outcome: 'succeeded' | 'failed'): Promise<void> {
  const deployment = await lastDeployment(key)
  if (!deployment) throw new Error(`${key} has no deployment`)
  await advanceStored(store, deployment, outcome === 'succeeded' ? { type: 'succeeded' } : failure())
  if (outcome === 'failed') return
  const { id: deploymentId, specHash } = deployment
  await store.updateTarget(key, (record) => ({
    ...(record ?? newTarget(key, target('shop'))),
    applied: { deploymentId, specHash, release: serviceRelease(), at: '2026-11-21T10:05:00.000Z' },
  }))
}

describe('a commit', () => {
  test('gives every spec on each of its hosts one deployment, and names them all', async () => {
    const repo = configRepo({
      ...service('blog', 'blog:1'),
      'apps/shop.yaml': serviceYaml('shop', 'shop:1', 'hosts: [web-1, web-2]\n'),
    })
    await pass(repo)
    const commit = await repo.mirror.probe({ signal })
    const keys = [blogKey, shopKey, 'acme/config:shop@web-2']
    expect(wished).toEqual(keys)
    for (const key of keys) {
      const { deployments, desired, attempted, reports } = await read(key)
      expect(deployments).toMatchObject([{ commit, phase: 'queued', trigger: 'push', attempt: 1 }])
      const [{ id = '', specHash = '', createdAt = '', deadlineAt = '' } = {}] = deployments
      expect(desired).toMatchObject({ commit, specHash })
      expect(attempted).toEqual({ deploymentId: id, specHash, attempt: 1 })
      expect(reports).toEqual({ [id]: newReport })
      expect(Date.parse(deadlineAt) - Date.parse(createdAt)).toBe(30 * 60_000)
    }
    const ids = await Promise.all(
      keys.map(async (key) => ({ target: key, deploymentId: (await lastDeployment(key))?.id })),
    )
    expect(await store.readRepo(name)).toMatchObject({
      head: commit,
      branch: 'main',
      revisions: [{ commit, deploymentIds: ids, unchangedCount: 0, problems: [], attempt: 1 }],
    })
    expect(revisionsTold).toBe(1)
  })

  test('is not fetched or read again while the head has not moved', async () => {
    const repo = configRepo(service('shop', 'shop:1'))
    await pass(repo)
    await pass(repo)
    expect(repo.fetchCount()).toBe(1)
  })

  test('asks for nothing twice, also where it is read again', async () => {
    const repo = configRepo({ ...service('shop', 'shop:1'), ...service('blog', 'blog:1') })
    await pass(repo)
    const before = await store.listTargets()
    await pass(repo, { force: true })
    await pass(repo, { force: true })
    expect(await store.listTargets()).toEqual(before)
    expect(wished).toHaveLength(2)
    expect((await store.readRepo(name))?.revisions).toHaveLength(1)
  })

  test('deploys only what it changes, and counts the rest', async () => {
    const repo = configRepo({ ...service('shop', 'shop:1'), ...service('blog', 'blog:1') })
    await pass(repo)
    wished = []
    const commit = repo.commit({ ...service('shop', 'shop:2'), 'README.md': 'hello' })
    await pass(repo)
    expect(wished).toEqual([shopKey])
    expect((await read(blogKey)).deployments).toHaveLength(1)
    expect(await newestRevision()).toMatchObject({
      commit,
      unchangedCount: 1,
      deploymentIds: [{ target: shopKey }],
    })
  })

  test('that means the same in other words deploys nothing', async () => {
    const repo = configRepo(service('shop', 'shop:1'))
    await pass(repo)
    repo.commit({ 'apps/shop.yaml': `# the shop\n${serviceYaml('shop', '"shop:1"', 'hosts:\n  - web-1\n')}` })
    await pass(repo)
    expect(wished).toEqual([shopKey])
    expect(await newestRevision()).toMatchObject({ unchangedCount: 1, deploymentIds: [] })
  })

  test('that changes the files of a Site deploys the Site', async () => {
    const repo = configRepo({
      'apps/docs.yaml': `${siteYaml('docs', 'sites/docs')}hosts: [web-1]\n`,
      'sites/docs/index.html': 'one',
    })
    await pass(repo)
    repo.commit({ 'sites/docs/index.html': 'two' })
    await pass(repo)
    expect((await read('acme/config:docs@web-1')).deployments).toHaveLength(2)
  })

  test('takes over from the one before, which says so', async () => {
    const repo = configRepo(service('shop', 'shop:1'))
    await pass(repo)
    const commit = repo.commit(service('shop', 'shop:2'))
    await pass(repo)
    const revisions = (await store.readRepo(name))?.revisions
    expect(revisions?.map(({ supersededBy }) => supersededBy)).toEqual([commit, null])
  })

  test('is told to the workers only once all of it is stored, so that none meets an old wish of another', async () => {
    const repo = configRepo({
      ...service('blog', 'blog:1', 'dependsOn: [shop]\n'),
      ...service('shop', 'shop:1'),
    })
    const seen: Promise<number>[] = []
    const parts = {
      ...partsOn(),
      onWish: () => seen.push(store.listTargets().then(({ length }) => length)),
    }
    await passRepo(parts, { repo: name, branch: 'main', mirror: repo.mirror }, { force: false, signal })
    expect(await Promise.all(seen)).toEqual([2, 2])
  })

  test('with problems is stored with them, bounded, and deploys what has none', async () => {
    const broken = Array.from({ length: 501 }, (_, index) => [`apps/x${index}.yaml`, 'kind: Nothing\n'])
    const repo = configRepo({ ...service('shop', 'shop:1'), ...Object.fromEntries(broken) })
    await pass(repo)
    expect(wished).toEqual([shopKey])
    expect((await newestRevision())?.problems).toHaveLength(500)
  })
})

describe('a commit the branch comes back to', () => {
  test('is the head again, though it changes nothing', async () => {
    const repo = configRepo(service('shop', 'shop:1'))
    const first = await repo.mirror.probe({ signal })
    await pass(repo)
    repo.commit({ 'README.md': 'hello' })
    await pass(repo)
    repo.reset(first)
    await pass(repo)
    expect(await store.readRepo(name)).toMatchObject({
      head: first,
      revisions: [{ supersededBy: first }, { commit: first, supersededBy: null }],
    })
  })

  test('is deployed again, reusing the attempt that serves, as a run over all of its own', async () => {
    const repo = configRepo(service('shop', 'shop:1'))
    const first = await repo.mirror.probe({ signal })
    await pass(repo)
    await end(shopKey, 'succeeded')
    await store.updateRepo(name, (stored) => ({
      ...(stored ?? { version: 1, repo: name, branch: 'main', head: null }),
      revisions: stored?.revisions.map((one) => ({ ...one, report: { ...newReport, done: true } })) ?? [],
    }))
    repo.commit(service('shop', 'shop:broken'))
    await pass(repo)
    await end(shopKey, 'failed')
    repo.reset(first)
    await pass(repo)
    const { deployments } = await read(shopKey)
    expect(deployments.map(({ attempt }) => attempt)).toEqual([1, 1, 1])
    expect(new Set(deployments.map(({ id }) => id)).size).toBe(3)
    expect(await newestRevision()).toMatchObject({
      commit: first,
      attempt: 2,
      report: newReport,
      deploymentIds: [{ deploymentId: deployments[2]?.id }],
    })
  })

  test('is a new attempt where it failed before', async () => {
    const repo = configRepo(service('shop', 'shop:broken'))
    const first = await repo.mirror.probe({ signal })
    await pass(repo)
    await end(shopKey, 'failed')
    repo.commit(service('shop', 'shop:1'))
    await pass(repo)
    await end(shopKey, 'succeeded')
    repo.reset(first)
    await pass(repo)
    expect((await lastDeployment(shopKey))?.attempt).toBe(2)
  })
})

describe('a crash in the middle of a look', () => {
  /** The same store, that dies at its `count`th write of a target. */
  function dying(count: number): Store {
    let writes = 0
    return {
      ...store,
      updateTarget: async (...call) => {
        writes += 1
        if (writes === count) throw new Error('killed')
        return store.updateTarget(...call)
      },
    }
  }

  test('is completed by the next look, whichever write it cut off', async () => {
    for (const count of [1, 2]) {
      store = memoryStore()
      const repo = configRepo({ ...service('shop', 'shop:1'), ...service('blog', 'blog:1') })
      await expect(pass(repo, { on: dying(count) })).rejects.toThrow('killed')
      await pass(repo, { force: true })
      for (const key of [blogKey, shopKey]) {
        const { deployments } = await read(key)
        expect(deployments).toHaveLength(1)
        expect((await newestRevision())?.deploymentIds).toContainEqual({
          target: key,
          deploymentId: deployments[0]?.id,
        })
      }
      expect(await newestRevision()).toMatchObject({ attempt: 1 })
      expect((await newestRevision())?.deploymentIds).toHaveLength(2)
    }
  })
})

describe('a paused spec', () => {
  const paused = 'paused: { reason: migration }\n'

  test('is not deployed, its wish is kept, and the commit says why', async () => {
    const repo = configRepo(service('shop', 'shop:1', paused))
    await pass(repo)
    expect(await read(shopKey)).toMatchObject({
      deployments: [],
      attempted: null,
      desired: { spec: { spec: { image: 'shop:1' } } },
    })
    expect(await newestRevision()).toMatchObject({
      deploymentIds: [],
      pausedTargets: [{ target: shopKey, reason: 'migration', until: null }],
    })
  })

  test('is deployed with all that changed meanwhile once it is paused no more', async () => {
    const repo = configRepo(service('shop', 'shop:1'))
    await pass(repo)
    await end(shopKey, 'succeeded')
    repo.commit(service('shop', 'shop:2', paused))
    await pass(repo)
    expect((await read(shopKey)).deployments).toHaveLength(1)
    repo.commit(service('shop', 'shop:2'))
    await pass(repo)
    expect(await lastDeployment(shopKey)).toMatchObject({ phase: 'queued', attempt: 1 })
    expect((await read(shopKey)).deployments).toHaveLength(2)
  })

  test('is not deployed again where nothing but the pause came and went', async () => {
    const repo = configRepo(service('shop', 'shop:1'))
    await pass(repo)
    repo.commit(service('shop', 'shop:1', paused))
    await pass(repo)
    expect((await read(shopKey)).desired?.spec.spec.paused).toEqual({ reason: 'migration', until: null })
    repo.commit(service('shop', 'shop:1'))
    await pass(repo)
    expect(await read(shopKey)).toMatchObject({
      deployments: [{ attempt: 1 }],
      desired: { spec: { spec: { paused: null } } },
    })
  })

  test('is deployed once the time it is paused until has come', async () => {
    const until = (iso: string) => `paused: { reason: migration, until: ${iso} }\n`
    const repo = configRepo({
      ...service('shop', 'shop:1', until('2020-01-01T00:00:00Z')),
      ...service('blog', 'blog:1', until('2999-01-01T00:00:00Z')),
    })
    await pass(repo)
    expect(wished).toContain(shopKey)
    expect((await read(shopKey)).deployments).toHaveLength(1)
    expect((await read(blogKey)).deployments).toHaveLength(0)
    expect((await newestRevision())?.pausedTargets).toMatchObject([
      { target: blogKey, until: '2999-01-01T00:00:00.000Z' },
    ])
  })
})

test('a change of how an app is handled, not of what runs, deploys nothing and holds at once', async () => {
  const repo = configRepo({ ...service('shop', 'shop:1'), ...service('blog', 'blog:1') })
  await pass(repo)
  const { desired } = await read(shopKey)
  wished = []
  repo.commit(service('shop', 'shop:1', 'dependsOn: [blog]\nrollout: { keepReleases: 2 }\n'))
  await pass(repo)
  const after = await read(shopKey)
  expect(after.deployments).toHaveLength(1)
  expect(after.desired?.spec.spec).toMatchObject({ dependsOn: ['blog'], keepReleases: 2 })
  expect(after.desired?.commit).toBe(desired?.commit)
  expect(wished).toEqual([shopKey])
})

describe('an app that left the repo', () => {
  test('is wished no more, and keeps its past', async () => {
    const repo = configRepo({ ...service('shop', 'shop:1'), ...service('blog', 'blog:1') })
    await pass(repo)
    await end(shopKey, 'succeeded')
    repo.commit({ 'apps/shop.yaml': null })
    await pass(repo)
    const { desired, applied, deployments } = await read(shopKey)
    expect(desired).toBeNull()
    expect(applied).not.toBeNull()
    expect(deployments).toHaveLength(1)
    expect((await read(blogKey)).desired).not.toBeNull()
  })

  test('is deployed when it comes back', async () => {
    const repo = configRepo({ ...service('shop', 'shop:1'), ...service('blog', 'blog:1') })
    await pass(repo)
    await end(shopKey, 'succeeded')
    repo.commit({ 'apps/shop.yaml': null })
    await pass(repo)
    repo.commit(service('shop', 'shop:1'))
    await pass(repo)
    const { deployments, desired } = await read(shopKey)
    expect(deployments).toHaveLength(2)
    expect(new Set(deployments.map(({ id }) => id)).size).toBe(2)
    expect(desired).not.toBeNull()
  })

  test('is wished on while any spec has a problem: it may be the broken one', async () => {
    const repo = configRepo({ ...service('shop', 'shop:1'), ...service('blog', 'blog:1') })
    await pass(repo)
    repo.commit({ 'apps/shop.yaml': null, 'apps/blog.yaml': 'kind: Nothing\n' })
    await pass(repo)
    expect((await read(shopKey)).desired).not.toBeNull()
    expect((await read(blogKey)).desired).not.toBeNull()
  })

  test('is told from previews and from apps of other repos', async () => {
    const repo = configRepo(service('shop', 'shop:1'))
    await pass(repo)
    const { desired } = await read(shopKey)
    const others = [target('shop', { preview: 12 }), target('shop', { repo: 'acme/other' })]
    for (const other of others) {
      const key = formatTarget(other)
      await store.updateTarget(key, () => ({ ...newTarget(key, other), desired }))
    }
    repo.commit({ 'apps/shop.yaml': null, 'README.md': 'hello' })
    await pass(repo)
    for (const other of others) expect((await read(formatTarget(other))).desired).toEqual(desired)
    expect((await read(shopKey)).desired).toBeNull()
  })
})

describe('with pruning on, an app that left the repo', () => {
  const settings = (more = '') => ({ 'towline.yaml': `prune: { enabled: true${more} }\n` })
  const start = async (more = '', apps = ['shop', 'blog', 'news']) => {
    const files = Object.assign({}, ...apps.map((app) => service(app, `${app}:1`)))
    const repo = configRepo({ ...settings(more), ...files })
    await pass(repo)
    for (const app of apps) await end(`acme/config:${app}@web-1`, 'succeeded')
    wished = []
    return repo
  }
  /** GitHub was told of the newest commit. */
  const tell = () =>
    store.updateRepo(name, (stored) => {
      if (!stored) throw new Error('there is no repo')
      const revisions = stored.revisions.map((one) => ({ ...one, report: { ...newReport, done: true } }))
      return { ...stored, revisions }
    })

  test('gets a tombstone, which its commit tells and which wakes its target', async () => {
    const repo = await start()
    const commit = repo.commit({ 'apps/shop.yaml': null })
    await pass(repo)
    const { desired, removal, applied } = await read(shopKey)
    expect([desired, applied === null]).toEqual([null, false])
    expect(removal).toMatchObject({ commit, volumes: false })
    const delayMs = Date.parse(removal?.removeAfter ?? '') - Date.parse(removal?.since ?? '')
    expect(delayMs).toBe(3_600_000)
    expect(await newestRevision()).toMatchObject({
      removals: [{ target: shopKey, removeAfter: removal?.removeAfter, volumes: false }],
      pruneRefused: null,
    })
    expect(wished).toEqual([shopKey])
    expect((await read(blogKey)).removal).toBeNull()
  })

  test('keeps its first tombstone through later commits, which go on telling it', async () => {
    const repo = await start()
    repo.commit({ 'apps/shop.yaml': null })
    await pass(repo)
    const { removal } = await read(shopKey)
    repo.commit({ 'README.md': 'hello' })
    await pass(repo)
    await pass(repo, { force: true })
    expect((await read(shopKey)).removal).toEqual(removal)
    expect((await newestRevision())?.removals).toHaveLength(1)
  })

  test('loses its tombstone when its spec is put back', async () => {
    const repo = await start()
    repo.commit({ 'apps/shop.yaml': null })
    await pass(repo)
    repo.commit(service('shop', 'shop:1'))
    await pass(repo)
    expect(await read(shopKey)).toMatchObject({
      removal: null,
      desired: { spec: { spec: { name: 'shop' } } },
    })
    expect((await newestRevision())?.removals).toEqual([])
  })

  test('loses its tombstone when its spec is put back paused', async () => {
    const repo = await start()
    repo.commit({ 'apps/shop.yaml': null })
    await pass(repo)
    repo.commit(service('shop', 'shop:1', 'paused: true\n'))
    await pass(repo)
    expect((await read(shopKey)).removal).toBeNull()
  })

  test('is spared with all others where more left than prune.max, also those announced before', async () => {
    const repo = await start(', max: 1')
    repo.commit({ 'apps/shop.yaml': null })
    await pass(repo)
    expect((await read(shopKey)).removal).not.toBeNull()
    repo.commit({ 'apps/blog.yaml': null })
    await pass(repo)
    for (const key of [shopKey, blogKey])
      expect(await read(key)).toMatchObject({ desired: null, removal: null })
    expect(await newestRevision()).toMatchObject({
      removals: [],
      pruneRefused: expect.stringContaining('2 targets left the repo, and prune.max is 1'),
    })
  })

  test('is spared while any spec has a problem, also where it was announced before', async () => {
    const repo = await start()
    repo.commit({ 'apps/shop.yaml': null })
    await pass(repo)
    repo.commit({ 'apps/shop.yaml': 'kind: Service\nname: shop\n' })
    await pass(repo)
    expect((await read(shopKey)).removal).toBeNull()
    expect((await newestRevision())?.pruneRefused).toContain('while specs have problems')
  })

  test('is spared where the branch is gone, and where pruning is turned off', async () => {
    for (const change of ['gone', 'off']) {
      store = memoryStore()
      const repo = await start()
      repo.commit({ 'apps/shop.yaml': null })
      await pass(repo)
      expect((await read(shopKey)).removal).not.toBeNull()
      if (change === 'gone') repo.reset(null)
      else repo.commit({ 'towline.yaml': null })
      await pass(repo)
      expect((await read(shopKey)).removal).toBeNull()
    }
  })

  test('while pruning was off is removed too once it is on', async () => {
    const repo = configRepo({ ...service('shop', 'shop:1'), ...service('blog', 'blog:1') })
    await pass(repo)
    await end(shopKey, 'succeeded')
    repo.commit({ 'apps/shop.yaml': null })
    await pass(repo)
    expect((await read(shopKey)).removal).toBeNull()
    const commit = repo.commit(settings())
    await pass(repo)
    expect((await read(shopKey)).removal).toMatchObject({ commit })
  })

  test('is told once: the same commit read again, also after the removal, says nothing new', async () => {
    const repo = await start()
    repo.commit({ 'apps/shop.yaml': null })
    await pass(repo)
    await tell()
    const told = await newestRevision()
    await pass(repo, { force: true })
    await store.deleteTarget(shopKey)
    await pass(repo, { force: true })
    expect(await newestRevision()).toEqual(told)
    expect(await store.readTarget(shopKey)).toBeNull()
  })

  test('is never removed against what its commit told: another answer is a run of its own', async () => {
    const repo = await start(', max: 1')
    repo.commit({ 'apps/shop.yaml': null, 'apps/blog.yaml': null })
    await pass(repo)
    await tell()
    expect(await newestRevision()).toMatchObject({ attempt: 1, pruneRefused: expect.any(String) })
    await store.deleteTarget(blogKey)
    await pass(repo, { force: true })
    expect(await newestRevision()).toMatchObject({
      attempt: 2,
      pruneRefused: null,
      removals: [{ target: shopKey }],
      report: newReport,
    })
  })

  test('is not made anew where its removal ended while a commit was read', async () => {
    const repo = await start()
    repo.commit({ 'apps/shop.yaml': null })
    await pass(repo)
    const stale = await store.listTargets()
    await store.deleteTarget(shopKey)
    repo.commit({ 'towline.yaml': null })
    await pass(repo, { on: { ...store, listTargets: async () => stale } })
    expect(await store.readTarget(shopKey)).toBeNull()
    expect(await newestRevision()).toMatchObject({ removals: [] })
  })

  test('is spared by a commit that is read only by half: its old tombstone goes first', async () => {
    const repo = await start()
    repo.commit({ 'apps/shop.yaml': null })
    await pass(repo)
    repo.commit(service('shop', 'shop:1'))
    const dying: Store = { ...store, updateRepo: () => Promise.reject(new Error('killed')) }
    await expect(pass(repo, { on: dying })).rejects.toThrow('killed')
    expect((await read(shopKey)).removal).toBeNull()
  })
})

test('a branch that is gone takes nothing down, and is followed again when it is back', async () => {
  const repo = configRepo(service('shop', 'shop:1'))
  const commit = await repo.mirror.probe({ signal })
  await pass(repo)
  repo.reset(null)
  await pass(repo)
  expect((await read(shopKey)).desired).not.toBeNull()
  expect(await store.readRepo(name)).toMatchObject({ head: null, revisions: [{ commit }] })
  repo.reset(commit)
  await pass(repo)
  expect(await store.readRepo(name)).toMatchObject({ head: commit, revisions: [{ commit }] })
  expect((await read(shopKey)).deployments).toHaveLength(1)
})

test('a repo that never had specs gets no check run; one whose last spec left is told so', async () => {
  const repo = configRepo({ 'README.md': 'hello' })
  await pass(repo)
  expect(await store.readRepo(name)).toMatchObject({ head: expect.any(String), revisions: [] })
  expect(revisionsTold).toBe(0)
  repo.commit(service('shop', 'shop:1'))
  await pass(repo)
  const last = repo.commit({ 'apps/shop.yaml': null })
  await pass(repo)
  expect(await newestRevision()).toMatchObject({ commit: last, deploymentIds: [] })
})

describe('one more attempt', () => {
  test('is queued for what the repo wants now, on the commit it was asked on', async () => {
    const repo = configRepo(service('shop', 'shop:1'))
    await pass(repo)
    await end(shopKey, 'failed')
    wished = []
    const id = await queueRerun(partsOn(), shopKey, { commit: 'a'.repeat(40), trigger: 'rerun' })
    expect(await lastDeployment(shopKey)).toMatchObject({
      id,
      attempt: 2,
      trigger: 'rerun',
      commit: 'a'.repeat(40),
      phase: 'queued',
    })
    expect((await read(shopKey)).attempted).toMatchObject({ deploymentId: id, attempt: 2 })
    expect(wished).toEqual([shopKey])
  })

  test('is not queued while one is open, nor for an app that left', async () => {
    const repo = configRepo({ ...service('shop', 'shop:1'), ...service('blog', 'blog:1') })
    await pass(repo)
    const asked = { commit: 'a'.repeat(40), trigger: 'rerun' } as const
    expect(await queueRerun(partsOn(), shopKey, asked)).toBeNull()
    await end(shopKey, 'succeeded')
    repo.commit({ 'apps/shop.yaml': null })
    await pass(repo)
    wished = []
    expect(await queueRerun(partsOn(), shopKey, asked)).toBeNull()
    expect((await read(shopKey)).deployments).toHaveLength(1)
    expect(wished).toEqual([])
  })

  test('asked for twice at once is queued once', async () => {
    const repo = configRepo(service('shop', 'shop:1'))
    await pass(repo)
    await end(shopKey, 'failed')
    const asked = { commit: 'a'.repeat(40), trigger: 'rerun' } as const
    const ids = await Promise.all([1, 2, 3].map(() => queueRerun(partsOn(), shopKey, asked)))
    expect(ids.filter((id) => id !== null)).toHaveLength(1)
    expect((await read(shopKey)).deployments).toHaveLength(2)
  })
})
