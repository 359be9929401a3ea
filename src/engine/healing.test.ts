import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { renderDriftCheck } from '../report/drift-check.ts'
import type { ObservedContainer } from '../rollout/observed.ts'
import { sweepHost } from './sweep.ts'
import { shopService, shopSite, targetScene } from './target-scene.fixture.ts'

beforeEach(() => void vi.useFakeTimers({ now: Date.parse('2026-11-21T10:00:00.000Z') }))
afterEach(() => void vi.useRealTimers())

type Scene = ReturnType<typeof targetScene>

/** A Service of some replicas that was deployed and stands. */
async function deployed(replicas = 1, volumes: string[] = []): Promise<Scene> {
  const scene = targetScene()
  await scene.wish(shopService({ replicas }, volumes))
  await scene.pass()
  expect((await scene.record()).applied).not.toBeNull()
  scene.docker.acts.length = 0
  return scene
}

/** Somebody changes the container whose name ends like this. */
function harm({ docker }: Scene, number: number, change: Partial<ObservedContainer>): void {
  docker.change((model) => ({
    ...model,
    containers: model.containers.map((container) =>
      container.name.endsWith(`-${number}`) ? { ...container, ...change } : container,
    ),
  }))
}

const actsOf = ({ docker }: Scene) =>
  docker.acts.splice(0).map((act) => act.replace(/ towline-.*-(\d+)$/, ' $1'))

test('a container that runs and is unhealthy is restarted, one at a time, until all are well', async () => {
  const scene = await deployed(3)
  harm(scene, 1, { health: 'unhealthy' })
  harm(scene, 2, { health: 'unhealthy' })
  expect(await scene.pass()).toEqual({ delayMs: 0 })
  expect(actsOf(scene)).toEqual(['restartContainer 1'])
  expect(await scene.pass()).toBeNull()
  expect(actsOf(scene)).toEqual(['restartContainer 2'])
})

test('while replicas are missing none that runs is disturbed, though it drifted too', async () => {
  const scene = await deployed(2)
  harm(scene, 1, { state: 'exited' })
  harm(scene, 2, { networks: ['bridge'] })
  expect(await scene.pass()).toEqual({ delayMs: 0 })
  expect(actsOf(scene)).toEqual(['startContainer 1'])
  await scene.pass()
  expect(actsOf(scene).filter((act) => !act.startsWith('ensure'))).toEqual([
    'removeContainer 2',
    'createContainer 2',
    'startContainer 2',
  ])
})

test('drift is told once on the commit, with what was done, and its end', async () => {
  const scene = await deployed()
  harm(scene, 1, { state: 'exited' })
  await scene.pass()
  const { drift } = await scene.record()
  expect(drift?.episode).toMatchObject({
    commit: 'c1',
    endedAt: expect.any(String),
    entries: [
      {
        drift: { field: 'state', expected: 'running', found: 'exited' },
        action: expect.stringContaining('start container'),
        count: 1,
      },
    ],
  })
  expect(drift?.report.done).toBe(false)
  const check = drift && renderDriftCheck(drift.episode)
  expect(check).toMatchObject({
    name: 'towline / drift shop@web-1',
    headSha: 'c1',
    status: 'completed',
    conclusion: 'neutral',
    title: expect.stringMatching(/^resolved: container \S+: state was exited$/),
  })
  harm(scene, 1, { state: 'exited' })
  await scene.pass()
  const again = (await scene.record()).drift
  expect(again?.episode).toMatchObject({ id: drift?.episode.id, entries: [{ count: 2 }] })
})

test('a container that dies again and again is given up after five times, told once, and left for an hour', async () => {
  const scene = await deployed()
  for (let time = 1; time <= 5; time += 1) {
    harm(scene, 1, { state: 'exited' })
    await scene.pass()
    expect(actsOf(scene)).toEqual(['startContainer 1'])
  }
  harm(scene, 1, { state: 'exited' })
  const next = await scene.pass()
  expect(actsOf(scene)).toEqual([])
  expect(next?.delayMs).toBeGreaterThan(50 * 60_000)
  const { healing, drift } = await scene.record()
  expect(healing?.degraded?.reason).toContain('5 times within 5 min')
  expect(drift && renderDriftCheck(drift.episode).title).toMatch(/^degraded: /)
  expect(scene.log.lines.filter(({ message }) => message.includes('given up'))).toHaveLength(1)
  await scene.pass()
  expect(await scene.record()).toEqual(await scene.record())
  expect(scene.log.lines.filter(({ message }) => message.includes('given up'))).toHaveLength(1)
  expect(scene.statistics.read()).toMatchObject({ healingsSucceeded: 5, healingsGivenUp: 1 })
})

