import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  anyHost,
  applyAll,
  applyToModel,
  foreignContainers,
  type HostModel,
  walk,
} from './host-model.fixture.ts'
import { observedContainer } from './observed.fixture.ts'
import type { ObservedSite } from './observed.ts'
import { driftOf, planLeftovers, planRelease, planRemoval, type TargetView, viewTarget } from './plan.ts'
import { containerSpec, serviceRelease, siteRelease } from './release.fixture.ts'
import type { ContainerSpec, Release } from './release.ts'
import type { Step } from './step.ts'
import type { Target } from './target.ts'

const target: Target = { repo: 'acme/config', app: 'shop', host: 'web-1', preview: null }
const image = 'shop@sha256:b2'
const docs = 'sites/docs'
const nothing: TargetView = { containers: [], site: null, networks: null, volumes: null }

const removal = { releases: [], volumes: [], reason: 'the app left the config repo' }

function spec(name: string): ContainerSpec {
  return containerSpec({
    name,
    image,
    ports: [{ hostIp: null, hostPort: null, containerPort: 80, protocol: 'tcp' }],
    environment: { MODE: 'production' },
    memoryBytes: 64_000_000,
  })
}

function serviceWith({ replicas = 1, ...over }: Partial<Release> & { replicas?: number } = {}): Release {
  const containers = Array.from({ length: replicas }, (_, index) => spec(`new-${index + 1}`))
  return serviceRelease({ containers, image: { reference: 'shop:2', pinned: image }, ...over })
}

function siteWith({ root = '.', ...over }: Partial<Release> & { root?: string } = {}): Release {
  return siteRelease({
    image: { reference: 'shop:2', pinned: image },
    containers: [spec('docs-site')],
    site: { folder: docs, root, source: { kind: 'inline', files: {} } },
    ...over,
  })
}

function acts(steps: Step[]): string[] {
  return steps.map((step) => {
    if (step.do === 'createContainer') return `create ${step.container.name}`
    if (step.do === 'pointLinks')
      return `point ${step.links.map(({ name, to }) => `${name}>${to}`).join(' ')}`
    if (step.do === 'awaitReady' || step.do === 'monitor') return `${step.do} ${step.names}`
    if (step.do === 'writeRelease' || step.do === 'removeRelease') return `${step.do} ${step.releaseId}`
    return 'name' in step ? `${step.do} ${step.name}` : step.do
  })
}

function plan(release: Release, view: TargetView, prove = true): string[] {
  return acts(planRelease(release, view, { prove, keepReleaseIds: null }))
}

function viewOf(release: Release, host: HostModel): TargetView {
  return viewTarget(host, target, release.site?.folder ?? null)
}

const servingSite: ObservedSite = {
  folder: docs,
  current: { kind: 'link', to: 'releases/old', dangling: false },
  webroot: { kind: 'link', to: 'current', dangling: false },
  releases: [{ id: 'old', complete: true, damage: null }],
}

