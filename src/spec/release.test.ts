import { expect, test } from 'vitest'
import type { Release } from '../rollout/release.ts'
import { hashSpec, type ReleaseInput, renderRelease, siteFolder } from './release.ts'
import type { ServiceSpec, SiteSpec } from './spec.ts'

const common = {
  name: 'shop',
  hosts: ['web-1'],
  dependsOn: [],
  paused: null,
  ports: [{ hostIp: null, hostPort: null, containerPort: 80, protocol: 'tcp' as const }],
  healthcheck: null,
  restart: { name: 'unless-stopped' as const, maxRetries: 0 },
  cpus: 0.5,
  memoryBytes: 64_000_000,
  monitorMs: 2_000,
  progressDeadlineMs: 300_000,
  keepReleases: 5,
  recreateVolumes: false,
  labels: { team: 'web' },
}
const service: ServiceSpec = {
  ...common,
  kind: 'Service',
  image: 'nginx:1.27',
  pullPolicy: 'missing',
  entrypoint: null,
  command: ['serve'],
  environment: { MODE: 'production' },
  user: '1000',
  workingDir: '/app',
  mounts: [
    { type: 'volume', source: 'data', target: '/data', readOnly: false },
    { type: 'volume', source: 'data', target: '/again', readOnly: true },
    { type: 'bind', source: '/srv/shared', target: '/shared', readOnly: true },
  ],
  replicas: 2,
  order: 'start-first',
  stopSignal: 'SIGQUIT',
  stopGraceMs: 3_000,
}
const site: SiteSpec = { ...common, kind: 'Site', source: { files: 'sites/docs' }, root: 'dist' }
const input: ReleaseInput = {
  owner: '0123456789abcdef',
  target: { repo: 'acme/config', app: 'shop', host: 'web-1', preview: null },
  deploymentId: 'd-1',
  commit: 'c0ffee',
  attempt: 1,
  epoch: 7,
  specHash: 'spec-1',
  image: { reference: 'nginx:1.27', pinned: 'nginx@sha256:aa' },
  source: null,
  siteServer: { image: 'caddy:2', command: ['caddy', 'file-server', '--root', '{root}'] },
}
const siteInput: ReleaseInput = {
  ...input,
  image: { reference: 'caddy:2', pinned: 'caddy@sha256:ca' },
  source: { kind: 'folder', commit: 'c0ffee', path: 'sites/docs', treeOid: 'tree-1' },
}

function names({ containers }: Release): string[] {
  return containers.map(({ name }) => name)
}

test('a Service becomes as many containers as it has replicas, each with all it says', () => {
  const release = renderRelease(service, input)
  const [first, second] = release.containers
  const digest = first?.name.split('-')[2]
  expect(names(release)).toEqual([1, 2].map((index) => `towline-shop-${digest}-${release.id}-${index}`))
  expect(first).toEqual({
    name: first?.name,
    role: 'app',
    image: 'nginx@sha256:aa',
    entrypoint: null,
    command: ['serve'],
    environment: { MODE: 'production' },
    user: '1000',
    workingDir: '/app',
    ports: common.ports,
    mounts: [
      { type: 'volume', source: `towline-shop-${digest}-data`, target: '/data', readOnly: false },
      { type: 'volume', source: `towline-shop-${digest}-data`, target: '/again', readOnly: true },
      { type: 'bind', source: '/srv/shared', target: '/shared', readOnly: true },
    ],
    healthcheck: null,
    restart: common.restart,
    cpus: 0.5,
    memoryBytes: 64_000_000,
    network: release.network.name,
    aliases: ['shop'],
    stopSignal: 'SIGQUIT',
    stopGraceMs: 3_000,
    labels: {
      team: 'web',
      'towline.owner': '0123456789abcdef',
      'towline.repo': 'acme/config',
      'towline.app': 'shop',
      'towline.deployment': 'd-1',
      'towline.commit': 'c0ffee',
      'towline.epoch': '7',
      'towline.role': 'app',
      'towline.input': release.inputHash,
    },
    logMaxSize: '10m',
    logMaxFiles: 3,
  })
  expect(second).toEqual({ ...first, name: second?.name })
  expect(release).toMatchObject({ kind: 'Service', site: null, order: 'start-first', monitorMs: 2_000 })
})

test('no label of a spec takes the place of ours', () => {
  const labels = { 'towline.owner': 'somebody', 'towline.role': 'files', 'towline.input': 'x' }
  for (const spec of [
    { ...service, labels },
    { ...site, labels },
  ]) {
    const release = renderRelease(spec, siteInput)
    expect(release.containers[0]?.labels).toMatchObject({
      'towline.owner': input.owner,
      'towline.role': spec.kind === 'Site' ? 'site' : 'app',
    })
    expect(release.containers[0]?.labels['towline.input']).not.toBe('x')
  }
})

test('a named volume is made once, however often it is mounted; bind mounts are not made', () => {
  const { volumes } = renderRelease(service, input)
  expect(volumes).toHaveLength(1)
  expect(volumes[0]?.labels).toMatchObject({ 'towline.owner': input.owner, 'towline.app': 'shop' })
})

test('the same input gives the same release', () => {
  expect(renderRelease(service, input)).toEqual(renderRelease(service, { ...input }))
})