test('what was given up and comes right by itself is told to be resolved', async () => {
  const scene = await deployed()
  for (let time = 1; time <= 6; time += 1) {
    harm(scene, 1, { state: 'exited' })
    await scene.pass()
  }
  expect((await scene.record()).healing?.degraded).not.toBeNull()
  harm(scene, 1, { state: 'running' })
  const { parts, docker } = scene
  const signal = new AbortController().signal
  expect(await sweepHost(parts, docker.host, { deep: true, signal })).toMatchObject({ due: [{ drift: [] }] })
  await scene.pass()
  const { healing, drift } = await scene.record()
  expect(healing?.degraded).toBeNull()
  expect(drift && renderDriftCheck(drift.episode).title).toMatch(/^resolved: /)
  expect(await sweepHost(parts, docker.host, { deep: true, signal })).toMatchObject({ due: [] })
})

test('a new deployment lifts what was given up', async () => {
  const scene = await deployed()
  for (let time = 1; time <= 6; time += 1) {
    harm(scene, 1, { state: 'exited' })
    await scene.pass()
  }
  await scene.wish(shopService({ image: 'shop:2' }))
  await scene.pass()
  const { healing, drift } = await scene.record()
  expect(healing).toBeNull()
  expect(drift?.episode.endedAt).not.toBeNull()
})

test('a volume that is gone is reported and the app is not started on an empty one, unless its spec says so', async () => {
  const scene = await deployed(1, ['data'])
  scene.docker.change((model) => ({ ...model, containers: [], volumes: [], volumeLabels: {} }))
  expect(await scene.pass()).toBeNull()
  expect(actsOf(scene)).toEqual([])
  const { drift, healing } = await scene.record()
  expect(drift?.episode.entries[0]?.drift).toMatchObject({
    subject: expect.stringMatching(/^volume towline-shop-.*-data$/),
    expected: 'present',
    found: 'missing',
  })
  expect(healing?.degraded?.reason).toContain('recreateVolumes')
  await scene.change({
    desired: await scene
      .record()
      .then(({ desired }) =>
        desired && desired.spec.spec.kind === 'Service'
          ? { ...desired, spec: { ...desired.spec, spec: { ...desired.spec.spec, recreateVolumes: true } } }
          : null,
      ),
  })
  await scene.pass()
  expect(actsOf(scene)).toContain('createContainer 1')
  expect((await scene.record()).drift?.episode.endedAt).not.toBeNull()
})

test('a push does not start an app on an empty volume either', async () => {
  const scene = await deployed(1, ['data'])
  scene.docker.change((model) => ({ ...model, containers: [], volumes: [], volumeLabels: {} }))
  const id = await scene.wish(shopService({ image: 'shop:2' }, ['data']))
  await scene.pass()
  expect((await scene.record()).deployments.find((each) => each.id === id)?.result).toMatchObject({
    kind: 'failed',
    fault: 'operator',
    reason: expect.stringContaining('is gone, with the data in it'),
  })
  expect(scene.docker.model().containers).toEqual([])
})

test('where the network is gone every container is made anew on a new one', async () => {
  const scene = await deployed(2)
  harm(scene, 1, { state: 'exited' })
  harm(scene, 2, { state: 'exited' })
  scene.docker.change((model) => ({ ...model, networks: [] }))
  await scene.pass()
  const acts = actsOf(scene)
  expect(acts.filter((act) => /remove|create/.test(act)).sort()).toEqual([
    'createContainer 1',
    'createContainer 2',
    'removeContainer 1',
    'removeContainer 2',
  ])
  expect((await scene.record()).drift?.episode.entries[0]?.drift).toMatchObject({ found: 'missing' })
})

test('a file of a release that was changed is named, and the release is written anew', async () => {
  const scene = targetScene()
  await scene.wish(shopSite('sites/shop'))
  await scene.pass()
  scene.docker.acts.length = 0
  scene.docker.change((model) => ({
    ...model,
    sites: Object.fromEntries(
      Object.entries(model.sites).map(([folder, site]) => [
        folder,
        {
          ...site,
          releases: site.releases.map((release) => ({ ...release, damage: ['index.html: sha256 differs'] })),
        },
      ]),
    ),
  }))
  await scene.pass()
  expect(scene.docker.acts.map((act) => act.split(' ')[0])).toEqual(['writeRelease'])
  expect((await scene.record()).drift?.episode.entries[0]?.drift).toMatchObject({
    field: 'files',
    found: 'index.html: sha256 differs',
  })
})

test('targets that fail for one reason do not come back in one beat', async () => {
  const comeBackAt = new Set<number>()
  for (let time = 0; time < 8; time += 1) {
    vi.setSystemTime(Date.parse('2026-11-21T10:00:00.000Z'))
    const scene = await deployed()
    scene.docker.refuse(() => {
      throw new Error('refused on purpose')
    })
    harm(scene, 1, { state: 'exited' })
    await scene.pass()
    comeBackAt.add(Date.parse((await scene.record()).healing?.notBefore ?? ''))
  }
  expect(comeBackAt.size).toBeGreaterThan(1)
})
