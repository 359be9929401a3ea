import { createHash } from 'node:crypto'
import type {
  ContainerSpec,
  FileSource,
  Healthcheck,
  Mount,
  PinnedImage,
  Release,
  SiteRelease,
  VolumeSpec,
} from '../rollout/release.ts'
import { type Target, targetDigest, volumeName } from '../rollout/target.ts'
import type { ServiceSpec, SiteSpec, Spec } from './spec.ts'

/** The static file server Sites run in. `{root}` in an argument stands for the folder to serve. */
export type SiteServer = { image: string; command: string[] }

/** What a release is made of besides its spec. */
export type ReleaseInput = {
  /** Id of the installation. */
  owner: string
  target: Target
  deploymentId: string
  commit: string
  attempt: number
  /** Epoch of the claim the deployment runs under. */
  epoch: number
  /** Hash of all the repo and the operator say about this target. */
  specHash: string
  image: PinnedImage
  /** Files of a Site; null for a Service. */
  source: FileSource | null
  siteServer: SiteServer
}

/** Where Towline's volume is mounted in a site's server. The parent is mounted, never a link: a mount pins the inode. */
const siteMountPath = '/srv/towline'

/** Folder of a site inside Towline's volume. */
export function siteFolder(owner: string, target: Target): string {
  return `sites/${target.app}-${targetDigest(owner, target)}`
}

/**
 * Hash of all that is known before sources are pinned: the spec, the files (by git's own hash) and, for a Site, the
 * server image the operator chose. The same hash means the same wish.
 */
export function hashSpec(input: {
  hash: string
  filesOid: string | null
  spec: Spec
  siteServer: SiteServer
}): string {
  const server = input.spec.kind === 'Site' ? input.siteServer : null
  return sha256(JSON.stringify([input.hash, input.filesOid, server]))
}

/** Turns a validated spec into what has to stand on the host. Pure: the same input gives the same names and hashes. */
export function renderRelease(spec: Spec, input: ReleaseInput): Release {
  const inputHash = sha256(JSON.stringify([input.specHash, input.image.pinned]))
  const id = inputHash.slice(0, 12) + (input.attempt > 1 ? `-${input.attempt}` : '')
  const labels = ownerLabels(input)
  const network = {
    name: networkName(input),
    labels: { 'towline.owner': input.owner, 'towline.repo': input.target.repo },
  }
  const common = {
    id,
    inputHash,
    commit: input.commit,
    image: input.image,
    network,
    monitorMs: spec.monitorMs,
    keepReleases: spec.keepReleases,
  }
  if (spec.kind === 'Service') {
    const volumes = renderVolumes(spec, input, labels)
    return {
      ...common,
      kind: 'Service',
      volumes,
      order: spec.order,
      site: null,
      containers: renderReplicas(spec, { ...input, id, inputHash, labels, network: network.name }),
    }
  }
  const site = renderSite(spec, input)
  return {
    ...common,
    kind: 'Site',
    volumes: [],
    order: spec.ports.some(({ hostPort }) => hostPort !== null) ? 'stop-first' : 'start-first',
    site,
    containers: [renderSiteServer(spec, { ...input, site, labels, network: network.name })],
  }
}

function renderReplicas(
  spec: ServiceSpec,
  input: ReleaseInput & { id: string; inputHash: string; labels: Record<string, string>; network: string },
): ContainerSpec[] {
  const base = `towline-${spec.name}-${targetDigest(input.owner, input.target)}-${input.id}`
  return Array.from({ length: spec.replicas }, (_, index) => ({
    name: `${base}-${index + 1}`,
    role: 'app',
    image: input.image.pinned,
    entrypoint: spec.entrypoint,
    command: spec.command,
    environment: spec.environment,
    user: spec.user,
    workingDir: spec.workingDir,
    ports: spec.ports,
    mounts: spec.mounts.map((mount): Mount => {
      const source = mount.type === 'volume' ? targetVolume(input, mount.source) : mount.source
      return { ...mount, source }
    }),
    healthcheck: spec.healthcheck,
    restart: spec.restart,
    cpus: spec.cpus,
    memoryBytes: spec.memoryBytes,
    network: input.network,
    aliases: [spec.name],
    stopSignal: spec.stopSignal,
    stopGraceMs: spec.stopGraceMs,
    labels: { ...spec.labels, ...input.labels, 'towline.role': 'app', 'towline.input': input.inputHash },
    ...containerLog,
  }))
}

/** The server outlives releases: its own hash, not the release's, decides when it is replaced. */
function renderSiteServer(
  spec: SiteSpec,
  input: ReleaseInput & { site: SiteRelease; labels: Record<string, string>; network: string },
): ContainerSpec {
  const root = `${siteMountPath}/${input.site.folder}/webroot`
  const body = {
    role: 'site' as const,
    image: input.image.pinned,
    entrypoint: null,
    command: input.siteServer.command.map((argument) => argument.replaceAll('{root}', root)),
    environment: {},
    user: null,
    workingDir: null,
    ports: spec.ports,
    mounts: [
      { type: 'volume' as const, source: volumeName(input.owner), target: siteMountPath, readOnly: true },
    ],
    healthcheck: spec.healthcheck satisfies Healthcheck | null,
    restart: spec.restart,
    cpus: spec.cpus,
    memoryBytes: spec.memoryBytes,
    network: input.network,
    aliases: [spec.name],
    stopSignal: null,
    stopGraceMs: siteStopGraceMs,
    ...containerLog,
  }
  const inputHash = sha256(JSON.stringify([body, spec.labels]))
  return {
    ...body,
    name: `towline-${spec.name}-${targetDigest(input.owner, input.target)}-site-${inputHash.slice(0, 8)}`,
    labels: { ...spec.labels, ...input.labels, 'towline.role': 'site', 'towline.input': inputHash },
  }
}

function renderSite(spec: SiteSpec, input: ReleaseInput): SiteRelease {
  const source = input.source ?? { kind: 'inline', files: 'inline' in spec.source ? spec.source.inline : {} }
  return { folder: siteFolder(input.owner, input.target), root: spec.root, source }
}

function renderVolumes(spec: ServiceSpec, input: ReleaseInput, labels: Record<string, string>): VolumeSpec[] {
  const names = new Set(spec.mounts.filter(({ type }) => type === 'volume').map(({ source }) => source))
  return [...names].map((name) => ({ name: targetVolume(input, name), labels }))
}

/** A volume belongs to its target: two apps, or an app and its preview, never share one by accident. */
function targetVolume(input: { owner: string; target: Target }, name: string): string {
  return `towline-${input.target.app}-${targetDigest(input.owner, input.target)}-${name}`
}

/** One network for each config repo on a host: apps of one repo reach one another by name, other repos do not. */
function networkName(input: ReleaseInput): string {
  return `towline-${sha256(`${input.owner}\n${input.target.repo}`).slice(0, 8)}`
}

function ownerLabels(input: ReleaseInput): Record<string, string> {
  return {
    'towline.owner': input.owner,
    'towline.repo': input.target.repo,
    'towline.app': input.target.app,
    'towline.deployment': input.deploymentId,
    'towline.commit': input.commit,
    'towline.epoch': String(input.epoch),
    ...(input.target.preview !== null && { 'towline.preview': String(input.target.preview) }),
  }
}

/** The json-file driver grows without bound by default. */
const containerLog = { logMaxSize: '10m', logMaxFiles: 3 }

/** A static server has nothing to finish but open downloads. */
const siteStopGraceMs = 5_000

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}
