import type { Healthcheck, PortBinding, RestartPolicy } from '../rollout/release.ts'

/** A spec after validation: defaults filled in, durations in milliseconds, sizes in bytes, nothing left to parse. */
export type Spec = ServiceSpec | SiteSpec

export type PullPolicy = 'missing' | 'always' | 'never'

/** `until` is an ISO time, or null for "until the spec says otherwise". */
export type Paused = { reason: string; until: string | null }

type Common = {
  name: string
  /** Resolved: names of `server.yaml`, never empty. */
  hosts: string[]
  dependsOn: string[]
  paused: Paused | null
  ports: PortBinding[]
  healthcheck: Healthcheck | null
  restart: RestartPolicy
  cpus: number | null
  memoryBytes: number | null
  monitorMs: number
  /** null leaves it to the operator. */
  progressDeadlineMs: number | null
  keepReleases: number
  /** Whether a volume that vanished may be made again, empty. */
  recreateVolumes: boolean
  /** The user's own labels; none starts with `towline.`. */
  labels: Record<string, string>
}

export type ServiceSpec = Common & {
  kind: 'Service'
  image: string
  pullPolicy: PullPolicy
  entrypoint: string[] | null
  command: string[] | null
  environment: Record<string, string>
  user: string | null
  workingDir: string | null
  mounts: SpecMount[]
  replicas: number
  order: 'start-first' | 'stop-first'
  stopSignal: string | null
  stopGraceMs: number
}

export type SiteSpec = Common & {
  kind: 'Site'
  /** A folder of the config repo, or files written in the spec itself (path → text). */
  source: { files: string } | { inline: Record<string, string> }
  /** Folder inside the release that is served; `.` for all of it. */
  root: string
}

/** `source` is the name in the spec for a volume, a path of the host for a bind mount. */
export type SpecMount = { type: 'volume' | 'bind'; source: string; target: string; readOnly: boolean }

/**
 * One thing wrong in one file, for people and for check-run annotations. Lines and columns count from 1;
 * `endColumn` points behind the last character.
 */
export type Problem = {
  path: string
  line: number
  column: number
  endLine: number
  endColumn: number
  /** What is wrong: what was found and where in the document, e.g. `/ports/0: "80:90:x" is not a port`. */
  message: string
  /** What would be right. */
  hint: string
}

/** A spec and where it stands: the file's path, the line its document starts on. */
export type LocatedSpec = {
  spec: Spec
  path: string
  line: number
  /** Hash of the normalised spec alone: two texts that mean the same have the same hash. */
  hash: string
}

/** What `towline.yaml` at the root of the config repo decides. */
export type RepoSettings = {
  /** Globs of the spec files. Default `apps/**` with `.yaml` or `.yml`. */
  specs: string[]
  defaults: { hosts: string[] | null }
  /** What becomes of apps whose spec is deleted; `max` counts targets. */
  prune: PruneSettings
}

export type PruneSettings = { enabled: boolean; delayMs: number; max: number; volumes: boolean }
