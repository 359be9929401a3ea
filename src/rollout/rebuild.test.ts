import { expect, test } from 'vitest'
import { isOpen } from './deployment.ts'
import type { ObservedSite, StandingContainer } from './observed.ts'
import {
  attemptOf,
  groupByTarget,
  isSameRelease,
  judgeStanding,
  rebuiltDeployment,
  releaseAsItStands,
} from './rebuild.ts'
import { containerSpec, serviceRelease } from './release.fixture.ts'
import type { ContainerSpec } from './release.ts'
import { type Target, targetDigest } from './target.ts'

const owner = 'owner-1'
const shop: Target = { repo: 'acme/config', app: 'shop', host: 'web-1', preview: null }
const docs: Target = { ...shop, app: 'docs' }
const at = '2026-11-21T10:00:00.000Z'
const [oldId, newId] = ['aaaaaaaaaaaa', 'bbbbbbbbbbbb']

function standing(
  target: Target,
  rest: string,
  over: { state?: StandingContainer['state']; epoch?: number; spec?: Partial<ContainerSpec> } = {},
): StandingContainer {
  const { state = 'running', epoch = 1, spec = {} } = over
  const labels = {
    'towline.owner': owner,
    'towline.repo': target.repo,
    'towline.app': target.app,
    'towline.deployment': `d-${epoch}`,
    'towline.commit': `commit-${epoch}`,
    'towline.input': `input-${rest}`,
    'towline.epoch': String(epoch),
    'towline.role': rest.startsWith('site-') ? 'site' : 'app',
  }
  const name = `towline-${target.app}-${targetDigest(owner, target)}-${rest}`
  return { spec: containerSpec({ name, labels, ...spec }), state, createdAt: at }
}

const old = (number = 1, state: StandingContainer['state'] = 'running') =>
  standing(shop, `${oldId}-${number}`, { state, epoch: 3 })
const newer = (number = 1, state: StandingContainer['state'] = 'running') =>
  standing(shop, `${newId}-${number}`, { state, epoch: 7 })

function judge(containers: StandingContainer[], site: ObservedSite | null = null) {
  const target = site ? docs : shop
  return judgeStanding({ target, containers }, { owner, site })
}

const [link, none] = [
  (to: string) => ({ kind: 'link', to, dangling: false }) as const,
  { kind: 'missing' } as const,
]
const site = (over: Partial<ObservedSite> = {}): ObservedSite => ({
  folder: 'sites/docs-1',
  current: link(`releases/${newId}`),
  webroot: link('current'),
  releases: [oldId, newId].map((id) => ({ id, complete: true, damage: null })),
  ...over,
})

test.each<[string, StandingContainer[], string | null]>([
  ['the only release that stands', [old()], oldId],
  ['a release of which a container was stopped', [old(1), old(2, 'exited')], oldId],
  ['a release that was stopped whole: healing starts it', [old(1, 'exited')], oldId],
  ['the old one, while the new one is being created', [old(), newer(1, 'created')], oldId],
  ['the old one, while the new one is being started', [old(), newer(), newer(2, 'created')], oldId],
  ['the old one, while the new one is being proven', [old(), newer()], oldId],
  ['the old one that was stopped first for the new one', [old(1, 'exited'), newer()], oldId],
  ['the old one, though the new one crashes', [old(), newer(1, 'restarting')], oldId],
  ['the new one, where the old one is on its way out', [old(1, 'removing'), newer()], newId],
  ['the new one, where the old one is dead', [old(1, 'dead'), newer()], newId],
  ['nothing, where nothing ever ran', [newer(1, 'created')], null],
  ['nothing, where nothing is of a release', [standing(shop, 'stray')], null],
  ['nothing, where nothing stands', [], null],
])('applied is %s', (_, containers, id) => {
  expect(judge(containers).applied?.id ?? null).toBe(id)
  expect(judge(containers.toReversed()).applied?.id ?? null).toBe(id)
})

test('what is left out is named with the reason', () => {
  const { surplus } = judge([old(), newer(), standing(shop, 'stray')])
  expect(surplus).toEqual([
    { name: expect.stringContaining('stray'), reason: 'its name is of no release' },
    { name: newer().spec.name, reason: 'an older release still stands, so this one was not proven' },
  ])
})

test('a release is described by its labels and in the order of its replicas', () => {
  const found = judge([old(10), old(2), old(1)]).applied
  expect(found).toMatchObject({ kind: 'Service', deploymentId: 'd-3', commit: 'commit-3', epoch: 3, at })
  expect(found?.containers.map(({ spec }) => spec.name.split('-').at(-1))).toEqual(['1', '2', '10'])
})

test('a release of a re-run is told from the first attempt', () => {
  const again = standing(shop, `${oldId}-2-1`, { epoch: 9 })
  expect(judge([again]).applied?.id).toBe(`${oldId}-2`)
  expect(judge([again, old()]).applied?.id).toBe(oldId)
  expect([attemptOf(oldId), attemptOf(`${oldId}-2`), attemptOf(`${oldId}-13`)]).toEqual([1, 2, 13])
})

test('a container named for another installation, host or app is of no release', () => {
  const foreign = standing({ ...shop, host: 'web-2' }, `${oldId}-1`)
  expect(judge([foreign])).toMatchObject({ applied: null, surplus: [{ name: foreign.spec.name }] })
})

const server = standing(docs, 'site-0a1b2c3d', { epoch: 4 })