describe('a Service', () => {
  test('is made from nothing in phase order: image, network, volume, containers, start, proof', () => {
    const volumes = [{ name: 'data', labels: {} }]
    expect(plan(serviceWith({ replicas: 2, volumes }), nothing)).toEqual([
      'ensureImage',
      'ensureNetwork',
      'ensureVolume',
      'create new-1',
      'create new-2',
      'startContainer new-1',
      'startContainer new-2',
      'awaitReady new-1,new-2',
      'monitor new-1,new-2',
    ])
  })

  test('start-first: the old containers go only after the new ones are proven', () => {
    const view = { ...nothing, containers: [observedContainer(spec('old-1'))] }
    const steps = plan(serviceWith(), view)
    expect(steps.slice(-4)).toEqual([
      'startContainer new-1',
      'awaitReady new-1',
      'monitor new-1',
      'removeContainer old-1',
    ])
  })

  test('stop-first: the old container stops right before the new one starts, and is kept until it is proven', () => {
    const view = { ...nothing, containers: [observedContainer(spec('old-1'))] }
    expect(plan(serviceWith({ order: 'stop-first' }), view).slice(-5)).toEqual([
      'stopContainer old-1',
      'startContainer new-1',
      'awaitReady new-1',
      'monitor new-1',
      'removeContainer old-1',
    ])
  })

  test.each([
    ['running', true],
    ['restarting', true],
    ['paused', true],
    ['created', false],
    ['exited', false],
    ['dead', false],
    ['removing', false],
  ] as const)('stop-first: an old container that is %s is stopped: %s', (state, stopped) => {
    const view = { ...nothing, containers: [observedContainer(spec('old-1'), { state })] }
    expect(plan(serviceWith({ order: 'stop-first' }), view).includes('stopContainer old-1')).toBe(stopped)
  })

  test('an old container gets the grace time of the release, to stop and to be removed', () => {
    const view = { ...nothing, containers: [observedContainer(spec('old-1'))] }
    const steps = planRelease(serviceWith({ order: 'stop-first' }), view, {
      prove: true,
      keepReleaseIds: null,
    })
    expect(steps.find((step) => step.do === 'stopContainer')).toMatchObject({ graceMs: 3_000 })
    expect(steps.find((step) => step.do === 'removeContainer')).toMatchObject({ graceMs: 3_000 })
  })

  test('what is missing and what is too many are both drift', () => {
    const view = { ...nothing, containers: [observedContainer(spec('old-1'), { state: 'exited' })] }
    expect(driftOf(planRelease(serviceWith(), view, { prove: false, keepReleaseIds: null }))).toEqual([
      { subject: 'container new-1', field: 'state', expected: 'running', found: 'missing' },
      { subject: 'container old-1', field: 'state', expected: 'absent', found: 'exited' },
    ])
  })

  test('all of it is watched for the time of the release, and what the plan starts is named', () => {
    const release = serviceWith({ replicas: 2 })
    const view = { ...nothing, containers: [observedContainer(spec('new-2'))] }
    const steps = planRelease(release, view, { prove: true, keepReleaseIds: null })
    expect(steps.find((step) => step.do === 'awaitReady')).toMatchObject({
      names: ['new-1', 'new-2'],
      created: ['new-1'],
      settleMs: 10_000,
    })
    expect(steps.find((step) => step.do === 'monitor')).toMatchObject({
      names: ['new-1', 'new-2'],
      started: ['new-1'],
      monitorMs: 10_000,
    })
  })

  test('that stands and runs is proven, not touched', () => {
    const release = serviceWith()
    const view = { ...nothing, containers: release.containers.map((each) => observedContainer(each)) }
    expect(plan(release, view)).toEqual(['awaitReady new-1', 'monitor new-1'])
    expect(plan(release, view, false)).toEqual([])
  })

  test('a stopped container is started, not made anew, and the drift says what was found', () => {
    const release = serviceWith()
    const view = { ...nothing, containers: [observedContainer(spec('new-1'), { state: 'exited' })] }
    const steps = planRelease(release, view, { prove: false, keepReleaseIds: null })
    expect(acts(steps)).toEqual(['startContainer new-1', 'awaitReady new-1'])
    expect(driftOf(steps)).toEqual([
      { subject: 'container new-1', field: 'state', expected: 'running', found: 'exited' },
    ])
    expect(steps.find((step) => step.do === 'awaitReady')).toMatchObject({ created: [], settleMs: 10_000 })
  })

  test('a container somebody reconfigured is made anew by its id', () => {
    const release = serviceWith()
    const view = { ...nothing, containers: [observedContainer(spec('new-1'), { networks: ['bridge'] })] }
    const steps = planRelease(release, view, { prove: false, keepReleaseIds: null })
    expect(acts(steps).slice(-4)).toEqual([
      'removeContainer new-1',
      'create new-1',
      'startContainer new-1',
      'awaitReady new-1',
    ])
    expect(steps.find((step) => step.do === 'removeContainer')).toMatchObject({
      id: 'id-new-1',
      graceMs: 3_000,
      reason: 'its network differs',
      drift: { field: 'network', expected: 'towline-net', found: 'bridge' },
    })
    expect(steps.find((step) => step.do === 'awaitReady')).toMatchObject({ created: ['new-1'] })
  })

  test.each(['dead', 'paused', 'removing'] as const)('a %s container is made anew', (state) => {
    const release = serviceWith()
    const view = { ...nothing, containers: [observedContainer(spec('new-1'), { state })] }
    expect(plan(release, view, false)).toContain('removeContainer new-1')
  })

  test('a container Docker itself is restarting is left to Docker', () => {
    const release = serviceWith()
    const view = { ...nothing, containers: [observedContainer(spec('new-1'), { state: 'restarting' })] }
    expect(plan(release, view, false)).toEqual([])
  })
})

