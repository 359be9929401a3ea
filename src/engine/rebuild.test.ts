import { afterEach, expect, test, vi } from 'vitest'
import type { CheckRun } from '../report/check-run.ts'
import { TowlineError } from '../rollout/error.ts'
import { planRelease } from '../rollout/plan.ts'
import { volumeName } from '../rollout/target.ts'
import { queueRerun } from './config-pass.ts'
import { configRepo, serviceYaml } from './config-repo.fixture.ts'
import { createEngine, type Engine } from './engine.ts'
import { recordLog } from './log.fixture.ts'
import { memoryStore } from './memory-store.fixture.ts'
import { type ModelHost, modelFiles, modelHost } from './model-host.fixture.ts'
import type { GitHub, RepoAccess, Store } from './ports.ts'
import { rebuildIfEmpty, rebuildStore } from './rebuild.ts'
import { heldHosts } from './rebuild-due.ts'
import { createSpecReader } from './spec-reader.ts'
import { viewRecord } from './target-pass.ts'

const repo = 'acme/config'
const owner = '0a1b2c3d-0000-4000-8000-000000000000'
const [shopKey, docsKey] = [`${repo}:shop@web-1`, `${repo}:docs@web-1`]
const atOnce = 'deploy: { replicas: 2, update_config: { monitor: 0s } }\n'
const { signal } = new AbortController()
const running: Engine[] = []

afterEach(async () => {
  for (const engine of running.splice(0)) await engine.stop()
})

const shop = (image: string, more = '') => ({ 'apps/shop.yaml': serviceYaml('shop', image, atOnce + more) })
const docs = (page: string) => ({
  'apps/docs.yaml': `apiVersion: towline/v1\nkind: Site\nname: docs\nsource: { files: site }\nports: ["80"]\nrollout: { keepReleases: 3 }\n${monitorless}`,
  'site/index.html': page,
})
const monitorless = 'deploy: { update_config: { monitor: 0s } }\n'

