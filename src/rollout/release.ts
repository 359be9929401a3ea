/** A published port. `hostPort` null lets Docker choose; `hostIp` null means every address of the host. */
export type PortBinding = {
  hostIp: string | null
  hostPort: number | null
  containerPort: number
  protocol: 'tcp' | 'udp'
}

/** A volume (`source` is its name on the host) or a bind mount (`source` is a path of the host). */
export type Mount = { type: 'volume' | 'bind'; source: string; target: string; readOnly: boolean }

/** Docker's health check. `test` is Docker's form: `['CMD', …]`, `['CMD-SHELL', line]` or `['NONE']`. */
export type Healthcheck = {
  test: string[]
  intervalMs: number
  timeoutMs: number
  retries: number
  startPeriodMs: number
}

export type RestartPolicy = { name: 'no' | 'always' | 'unless-stopped' | 'on-failure'; maxRetries: number }

/** Everything one container is created from. Labels include ours; no field is secret. */
export type ContainerSpec = {
  name: string
  role: 'app' | 'site'
  /** What the container is created from: `name@sha256:…`, or an image id where no registry knows it. */
  image: string
  entrypoint: string[] | null
  command: string[] | null
  environment: Record<string, string>
  user: string | null
  workingDir: string | null
  ports: PortBinding[]
  mounts: Mount[]
  /** null keeps the health check of the image. */
  healthcheck: Healthcheck | null
  restart: RestartPolicy
  /** CPUs as Docker counts them (0.5 is half a CPU); null is unlimited. */
  cpus: number | null
  memoryBytes: number | null
  network: string
  aliases: string[]
  stopSignal: string | null
  stopGraceMs: number
  labels: Record<string, string>
  logMaxSize: string
  logMaxFiles: number
}

/** A volume Towline makes for a target; it is never removed by a deployment. */
export type VolumeSpec = { name: string; labels: Record<string, string> }

/** An image as the spec names it, and the immutable reference it was resolved to. */
export type PinnedImage = {
  reference: string
  /** `name@sha256:…` where a registry knows the digest, else the image id `sha256:…`. */
  pinned: string
}

/** One file of a Site's release. `path` is relative, with forward slashes. `sha256` is of its bytes, in hex. */
export type ManifestFile = { path: string; size: number; mode: number; sha256: string }

/** What a release directory must hold. Written last, beside the release, as the proof that it is whole. */
export type Manifest = {
  releaseId: string
  fileCount: number
  byteCount: number
  filesSha256: string
  files: ManifestFile[]
}

/**
 * Where the files of a Site come from. Enough to fetch them again after a restart; `unknown` after the records were lost
 * and no spec that is known says the same.
 */
export type FileSource =
  | { kind: 'folder'; commit: string; path: string; treeOid: string }
  | { kind: 'inline'; files: Record<string, string> }
  | { kind: 'unknown' }

/** The part of a Site that is files on the host, below Towline's volume. */
export type SiteRelease = {
  /** Folder of the site in Towline's volume, e.g. `sites/docs-1a2b3c4d`. */
  folder: string
  /** Folder inside the release that is served; `.` for the release itself. */
  root: string
  source: FileSource
}

/** What a deployment wants to leave on the host. Plain data: a store can keep it, a healer can restore from it. */
export type Release = {
  /** Names the release on the host: the start of its input hash, and the attempt where it is not the first. */
  id: string
  inputHash: string
  commit: string
  kind: 'Service' | 'Site'
  image: PinnedImage
  network: { name: string; labels: Record<string, string> }
  volumes: VolumeSpec[]
  containers: ContainerSpec[]
  site: SiteRelease | null
  /** `stop-first` where old and new cannot run side by side (a fixed host port, a writable volume). */
  order: 'start-first' | 'stop-first'
  /** How long the release must answer after the switch before the deployment counts. */
  monitorMs: number
  keepReleases: number
}