describe('a Site', () => {
  test('moves by `current` alone while the folder it serves keeps its name', () => {
    const release = siteWith()
    const view = {
      ...nothing,
      containers: release.containers.map((each) => observedContainer(each)),
      site: servingSite,
    }
    expect(plan(release, view, false)).toEqual(['writeRelease new', 'point current>releases/new'])
  })

  test('points the webroot straight into the new release where the served folder changes', () => {
    const release = siteWith({ root: 'public' })
    const view = {
      ...nothing,
      containers: release.containers.map((each) => observedContainer(each)),
      site: servingSite,
    }
    expect(plan(release, view, false)).toEqual([
      'writeRelease new',
      'point webroot>releases/new/public current>releases/new webroot>current/public',
    ])
  })

  test('writes a half-written release anew', () => {
    const site = { ...servingSite, releases: [{ id: 'new', complete: false, damage: null }] }
    const steps = planRelease(siteWith(), { ...nothing, site }, { prove: false, keepReleaseIds: null })
    expect(steps.find((step) => step.do === 'writeRelease')).toMatchObject({
      reason: 'the release directory is not whole',
      drift: { subject: `release ${docs}/releases/new`, expected: 'complete', found: 'incomplete' },
    })
  })

  test('names what stands where a link is expected', () => {
    const release = siteWith({ id: 'old' })
    const view = (site: ObservedSite) => ({
      ...nothing,
      containers: release.containers.map((each) => observedContainer(each)),
      site,
    })
    const drifts = (site: ObservedSite) =>
      driftOf(planRelease(release, view(site), { prove: false, keepReleaseIds: null }))
    expect(drifts({ ...servingSite, current: { kind: 'other' } })).toEqual([
      {
        subject: `link ${docs}/current`,
        field: 'target',
        expected: 'releases/old',
        found: 'not a link',
      },
    ])
    expect(drifts({ ...servingSite, webroot: { kind: 'missing' } })).toMatchObject([
      { subject: `link ${docs}/webroot`, expected: 'current', found: 'missing' },
    ])
  })

  test('that the host shows nothing of has missing links', () => {
    const steps = planRelease(siteWith(), nothing, { prove: false, keepReleaseIds: null })
    expect(steps.find((step) => step.do === 'pointLinks')).toMatchObject({
      reason: `target of link ${docs}/current is missing`,
      drift: { expected: 'releases/new', found: 'missing' },
    })
  })

  test('keeps the releases a rollback may need, and its own, and removes the rest', () => {
    const ids = ['a', 'b', 'c', 'new']
    const site: ObservedSite = {
      ...servingSite,
      current: { kind: 'link', to: 'releases/new', dangling: false },
      releases: ids.map((id) => ({ id, complete: id !== 'c', damage: null })),
    }
    const release = siteWith()
    const view = { ...nothing, containers: release.containers.map((each) => observedContainer(each)), site }
    const steps = planRelease(release, view, { prove: false, keepReleaseIds: ['b'] })
    expect(acts(steps)).toEqual(['removeRelease a', 'removeRelease c'])
    expect(driftOf(steps)).toEqual([
      { subject: `release ${docs}/releases/a`, field: 'files', expected: 'absent', found: 'complete' },
      { subject: `release ${docs}/releases/c`, field: 'files', expected: 'absent', found: 'incomplete' },
    ])
  })
})

test('a target sees what carries its repo, app and preview, and its own site alone', () => {
  const mine = observedContainer(spec('mine-1'))
  const host = {
    host: 'web-1',
    at: '',
    deep: true,
    containers: [...foreignContainers, mine],
    sites: { 'sites/blog-99999999': { ...servingSite, folder: 'sites/blog-99999999' }, [docs]: servingSite },
    networks: null,
    volumes: null,
  }
  expect(viewTarget(host, target, docs)).toEqual({ ...nothing, containers: [mine], site: servingSite })
  const preview = viewTarget(host, { ...target, preview: 12 }, null)
  expect(preview.containers.map(({ name }) => name)).toEqual(['preview-1'])
  expect(preview.site).toBeNull()
  expect(viewTarget(host, target, 'sites/none').site).toBeNull()
  expect(viewTarget({ ...host, sites: null }, target, docs).site).toBeNull()
})

test('a first deployment that failed leaves nothing but volumes', () => {
  const view = { ...nothing, containers: [observedContainer(spec('new-1'))], site: servingSite }
  const steps = planRemoval(view, removal)
  expect(acts(steps)).toEqual(['removeContainer new-1', 'removeSite'])
  expect(steps).toMatchObject([{ id: 'id-new-1', graceMs: 10_000 }, { folder: docs }])
  expect(planRemoval(nothing, removal)).toEqual([])
})