/** A config repo, its hosts and a GitHub; the store can be lost. */
function scene(files: Record<string, string>, hostNames = ['web-1']) {
  const config = configRepo(files)
  const dockers = new Map(
    hostNames.map((name): [string, ModelHost] => [name, modelHost({ name, volume: volumeName(owner) })]),
  )
  // What no record explains is removed at the first look: nothing that was lost may be taken for that.
  for (const { host, model } of dockers.values()) {
    host.inventory = async () => ({
      ...{ host: host.name, engineId: `engine of ${host.name}`, at: model().at },
      things: model().containers.map(({ id, name, labels }) => ({
        ...{ kind: 'container', id, name, labels, createdAt: null, userCount: null },
      })),
    })
  }
  const hosts = new Map([...dockers].map(([name, { host }]) => [name, host]))
  const runs: CheckRun[] = []
  let accessible: () => Promise<RepoAccess[]> = async () => [{ repo, branch: 'main' }]
  const github: GitHub = {
    repos: () => accessible(),
    createCheckRun: async (_repo, check) => runs.push(check),
    updateCheckRun: async (_repo, id, check) => {
      runs[id - 1] = check
    },
    findCheckRun: async () => null,
    missedDeliveries: async () => ({ missed: [], whole: true }),
    readDelivery: async () => null,
  }
  const treeOid = async (_repo: string, commit: string, path: string) =>
    config.mirror.treeOid(commit, path, { signal })
  let store: Store = memoryStore({ owner })
  const log = recordLog()
  const parts = () => ({
    ...{ store, hosts, github, log },
    mirror: async () => config.mirror,
    specs: createSpecReader({ hosts: hostNames, bindMounts: [] }),
    files: { ...modelFiles, treeOid },
    siteServer: { image: 'caddy:2', command: [] },
    limits: {
      total: 4,
      perHost: 2,
      progressDeadlineMs: 300_000,
      deadlineMs: 1_800_000,
      orphanGraceMs: 0,
      healing: { limit: 5, windowMs: 300_000 },
      githubWriteIntervalMs: 1,
    },
    orphans: { remove: true, volumes: true },
    deadlineMs: 1_800_000,
    schedule: { sweep: '0 0 1 1 *', stuck: '0 0 1 1 *', pollMs: 20, reposMs: null },
  })

  async function start(): Promise<Engine> {
    const engine = createEngine(parts())
    running.push(engine)
    await engine.start()
    return engine
  }

  /** Runs until what the head says is active everywhere. */
  async function deployAll() {
    const engine = await start()
    await soon(async () => {
      const records = await store.listTargets()
      const isActive = records.map(({ applied, desired }) => applied?.specHash === desired?.specHash)
      expect(records.length > 0 && isActive.every(Boolean)).toBe(true)
    })
    await allTold()
    return engine
  }

  /** GitHub was told all that is to be told, also of drift that ended. */
  async function allTold() {
    await soon(async () => {
      const records = await store.listTargets()
      const revisions = (await store.listRepos()).flatMap((record) => record.revisions)
      const reports = [
        ...records.flatMap((record) => Object.values(record.reports)),
        ...records.flatMap(({ drift }) => drift?.report ?? []),
        ...revisions.map(({ report }) => report),
      ]
      expect(reports.every(({ done }) => done)).toBe(true)
    })
  }

  return {
    config,
    dockers,
    runs,
    log,
    docker: dockers.get('web-1') as ModelHost,
    store: () => store,
    parts,
    start,
    deployAll,
    /** Runs GitHub has in the end, as `name conclusion`. */
    async told() {
      await allTold()
      return runs.map(({ name, conclusion }) => `${name} ${conclusion}`).sort()
    },
    access: (next: () => Promise<RepoAccess[]>) => {
      accessible = next
    },
    async push(changes: Record<string, string | null>) {
      config.commit(changes)
      await running.at(-1)?.sweep({ deep: false })
      await soon(async () => {
        const open = (await store.listTargets()).flatMap(({ deployments }) =>
          deployments.filter(({ result }) => result === null),
        )
        expect(open).toEqual([])
      })
    },
    /** Stops Towline and deletes its data folder. What was told and done so far is forgotten too. */
    async lose() {
      for (const engine of running.splice(0)) await engine.stop()
      store = memoryStore({ owner })
      runs.length = 0
      for (const { acts } of dockers.values()) acts.length = 0
    },
    /** The steps that would bring each target to what its record calls applied. */
    async due() {
      const records = await store.listTargets()
      const steps = records.map((record) => {
        const model = dockers.get(record.target.host)?.model()
        if (!model || !record.applied) return []
        return planRelease(record.applied.release, viewRecord(record, model), {
          prove: false,
          keepReleaseIds: null,
        })
      })
      return steps.flat()
    },
    images: () =>
      [...dockers.values()].flatMap(({ model }) =>
        model()
          .containers.filter(({ state }) => state === 'running')
          .map(({ image }) => image.split('@')[0]),
      ),
  }
}

const rebuiltId = expect.stringMatching(/^rebuilt-[0-9a-f]{12}$/)
const notProven = 'an older release still stands, so this one was not proven'
const soon = (check: () => unknown) => vi.waitFor(check, { timeout: 10_000, interval: 10 })

test('what stands as the head says is known again, and nothing is done or told', async () => {
  const town = scene({ ...shop('shop:1'), ...docs('one') })
  await town.deployAll()
  const before = await town.store().listTargets()
  await town.lose()
  const report = await rebuildIfEmpty(town.parts(), { signal })
  expect(report?.targets).toMatchObject([
    { target: expect.any(String), from: 'head', wanted: true, surplus: [] },
    { target: expect.any(String), from: 'head', wanted: true, surplus: [] },
  ])
  expect(report?.problems).toEqual([])
  for (const { key, desired, attempted, applied } of before) {
    const record = await town.store().readTarget(key)
    expect(record).toMatchObject({ desired, attempted, applied: { ...applied, at: expect.any(String) } })
    expect(record?.deployments.map(({ trigger, result }) => [trigger, result?.kind])).toEqual([
      ['rebuild', 'succeeded'],
    ])
  }
  expect(await town.due()).toEqual([])
  const engine = await town.start()
  expect(await engine.sweep({ deep: true })).toMatchObject({ hosts: [{ targetCount: 2, due: [] }] })
  expect(town.dockers.get('web-1')?.acts).toEqual([])
  expect(town.runs).toEqual([])
})

