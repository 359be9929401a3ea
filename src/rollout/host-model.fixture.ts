import fc from 'fast-check'
import { observedContainer } from './observed.fixture.ts'
import type {
  ContainerState,
  ObservedContainer,
  ObservedHost,
  ObservedLink,
  ObservedSite,
} from './observed.ts'
import { containerSpec } from './release.fixture.ts'
import type { Release } from './release.ts'
import type { Step } from './step.ts'

/** The folder of the release's site, where it is a Site. */
const siteFolder = 'sites/docs'

/** A host as a plain value. What Docker would refuse throws, so that a plan it could not carry out fails a test. */
export type HostModel = ObservedHost & {
  sites: Record<string, ObservedSite>
  names: string[]
  /** Labels of our volumes, by name. */
  volumeLabels: Record<string, Record<string, string>>
}

/** Does one step to the model and returns every state a reader could see on the way, the last one included. */
export function applyToModel(host: HostModel, step: Step): HostModel[] {
  switch (step.do) {
    case 'awaitReady':
    case 'monitor':
      return [host]
    case 'ensureImage':
      return [known(host, step.image.pinned)]
    case 'ensureNetwork':
      return [known(host, step.network.name)]
    case 'ensureVolume': {
      const { name, labels } = step.volume
      const volumeLabels = { [name]: labels, ...host.volumeLabels }
      return [{ ...known(host, name), volumeLabels }]
    }
    case 'createContainer': {
      const { container: spec } = step
      if (host.containers.some(({ name }) => name === spec.name)) throw new Error(`${spec.name} is taken`)
      const needed = [spec.image, spec.network, ...spec.mounts.map(({ source }) => source)]
      for (const name of needed) if (!host.names.includes(name)) throw new Error(`${name} is not there`)
      const id = `${spec.name}-made-${host.containers.length}`
      return [
        { ...host, containers: [...host.containers, observedContainer(spec, { id, state: 'created' })] },
      ]
    }
    case 'startContainer':
      return [withState(host, step.name, 'running')]
    case 'restartContainer':
      return [withHealth(withState(host, step.name, 'running'), step.name)]
    case 'removeVolume': {
      if (host.containers.some(({ mounts }) => mounts.some(({ source }) => source === step.name)))
        return [host]
      const { [step.name]: _removed, ...volumeLabels } = host.volumeLabels
      return [{ ...host, volumeLabels, names: host.names.filter((name) => name !== step.name) }]
    }
    case 'removeNetwork':
      return [{ ...host, names: host.names.filter((name) => name !== step.name) }]
    case 'removeImage':
      return [{ ...host, names: host.names.filter((name) => name !== step.id) }]
    case 'stopContainer':
      return [withState(host, step.name, 'exited')]
    case 'removeContainer':
      return [{ ...host, containers: host.containers.filter(({ id }) => id !== step.id) }]
    case 'writeRelease':
      return writeRelease(host, step)
    case 'removeRelease':
      return [
        withSite(host, step.folder, (site) => ({
          ...site,
          releases: site.releases.filter(({ id }) => id !== step.releaseId),
        })),
      ]
    case 'removeSite': {
      const { [step.folder]: _removed, ...sites } = host.sites
      return [{ ...host, sites }]
    }
    case 'pointLinks': {
      const states = [host]
      for (const { name, to } of step.links) {
        const link: ObservedLink = { kind: 'link', to, dangling: false }
        states.push(withSite(states.at(-1) ?? host, step.folder, (site) => ({ ...site, [name]: link })))
      }
      return states.slice(1)
    }
    default:
      return step satisfies never
  }
}

/** All states of a plan, the first one included. */
export function walk(host: HostModel, steps: Step[]): HostModel[] {
  const states = [host]
  for (const step of steps) states.push(...applyToModel(states.at(-1) ?? host, step))
  return states
}

/** The host after a plan. */
export function applyAll(host: HostModel, steps: Step[]): HostModel {
  return walk(host, steps).at(-1) ?? host
}

function known(host: HostModel, name: string): HostModel {
  return { ...host, names: [...host.names, name] }
}

function withState(host: HostModel, name: string, state: ContainerState): HostModel {
  if (!host.containers.some((container) => container.name === name)) throw new Error(`there is no ${name}`)
  const change = (container: ObservedContainer) =>
    container.name === name ? { ...container, state } : container
  return { ...host, containers: host.containers.map(change) }
}

/** What is started anew answers again. */
function withHealth(host: HostModel, name: string): HostModel {
  const change = (container: ObservedContainer): ObservedContainer =>
    container.name === name && container.health === 'unhealthy'
      ? { ...container, health: 'healthy' }
      : container
  return { ...host, containers: host.containers.map(change) }
}