test('the release follows the spec and the pinned image, not who asked for it', () => {
  const { id, inputHash } = renderRelease(service, input)
  expect(id).toBe(inputHash.slice(0, 12))
  const again = renderRelease(service, { ...input, deploymentId: 'd-2', commit: 'beef', epoch: 8 })
  expect(names(again)).toEqual(names(renderRelease(service, input)))
  const image = { reference: 'nginx:1.27', pinned: 'nginx@sha256:bb' }
  expect(renderRelease(service, { ...input, image }).id).not.toBe(id)
  expect(renderRelease(service, { ...input, specHash: 'spec-2' }).id).not.toBe(id)
})

test('a further attempt has names of its own, for the same input', () => {
  const first = renderRelease(service, input)
  const second = renderRelease(service, { ...input, attempt: 2 })
  expect(second.id).toBe(`${first.id}-2`)
  expect(second.inputHash).toBe(first.inputHash)
  expect(names(second).some((name) => names(first).includes(name))).toBe(false)
})

test('containers and volumes of two targets never share a name', () => {
  const made = (over: Partial<ReleaseInput['target']>, owner = input.owner) => {
    const release = renderRelease(service, { ...input, owner, target: { ...input.target, ...over } })
    return [...names(release), ...release.volumes.map(({ name }) => name)]
  }
  const all = [
    made({}),
    made({ repo: 'acme/other' }),
    made({ host: 'web-2' }),
    made({ preview: 12 }),
    made({}, 'fedcba'),
  ]
  expect(new Set(all.flat()).size).toBe(all.flat().length)
})

test('apps of one repo share a network; other repos and installations have their own', () => {
  const network = (over: Partial<ReleaseInput>) => renderRelease(service, { ...input, ...over }).network
  const inRepo = (repo: string, app: string) => ({ target: { ...input.target, repo, app } })
  expect(network(inRepo('acme/config', 'db'))).toEqual(network({}))
  expect(network(inRepo('acme/other', 'shop')).name).not.toBe(network({}).name)
  expect(network({ owner: 'fedcba' }).name).not.toBe(network({}).name)
  expect(network({}).labels).toEqual({ 'towline.owner': input.owner, 'towline.repo': 'acme/config' })
})

test('a preview says which pull request it is of, anything else has no such label', () => {
  const preview = renderRelease(service, { ...input, target: { ...input.target, preview: 12 } })
  expect(preview.containers[0]?.labels['towline.preview']).toBe('12')
  expect(renderRelease(service, input).containers[0]?.labels).not.toHaveProperty('towline.preview')
})

test("a Site is files in the installation's volume and one server that reads them", () => {
  const release = renderRelease(site, siteInput)
  const folder = siteFolder(input.owner, input.target)
  expect(release.site).toEqual({ folder, root: 'dist', source: siteInput.source })
  expect(release.volumes).toEqual([])
  expect(release.containers).toHaveLength(1)
  expect(release.containers[0]).toMatchObject({
    role: 'site',
    image: 'caddy@sha256:ca',
    command: ['caddy', 'file-server', '--root', `/srv/towline/${folder}/webroot`],
    mounts: [{ type: 'volume', source: 'towline-01234567', target: '/srv/towline', readOnly: true }],
    labels: { team: 'web', 'towline.role': 'site' },
  })
})

test("a Site's server outlives its releases: new files leave it as it is", () => {
  const before = renderRelease(site, siteInput)
  const after = renderRelease(site, {
    ...siteInput,
    specHash: 'spec-2',
    source: { kind: 'folder', commit: 'beef', path: 'sites/docs', treeOid: 'tree-2' },
  })
  expect(after.id).not.toBe(before.id)
  expect(names(after)).toEqual(names(before))
  expect(after.containers[0]?.labels['towline.input']).toBe(before.containers[0]?.labels['towline.input'])
})

test("a Site's server is replaced when what it is made of changes", () => {
  const before = names(renderRelease(site, siteInput))
  const pinned = { ...siteInput, image: { reference: 'caddy:2', pinned: 'caddy@sha256:cb' } }
  expect(names(renderRelease(site, pinned))).not.toEqual(before)
  expect(names(renderRelease({ ...site, memoryBytes: 1 }, siteInput))).not.toEqual(before)
  expect(names(renderRelease({ ...site, labels: {} }, siteInput))).not.toEqual(before)
})

test('a Site on a fixed host port stops the old server first, any other starts the new one first', () => {
  expect(renderRelease(site, siteInput).order).toBe('start-first')
  const ports = [{ hostIp: null, hostPort: 8080, containerPort: 80, protocol: 'tcp' as const }]
  expect(renderRelease({ ...site, ports }, siteInput).order).toBe('stop-first')
})

test('a Site of inline files carries them along', () => {
  const files = { 'index.html': 'hello' }
  const release = renderRelease({ ...site, source: { inline: files } }, { ...siteInput, source: null })
  expect(release.site?.source).toEqual({ kind: 'inline', files })
})

test('the wish follows the spec, the files and, for a Site alone, the server of the operator', () => {
  const { siteServer } = input
  const other = { ...siteServer, image: 'nginx:1' }
  const ofSite = { hash: 'h', filesOid: 'tree-1', spec: site, siteServer }
  const ofService = { hash: 'h', filesOid: null, spec: service, siteServer }
  expect(hashSpec(ofSite)).toBe(hashSpec({ ...ofSite }))
  expect(hashSpec({ ...ofSite, hash: 'i' })).not.toBe(hashSpec(ofSite))
  expect(hashSpec({ ...ofSite, filesOid: 'tree-2' })).not.toBe(hashSpec(ofSite))
  expect(hashSpec({ ...ofSite, siteServer: other })).not.toBe(hashSpec(ofSite))
  expect(hashSpec({ ...ofService, siteServer: other })).toBe(hashSpec(ofService))
})