test('a start with an empty store rebuilds by itself, heals what died meanwhile and deploys only what changed', async () => {
  const town = scene({ ...shop('shop:1'), ...docs('one') })
  await town.deployAll()
  await town.lose()
  const head = town.config.commit(docs('two'))
  const [victim] = town.docker.model().containers.filter(({ name }) => name.includes('shop'))
  town.docker.change((model) => ({
    ...model,
    containers: model.containers.map((each) =>
      each.name === victim?.name ? { ...each, state: 'exited' } : each,
    ),
  }))
  await town.deployAll()
  await soon(() => expect(town.docker.acts).toContain(`startContainer ${victim?.name}`))
  await soon(async () => expect(await town.due()).toEqual([]))
  expect(town.docker.acts.filter((act) => /createContainer|stopContainer|removeContainer/.test(act))).toEqual(
    [],
  )
  expect(await town.told()).toEqual([
    'towline / deploy success',
    'towline / docs@web-1 success',
    'towline / drift shop@web-1 neutral',
  ])
  const deployed = town.runs.filter(({ name }) => !name.includes('drift'))
  expect(deployed.map(({ headSha }) => headSha)).toEqual([head, head])
  expect((await town.store().readTarget(docsKey))?.deployments.map(({ trigger }) => trigger)).toEqual([
    'rebuild',
    'push',
  ])
})

test('a release whose spec the head changed is known by the commit it came from', async () => {
  const town = scene(shop('shop:1'))
  await town.deployAll()
  const before = await town.store().readTarget(shopKey)
  await town.lose()
  town.config.commit(shop('shop:2'))
  const report = await rebuildIfEmpty(town.parts(), { signal })
  expect(report?.targets).toMatchObject([{ from: 'older commit', wanted: true }])
  const record = await town.store().readTarget(shopKey)
  expect(record?.applied?.release).toEqual(before?.applied?.release)
  expect(record?.applied?.specHash).toBe(before?.desired?.specHash)
  expect(record?.deployments.map(({ trigger }) => trigger)).toEqual(['rebuild', 'push'])
  await town.deployAll()
  await soon(() => expect(town.images()).toEqual(['shop:2', 'shop:2']))
})

test('a release no commit tells of serves as it stands until what the head wants is proven', async () => {
  const town = scene(shop('shop:1'))
  await town.deployAll()
  await town.lose()
  const stands = town.docker.model().containers.map(({ id }) => id)
  // Pushed with force: the commit that was deployed is nowhere any more.
  const list = town.config.mirror.list
  town.config.commit(shop('shop:2'))
  const head = await town.config.mirror.probe({ signal })
  town.config.mirror.list = async (commit, options) => {
    if (commit === head) return list(commit, options)
    throw new TowlineError('there is no such commit', { fault: 'temporary' })
  }
  const report = await rebuildIfEmpty(town.parts(), { signal })
  expect(report?.targets).toMatchObject([{ from: 'host alone', wanted: true }])
  expect(await town.store().readTarget(shopKey)).toMatchObject({ applied: { specHash: '' } })
  expect(await town.due()).toEqual([])
  town.docker.answer((name) =>
    name.includes('shop') && !stands.some((id) => id.startsWith(name)) ? { state: 'dead' } : {},
  )
  await town.start()
  await soon(async () =>
    expect((await town.store().readTarget(shopKey))?.deployments.at(-1)?.result).toMatchObject({
      kind: 'failed',
      previous: expect.stringContaining('serves'),
    }),
  )
  expect(town.docker.model().containers.map(({ id }) => id)).toEqual(stands)
})

