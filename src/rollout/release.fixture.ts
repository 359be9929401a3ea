import type { ContainerSpec, Release } from './release.ts'

/** A container that asks for nothing special, for tests. */
export function containerSpec(over: Partial<ContainerSpec> = {}): ContainerSpec {
  return {
    name: 'shop-new-1',
    role: 'app',
    image: 'shop@sha256:b2',
    entrypoint: null,
    command: null,
    environment: {},
    user: null,
    workingDir: null,
    ports: [],
    mounts: [],
    healthcheck: null,
    restart: { name: 'unless-stopped', maxRetries: 0 },
    cpus: null,
    memoryBytes: null,
    network: 'towline-net',
    aliases: ['shop'],
    stopSignal: null,
    stopGraceMs: 3_000,
    labels: {
      'towline.owner': 'owner-1',
      'towline.repo': 'acme/config',
      'towline.app': 'shop',
      'towline.input': 'new-hash',
    },
    logMaxSize: '10m',
    logMaxFiles: 3,
    ...over,
  }
}

/** The release of a Service with one container, for tests. */
export function serviceRelease(over: Partial<Release> = {}): Release {
  return {
    id: 'new',
    inputHash: 'new-hash',
    commit: 'c0ffee',
    kind: 'Service',
    image: { reference: 'shop:2', pinned: 'shop@sha256:b2' },
    network: { name: 'towline-net', labels: { 'towline.owner': 'owner-1' } },
    volumes: [],
    containers: [containerSpec()],
    site: null,
    order: 'start-first',
    monitorMs: 10_000,
    keepReleases: 5,
    ...over,
  }
}

/** The release of a Site served from its folder `dist`, with one static server, for tests. */
export function siteRelease(over: Partial<Release> = {}): Release {
  return serviceRelease({
    kind: 'Site',
    image: { reference: 'caddy:2', pinned: 'caddy@sha256:ca' },
    containers: [containerSpec({ name: 'docs-site', role: 'site' })],
    site: { folder: 'sites/docs', root: 'dist', source: { kind: 'inline', files: { 'dist/a': 'a' } } },
    ...over,
  })
}