test('of a Site that release is applied to which current leads, with its server', () => {
  expect(judge([server], site()).applied).toMatchObject({
    id: newId,
    kind: 'Site',
    containers: [{ spec: { name: server.spec.name } }],
    site: { folder: 'sites/docs-1', root: '.' },
    otherIds: [oldId],
  })
  expect(judge([server], site({ webroot: link('current/dist/html') })).applied?.site?.root).toBe('dist/html')
})

test.each<[string, Partial<ObservedSite>]>([
  ['current is missing', { current: none }],
  ['current is no link', { current: { kind: 'other' } }],
  ['current leads out of the releases', { current: link('/etc') }],
])('of a Site nothing is applied where %s', (_, over) => {
  expect(judge([server], site(over)).applied).toBeNull()
})

test.each<[string, ObservedSite['releases']]>([
  ['is not whole', [{ id: newId, complete: false, damage: null }]],
  ['is gone', []],
])('a release that is served and %s is for the healer to put right', (_, releases) => {
  expect(judge([server], site({ releases })).applied?.id).toBe(newId)
})

test('a release that is not whole is not kept for a rollback', () => {
  const releases = [
    { id: newId, complete: true, damage: null },
    { id: oldId, complete: false, damage: null },
  ]
  expect(judge([server], site({ releases })).applied?.otherIds).toEqual([])
})

test('containers are told apart by repo, app and preview; what names no target is left out', () => {
  const preview = standing(shop, `${oldId}-1`)
  preview.spec.labels['towline.preview'] = '12'
  const nobodys = standing(shop, 'files')
  delete nobodys.spec.labels['towline.app']
  const grouped = groupByTarget('web-1', [old(1), old(2), server, preview, nobodys])
  expect(grouped.map(({ target, containers }) => [target, containers.length])).toEqual([
    [shop, 2],
    [docs, 1],
    [{ ...shop, preview: 12 }, 1],
  ])
})

test('a release made from a spec is the same only with the same name, kind and input', () => {
  const found = judge([old(1), old(2)]).applied
  if (!found) throw new Error('nothing was found')
  const containers = [old(1), old(2), old(3)].map(({ spec }) => spec)
  const same = serviceRelease({ id: oldId, containers })
  expect(isSameRelease(same, found)).toBe(true)
  expect(isSameRelease({ ...same, id: newId }, found)).toBe(false)
  expect(isSameRelease({ ...same, kind: 'Site' }, found)).toBe(false)
  expect(isSameRelease({ ...same, containers: containers.slice(1) }, found)).toBe(false)
  const [first, ...others] = containers
  const other = { ...containerSpec(first), labels: { ...first?.labels, 'towline.input': 'another' } }
  expect(isSameRelease({ ...same, containers: [other, ...others] }, found)).toBe(false)
})

const volume = (name: string, readOnly = false) =>
  ({ type: 'volume', source: name, target: '/data', readOnly }) as const
const port = (hostPort: number | null) =>
  ({ hostIp: null, hostPort, containerPort: 80, protocol: 'tcp' }) as const
const ownVolume = `towline-shop-${targetDigest(owner, shop)}-data`

function asItStands(spec: Partial<ContainerSpec>) {
  const found = judge([standing(shop, `${oldId}-1`, { epoch: 3, spec })]).applied
  if (!found) throw new Error('nothing was found')
  return releaseAsItStands(found, { owner, target: shop, monitorMs: 1, keepReleases: 2 })
}

test('a release no spec tells of is made from its containers', () => {
  const release = asItStands({ mounts: [volume(ownVolume), volume('somebodys')], image: 'shop@sha256:aa' })
  expect(release).toMatchObject({
    id: oldId,
    inputHash: `input-${oldId}-1`,
    commit: 'commit-3',
    image: { pinned: 'shop@sha256:aa' },
    network: { name: 'towline-net', labels: { 'towline.owner': owner, 'towline.repo': shop.repo } },
    volumes: [{ name: ownVolume, labels: { 'towline.owner': owner, 'towline.app': 'shop' } }],
    ...{ site: null, monitorMs: 1, keepReleases: 2 },
  })
  expect(release.volumes[0]?.labels).not.toHaveProperty('towline.role')
})

test.each<[string, Partial<ContainerSpec>, string]>([
  ['a fixed port', { ports: [port(8080)] }, 'stop-first'],
  ['a port Docker chose', { ports: [port(null)] }, 'start-first'],
  ['a volume it writes', { mounts: [volume(ownVolume)] }, 'stop-first'],
  ['a volume it only reads', { mounts: [volume(ownVolume, true)] }, 'start-first'],
])('of a release with %s old and new run one after the other only where they must', (_, spec, order) => {
  expect(asItStands(spec).order).toBe(order)
})

test('the files of a Site no spec tells of have no known source', () => {
  const found = judge([server], site()).applied
  if (!found) throw new Error('nothing was found')
  const release = releaseAsItStands(found, { owner, target: docs, monitorMs: 1, keepReleases: 2 })
  expect(release.site).toEqual({ folder: 'sites/docs-1', root: '.', source: { kind: 'unknown' } })
})

test('a rebuilt deployment has ended well, and says that it is rebuilt', () => {
  const release = serviceRelease({ id: `${oldId}-3` })
  const deployment = rebuiltDeployment({ id: 'd-3', target: 'k', specHash: 'beef', release, at })
  expect(isOpen(deployment)).toBe(false)
  expect(deployment).toMatchObject({
    ...{ id: 'd-3', commit: release.commit, attempt: 3, trigger: 'rebuild', release },
    ...{ phase: 'active', result: { kind: 'succeeded' }, endedAt: at },
  })
  expect(deployment.history.at(-1)?.message).toBe('rebuilt from what stands on the host')
})