test('a rollout that was cut short ends: the old release is the applied one, the new one is proven in place', async () => {
  const town = scene(shop('shop:1'))
  await town.deployAll()
  town.docker.answer(() => ({ health: 'starting' }))
  town.docker.host.checkHealth = async () => false
  town.config.commit(shop('shop:2'))
  await running.at(-1)?.sweep({ deep: false })
  await soon(() => expect(town.images().toSorted()).toEqual(['shop:1', 'shop:1', 'shop:2', 'shop:2']))
  const ids = town.docker.model().containers.map(({ id }) => id)
  await town.lose()
  const report = await rebuildIfEmpty(town.parts(), { signal })
  expect(report?.targets).toMatchObject([
    {
      from: 'older commit',
      surplus: [{ reason: notProven }, { reason: notProven }],
    },
  ])
  town.docker.host.checkHealth = async () => true
  town.docker.answer(() => ({}))
  await town.deployAll()
  await soon(() => expect(town.images()).toEqual(['shop:2', 'shop:2']))
  expect(town.docker.acts.filter((act) => /createContainer|startContainer/.test(act))).toEqual([])
  expect(ids).toEqual(expect.arrayContaining(town.docker.model().containers.map(({ id }) => id)))
})

test('releases of a Site that are kept for a rollback stay known', async () => {
  const town = scene(docs('one'))
  await town.deployAll()
  await town.push(docs('two'))
  await town.push(docs('three'))
  const proven = (await town.store().readTarget(docsKey))?.deployments.map(({ release }) => release?.id)
  await town.lose()
  await town.deployAll()
  const record = await town.store().readTarget(docsKey)
  expect(record?.deployments.map(({ release }) => release?.id)).toEqual(proven)
  expect(record?.deployments.at(-1)?.id).toBe(record?.applied?.deploymentId)
  await town.push(docs('four'))
  const [site] = Object.values(town.docker.model().sites)
  expect(site?.releases).toHaveLength(3)
  expect(await town.told()).toEqual(['towline / deploy success', 'towline / docs@web-1 success'])
})

test('a release of a re-run is known as such, so that nothing is made twice', async () => {
  const town = scene(shop('shop:1'))
  town.docker.answer(() => ({ state: 'dead' }))
  const engine = await town.start()
  await soon(async () =>
    expect((await town.store().readTarget(shopKey))?.deployments.at(-1)?.result?.kind).toBe('failed'),
  )
  await soon(() => expect(town.runs.every(({ status }) => status === 'completed')).toBe(true))
  town.docker.answer(() => ({}))
  const [failed] = town.runs.filter(({ name }) => name.includes('shop'))
  await engine.intake.accept({
    guid: 'guid-rerun',
    hint: {
      ...{ kind: 'rerunCheck', repo, headSha: failed?.headSha ?? '' },
      ...{ name: failed?.name ?? '', externalId: failed?.externalId ?? '' },
    },
  })
  await soon(async () => expect((await town.store().readTarget(shopKey))?.applied).toBeTruthy())
  await town.lose()
  await town.deployAll()
  expect((await town.store().readTarget(shopKey))?.attempted?.attempt).toBe(2)
  expect(town.docker.acts).toEqual([])
  expect(town.runs).toEqual([])
})

test('the run of the head can be asked for again after a rebuild', async () => {
  const town = scene(shop('shop:1'))
  await town.deployAll()
  const told = town.runs.find(({ name }) => name === 'towline / shop@web-1')
  await town.lose()
  const engine = await town.deployAll()
  await engine.intake.accept({
    guid: 'guid-again',
    hint: {
      ...{ kind: 'rerunCheck', repo, headSha: told?.headSha ?? '' },
      ...{ name: told?.name ?? '', externalId: told?.externalId ?? '' },
    },
  })
  await soon(() =>
    expect(town.runs.map(({ name, conclusion }) => [name, conclusion])).toContainEqual([
      'towline / shop@web-1',
      'success',
    ]),
  )
})