/** The directory is seen without its manifest first. */
function writeRelease(host: HostModel, step: Extract<Step, { do: 'writeRelease' }>): HostModel[] {
  return [false, true].map((complete) =>
    withSite(host, step.site.folder, (site) => ({
      ...site,
      releases: [
        ...site.releases.filter(({ id }) => id !== step.releaseId),
        { id: step.releaseId, complete, damage: null },
      ],
    })),
  )
}

function withSite(host: HostModel, folder: string, change: (site: ObservedSite) => ObservedSite): HostModel {
  return { ...host, sites: { ...host.sites, [folder]: change(host.sites[folder] ?? emptySite(folder)) } }
}

function emptySite(folder: string): ObservedSite {
  return { folder, current: { kind: 'missing' }, webroot: { kind: 'missing' }, releases: [] }
}

/** Any host: containers of the release in any state or shape, older ones, those of other targets, any links. */
export function anyHost(release: Release): fc.Arbitrary<HostModel> {
  return fc
    .record({
      ours: fc.tuple(...release.containers.map((spec) => fc.option(anyForm(observedContainer(spec))))),
      old: fc.subarray(['old-1', 'old-2', 'older-1']).chain((names) => fc.tuple(...names.map(anyOther))),
      foreign: fc.subarray(foreignContainers),
      site: fc.option(anySite(release), { nil: undefined }),
    })
    .map(({ ours, old, foreign, site }) => ({
      host: 'web-1',
      at: '2026-11-21T10:00:00.000Z',
      deep: true,
      containers: [...ours.flatMap((found) => found ?? []), ...old, ...foreign],
      sites: { 'sites/blog-99999999': foreignSite, ...(site && { [siteFolder]: site }) },
      names: [],
      volumeLabels: {},
      networks: null,
      volumes: null,
    }))
}

function anyForm(container: ObservedContainer): fc.Arbitrary<ObservedContainer> {
  return fc
    .record({ state: anyState, change: fc.constantFrom<Partial<ObservedContainer>>(...changes(container)) })
    .map(({ state, change }) => ({ ...container, state, ...change }))
}

/** Nothing, most often; else one thing somebody changed. */
function changes(container: ObservedContainer): Partial<ObservedContainer>[] {
  return [
    {},
    {},
    { settings: null },
    { labels: { ...container.labels, 'towline.input': 'another' } },
    { networks: ['bridge'] },
    { mounts: [{ type: 'bind', source: '/etc', target: '/etc', readOnly: true }] },
    { state: 'running', ports: [] },
    { settings: container.settings && { ...container.settings, memoryBytes: 1 } },
    { settings: container.settings && { ...container.settings, environment: {} } },
  ]
}

function anyOther(name: string): fc.Arbitrary<ObservedContainer> {
  return anyState.map((state) => observedContainer(containerSpec({ name }), { state }))
}

const anyState = fc.constantFrom<ContainerState>(
  'running',
  'running',
  'created',
  'exited',
  'restarting',
  'paused',
  'dead',
  'removing',
)

function anySite(release: Release): fc.Arbitrary<ObservedSite> {
  const link = fc.constantFrom<ObservedLink>(
    { kind: 'missing' },
    { kind: 'other' },
    { kind: 'link', to: `releases/${release.id}`, dangling: true },
    { kind: 'link', to: 'releases/old', dangling: false },
    { kind: 'link', to: 'current', dangling: false },
    { kind: 'link', to: 'current/public', dangling: false },
  )
  return fc.record({
    folder: fc.constant(siteFolder),
    current: link,
    webroot: link,
    releases: fc
      .subarray([release.id, 'old', 'older'])
      .chain((ids) =>
        fc.tuple(...ids.map((id) => fc.boolean().map((complete) => ({ id, complete, damage: null })))),
      ),
  })
}

/** Of another app, of another repo, and of a preview of the same app. */
export const foreignContainers = [
  { name: 'blog-1', labels: { 'towline.app': 'blog' } },
  { name: 'theirs-1', labels: { 'towline.repo': 'acme/other' } },
  { name: 'preview-1', labels: { 'towline.preview': '12' } },
].map(({ name, labels }) => {
  const spec = containerSpec({ name })
  return observedContainer(spec, { labels: { ...spec.labels, ...labels } })
})

const foreignSite: ObservedSite = {
  folder: 'sites/blog-99999999',
  current: { kind: 'link', to: 'releases/blog', dangling: false },
  webroot: { kind: 'link', to: 'current', dangling: false },
  releases: [
    { id: 'blog', complete: true, damage: null },
    { id: 'half', complete: false, damage: null },
  ],
}