test('a removal stops each container with the grace of its own release, and takes only volumes that are named', () => {
  const containers = ['old-1', 'new-1', 'unknown-1'].map((name) => observedContainer(spec(name)))
  const releases = [
    serviceRelease({ containers: [containerSpec({ name: 'old-1', stopGraceMs: 1_000 })] }),
    serviceRelease({ containers: [containerSpec({ name: 'new-1', stopGraceMs: 60_000 })] }),
  ]
  const steps = planRemoval({ ...nothing, containers }, { ...removal, releases, volumes: ['data'] })
  expect(acts(steps)).toEqual([
    'removeContainer old-1',
    'removeContainer new-1',
    'removeContainer unknown-1',
    'removeVolume data',
  ])
  expect(steps.map((step) => ('graceMs' in step ? step.graceMs : null))).toEqual([
    1_000,
    60_000,
    10_000,
    null,
  ])
})

test('what an attempt left goes, but never the folder of a site a proven release may need', () => {
  const view = { ...nothing, site: servingSite }
  const fresh = { freshVolumes: ['data'] }
  expect(acts(planLeftovers(view, { proven: [serviceRelease()], ...fresh }))).toEqual([
    'removeSite',
    'removeVolume data',
  ])
  expect(acts(planLeftovers(view, { proven: [serviceRelease(), siteRelease()], ...fresh }))).toEqual([
    'removeVolume data',
  ])
  expect(planLeftovers(nothing, { proven: [], freshVolumes: [] })).toEqual([])
})

const anyRelease = fc
  .record({
    replicas: fc.integer({ min: 1, max: 3 }),
    order: fc.constantFrom<Release['order']>('start-first', 'stop-first'),
    root: fc.constantFrom('.', 'public'),
    kind: fc.constantFrom('Service', 'Site'),
  })
  .map(({ replicas, order, root, kind }) =>
    kind === 'Service' ? serviceWith({ replicas, order }) : siteWith({ root, order }),
  )

const anyCase = anyRelease.chain((release) =>
  fc.record({ release: fc.constant(release), host: anyHost(release), prove: fc.boolean() }),
)