test('an app that left the repo, and one whose repo is gone, are known and left alone', async () => {
  const town = scene({ ...shop('shop:1'), ...docs('one') })
  await town.deployAll()
  await town.lose()
  town.config.commit({ 'apps/shop.yaml': null })
  const report = await rebuildIfEmpty(town.parts(), { signal })
  expect(report?.targets.map(({ target, wanted }) => [target, wanted]).sort()).toEqual([
    [docsKey, true],
    [shopKey, false],
  ])
  expect(await town.store().readTarget(shopKey)).toMatchObject({ desired: null, applied: { release: {} } })
  await town.lose()
  town.access(async () => [])
  const gone = await rebuildIfEmpty(town.parts(), { signal })
  expect(gone?.targets.map(({ wanted, from }) => [wanted, from])).toEqual([
    [false, 'host alone'],
    [false, 'host alone'],
  ])
  await town.start()
  expect(town.images().toSorted()).toEqual(['caddy:2', 'shop:1', 'shop:1'])
  expect(town.docker.acts).toEqual([])
})

test('an app whose file is broken at the head goes on as the commit says that was deployed', async () => {
  const town = scene({ ...shop('shop:1'), ...docs('one') })
  await town.deployAll()
  await town.lose()
  town.config.commit({ 'apps/shop.yaml': 'kind: Servce\n' })
  await town.start()
  expect(await town.store().readTarget(shopKey)).toMatchObject({
    desired: { spec: { spec: { name: 'shop' } } },
  })
  town.docker.change((model) => ({
    ...model,
    containers: model.containers.filter(({ name }) => !name.includes('shop')),
  }))
  await running.at(-1)?.sweep({ deep: true })
  await soon(() => expect(town.images().toSorted()).toEqual(['caddy:2', 'shop:1', 'shop:1']))
})

test('on a host that gives no answer nothing is deployed before it was looked at', async () => {
  const both = 'hosts: [web-1, web-2]\n'
  const town = scene(shop('shop:1', both), ['web-1', 'web-2'])
  await town.deployAll()
  await town.lose()
  const second = town.dockers.get('web-2') as ModelHost
  const survey = second.host.survey
  second.host.survey = () => Promise.reject(new TowlineError('no answer', { fault: 'temporary' }))
  const head = town.config.commit(shop('shop:2', both))
  const engine = await town.start()
  await soon(() => expect(town.images().toSorted()).toEqual(['shop:1', 'shop:1', 'shop:2', 'shop:2']))
  expect(second.acts).toEqual([])
  expect(town.log.lines.filter(({ level }) => level === 'warn')).toContainEqual(
    expect.objectContaining({ fields: expect.objectContaining({ subject: 'web-2', reason: 'no answer' }) }),
  )
  const [revision] =
    (await town.store().readRepo(repo))?.revisions.filter(({ commit }) => commit === head) ?? []
  expect(revision?.pausedTargets).toMatchObject([
    {
      target: `${repo}:shop@web-2`,
      reason: 'no record tells what stands on web-2, and nobody could look yet',
    },
  ])
  second.host.survey = survey
  await engine.sweep({ deep: false })
  await soon(() => expect(town.images()).toEqual(['shop:2', 'shop:2', 'shop:2', 'shop:2']))
  const record = await town.store().readTarget(`${repo}:shop@web-2`)
  expect(record?.deployments.map(({ trigger }) => trigger)).toEqual(['rebuild', 'push'])
})

test('a Re-run asked for on a host that gives no answer waits until it was looked at', async () => {
  const town = scene(shop('shop:1'))
  await town.deployAll()
  await town.lose()
  const { survey } = town.docker.host
  town.docker.host.survey = () => Promise.reject(new TowlineError('no answer', { fault: 'temporary' }))
  const engine = await town.start()
  const queuing = { store: town.store(), deadlineMs: 60_000, onWish: () => {} }
  const id = await queueRerun(queuing, shopKey, { commit: 'c0ffee', trigger: 'rerun' })
  await engine.sweep({ deep: false })
  expect(town.docker.acts).toEqual([])
  town.docker.host.survey = survey
  await engine.sweep({ deep: false })
  await soon(async () =>
    expect(
      (await town.store().readTarget(shopKey))?.deployments.map((each) => [each.trigger, each.phase]),
    ).toEqual([
      ['rebuild', 'active'],
      ['rerun', 'active'],
    ]),
  )
  expect((await town.store().readTarget(shopKey))?.applied?.deploymentId).toBe(id)
  expect(town.images()).toEqual(['shop:1', 'shop:1'])
})

test('a Site that nothing tells of is known as it stands, with its releases', async () => {
  const town = scene(docs('one'))
  await town.deployAll()
  await town.push(docs('two'))
  await town.lose()
  town.access(async () => [])
  await rebuildIfEmpty(town.parts(), { signal })
  const record = await town.store().readTarget(docsKey)
  expect(record).toMatchObject({
    applied: { release: { site: { source: { kind: 'unknown' }, root: '.' } } },
    deployments: [{ id: rebuiltId }, { id: rebuiltId }],
  })
  expect(await town.due()).toEqual([])
})

test('while GitHub does not say which repos there are, what stands is neither rebuilt nor touched', async () => {
  const town = scene(shop('shop:1'))
  await town.deployAll()
  await town.lose()
  town.access(() => Promise.reject(new TowlineError('no answer', { fault: 'temporary' })))
  const engine = await town.start()
  expect(await town.store().listTargets()).toEqual([])
  expect(await heldHosts(town.store(), repo)).toEqual(new Set(['web-1']))
  expect(await heldHosts(town.store(), 'acme/other')).toEqual(new Set())
  town.access(async () => [{ repo, branch: 'main' }])
  await engine.sweep({ deep: false })
  await soon(async () => expect((await town.store().readTarget(shopKey))?.applied).toBeTruthy())
  expect(town.docker.acts).toEqual([])
  expect(town.runs).toEqual([])
})

test('a rebuild that was killed in the middle is gone on with, though the store is not empty any more', async () => {
  const town = scene({ ...shop('shop:1'), ...docs('one') })
  await town.deployAll()
  await town.lose()
  const inner = town.store()
  let writes = 0
  const failing: Store = {
    ...inner,
    async updateTarget(key, change, options) {
      writes += 1
      if (writes === 2) throw new TowlineError('killed', { fault: 'operator' })
      return inner.updateTarget(key, change, options)
    },
  }
  const report = await rebuildIfEmpty({ ...town.parts(), store: failing }, { signal })
  expect(report?.problems).toMatchObject([{ subject: repo, reason: 'killed' }])
  expect(await inner.listTargets()).toHaveLength(1)
  await town.start()
  expect(await inner.listTargets()).toHaveLength(2)
  expect(town.docker.acts).toEqual([])
  expect(town.runs).toEqual([])
  expect(await rebuildStore(town.parts(), { signal })).toBeNull()
})

test('epochs go on above those a host has seen', async () => {
  const town = scene(shop('shop:1'))
  await town.deployAll()
  for (const image of ['shop:2', 'shop:3']) await town.push(shop(image))
  const epochs = () => town.docker.model().containers.map(({ labels }) => Number(labels['towline.epoch']))
  const highest = Math.max(...epochs())
  await town.lose()
  await town.start()
  await town.push(shop('shop:4'))
  expect(Math.min(...epochs())).toBeGreaterThan(highest)
})

test('a first start, where nothing stands, deploys as ever', async () => {
  const town = scene(shop('shop:1'))
  await town.deployAll()
  expect(await town.told()).toEqual(['towline / deploy success', 'towline / shop@web-1 success'])
  expect(await heldHosts(town.store(), repo)).toEqual(new Set())
})