describe('on any host', () => {
  test('a plan leaves exactly the release, and planning again gives nothing', () => {
    fc.assert(
      fc.property(anyCase, ({ release, host, prove }) => {
        const steps = planRelease(release, viewOf(release, host), { prove, keepReleaseIds: [] })
        const after = applyAll(host, steps)
        expectRelease(after, release)
        const again = planRelease(release, viewOf(release, after), { prove: false, keepReleaseIds: [] })
        expect(again).toEqual([])
      }),
    )
  })

  test('a plan that is cut off anywhere is completed by the next one', () => {
    fc.assert(
      fc.property(anyCase, fc.nat(), fc.nat(), ({ release, host, prove }, first, second) => {
        const options = { prove, keepReleaseIds: [] }
        const cutOff = [first, second].reduce((state, cut) => {
          const states = walk(state, planRelease(release, viewOf(release, state), options))
          return states[cut % states.length] ?? state
        }, host)
        expectRelease(applyAll(cutOff, planRelease(release, viewOf(release, cutOff), options)), release)
      }),
    )
  })

  test('nothing of another target, repo or preview is ever touched', () => {
    const names = new Set(foreignContainers.map(({ name }) => name))
    const foreign = (host: HostModel) => ({
      containers: host.containers.filter(({ name }) => names.has(name)),
      site: host.sites['sites/blog-99999999'],
    })
    fc.assert(
      fc.property(anyCase, ({ release, host, prove }) => {
        const view = viewOf(release, host)
        const before = foreign(host)
        for (const steps of [
          planRelease(release, view, { prove, keepReleaseIds: [] }),
          planRemoval(view, removal),
        ]) {
          for (const state of walk(host, steps)) expect(foreign(state)).toEqual(before)
        }
      }),
    )
  })

  test('phases of a plan never go backwards', () => {
    const order = [
      'building',
      'copying_files',
      'creating_symlinks',
      'updating_routes',
      'health_check',
      'active',
    ]
    fc.assert(
      fc.property(anyCase, ({ release, host, prove }) => {
        const steps = planRelease(release, viewOf(release, host), { prove, keepReleaseIds: [] })
        const ranks = steps.map(({ phase }) => order.indexOf(phase))
        expect(ranks).toEqual(ranks.toSorted((a, b) => a - b))
      }),
    )
  })

  test('start-first: no old container stops before all of the release run and are proven', () => {
    fc.assert(
      fc.property(anyCase, ({ release, host }) => {
        if (release.order === 'stop-first') return
        const steps = planRelease(release, viewOf(release, host), { prove: true, keepReleaseIds: [] })
        const isOld = (name: string) => release.containers.every((spec) => spec.name !== name)
        const firstEnd = steps.findIndex(
          (step) => (step.do === 'stopContainer' || step.do === 'removeContainer') && isOld(step.name),
        )
        const proof = steps.findLastIndex((step) => step.do === 'monitor')
        expect(proof).toBeGreaterThanOrEqual(0)
        if (firstEnd >= 0) expect(firstEnd).toBeGreaterThan(proof)
        const proven = applyAll(host, steps.slice(0, proof))
        for (const { name } of release.containers) {
          expect(['running', 'restarting']).toContain(stateOf(proven, name))
        }
      }),
    )
  })

  test('stop-first: no container is started while an old one of the target runs', () => {
    fc.assert(
      fc.property(anyCase, ({ release, host }) => {
        if (release.order === 'start-first') return
        const isOld = ({ name }: { name: string }) => release.containers.every((spec) => spec.name !== name)
        let state = host
        for (const step of planRelease(release, viewOf(release, host), { prove: true, keepReleaseIds: [] })) {
          if (step.do === 'startContainer') {
            const old = viewOf(release, state).containers.filter(isOld)
            expect(old.map((container) => container.state)).not.toContain('running')
          }
          state = applyToModel(state, step).at(-1) ?? state
        }
      }),
    )
  })

  test('a reader of a Site that served finds a whole release behind the webroot at every moment', () => {
    const anyMove = fc.record({
      from: fc.constantFrom('.', 'public', 'dist'),
      to: fc.constantFrom('.', 'public', 'dist'),
      id: fc.constantFrom('new', 'old'),
      half: fc.boolean(),
    })
    fc.assert(
      fc.property(anyMove, ({ from, to, id, half }) => {
        const release = siteWith({ id, root: id === 'old' ? from : to })
        const site: ObservedSite = {
          ...servingSite,
          webroot: { kind: 'link', to: from === '.' ? 'current' : `current/${from}`, dangling: false },
          releases: [
            ...servingSite.releases,
            ...(half ? [{ id: 'new', complete: false, damage: null }] : []),
          ],
        }
        const host: HostModel = {
          host: 'web-1',
          at: '',
          deep: true,
          containers: [],
          sites: { [docs]: site },
          networks: null,
          volumes: null,
          names: [],
          volumeLabels: {},
        }
        const folders: Record<string, string> = { old: from, new: to }
        const steps = planRelease(release, viewOf(release, host), { prove: true, keepReleaseIds: [] })
        for (const state of walk(host, steps)) {
          const served = resolveWebroot(state)
          expect(state.sites[docs]?.releases).toContainEqual({ id: served.id, complete: true, damage: null })
          expect(served.folder).toBe(folders[served.id])
        }
      }),
    )
  })
})

function expectRelease(host: HostModel, release: Release): void {
  const view = viewOf(release, host)
  expect(view.containers.map(({ name }) => name).sort()).toEqual(
    release.containers.map(({ name }) => name).sort(),
  )
  for (const container of view.containers) expect(['running', 'restarting']).toContain(container.state)
  if (!release.site) return
  expect(resolveWebroot(host)).toEqual({ id: release.id, folder: release.site.root })
  expect(view.site?.releases).toEqual([{ id: release.id, complete: true, damage: null }])
}

function stateOf(host: HostModel, name: string): string | undefined {
  return host.containers.find((container) => container.name === name)?.state
}

/** The release a reader of the webroot lands in, and the folder of it. */
function resolveWebroot(host: HostModel): { id: string; folder: string } {
  const site = host.sites[docs]
  const follow = (name: 'current' | 'webroot') => (site?.[name].kind === 'link' ? site[name].to : 'nowhere')
  const path = follow('webroot').replace(/^current(?=\/|$)/, () => follow('current'))
  const [, id = '', folder = '.'] = /^releases\/([^/]+)(?:\/(.+))?$/.exec(path) ?? []
  return { id, folder }
}
