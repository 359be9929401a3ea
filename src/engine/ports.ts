/**
 * What the engine needs from outside, as the smallest types that do. The edge rooms satisfy them by shape;
 * `main.ts` passes the real ones, tests pass functions.
 */

import type { CheckRun } from '../report/check-run.ts'
import type { Inventory, ObservedHost, StandingContainer } from '../rollout/observed.ts'
import type { PinnedImage } from '../rollout/release.ts'
import type { HostStep } from '../rollout/step.ts'
import type { PullPolicy } from '../spec/spec.ts'
import type { Claim, Delivery, HostRecord, RepoRecord, TargetRecord } from './records.ts'

/** Structured log, as pino writes it. */
export type Log = Record<'debug' | 'info' | 'warn' | 'error', (fields: object, message: string) => void>

/** One file of a config repo at a commit. `oid` is git's object id: the same content has the same id. */
export type TreeEntry = { path: string; oid: string; kind: 'file' | 'executable' | 'link' | 'submodule' }

/** Files of a config repo: the mirror of a remote, or a folder on disk for the CLI. */
export type FileTree = {
  /** All entries at a commit, below `under` where given, sorted by path. Empty where `under` does not exist. */
  list(commit: string, options: { under?: string; signal: AbortSignal }): Promise<readonly TreeEntry[]>
  /** Id of a folder's tree: the same content has the same id. null where there is no such folder. */
  treeOid(commit: string, path: string, options: { signal: AbortSignal }): Promise<string | null>
  /** The bytes of one entry. @throws TowlineError `input` beyond `maxBytes`. */
  read(oid: string, options: { maxBytes: number; signal: AbortSignal }): Promise<Uint8Array>
}

/** The mirror of one config repo's branch. */
export type Mirror = FileTree & {
  /** Asks the remote for the branch's head: cheap, no download. null where the branch is gone. */
  probe(options: { signal: AbortSignal }): Promise<string | null>
  /** Brings the branch's head here and returns its commit. null where the branch is gone. */
  fetch(options: { signal: AbortSignal }): Promise<string | null>
}

/** A file of a Site's release, ready to be written. */
export type ReleaseFile = { path: string; mode: number; content: Uint8Array }

/** How a running container answers right now. */
export type Probe = {
  state: 'running' | 'restarting' | 'exited' | 'created' | 'paused' | 'dead' | 'removing' | 'missing'
  health: 'none' | 'starting' | 'healthy' | 'unhealthy'
  restartCount: number
  startedAt: string
  exitCode: number | null
  /** Output of the last failed health checks, newest last. */
  healthLog: string[]
}

/** A change on a host: a hint to look again, never a fact to act on. */
export type HostEvent = { host: string; repo: string; app: string; preview: number | null; action: string }

/** A network or volume that bears a name of ours is gone. A hint as well: whose it was, Docker does not say. */
export type ResourceEvent = { host: string; kind: 'network' | 'volume'; action: 'destroy'; name: string }

/** One Docker host, seen through the Engine API. Every call takes a signal and has a deadline of its own besides. */
export type DockerHost = {
  name: string
  /**
   * All that is ours in one list call; `deep` inspects each container too; `sites` reads the links and releases of
   * all sites in one exec, and `files` names releases whose every file is held against the manifest; `resources` lists
   * our networks and volumes; `only` narrows the list of containers to one app, which costs a fraction on a full host.
   * @throws TowlineError `temporary` where the host does not answer.
   */
  observe(options: {
    deep?: boolean
    sites?: boolean
    files?: readonly { folder: string; releaseId: string }[]
    resources?: boolean
    only?: { repo: string; app: string }
    signal: AbortSignal
  }): Promise<ObservedHost>
  /** All that is ours, of whatever target or none. Each thing is asked for by the owner label, one list call a kind. */
  inventory(options: { signal: AbortSignal }): Promise<Inventory>
  /** Every container of a target or role of ours as it stands, for rebuilding records that were lost. */
  survey(options: { signal: AbortSignal }): Promise<StandingContainer[]>
  /**
   * Resolves a reference to what it means now, without downloading layers. @throws TowlineError `input` where no
   * registry has it, `temporary` where the registry does not answer.
   */
  resolveImage(
    reference: string,
    options: { pullPolicy: PullPolicy; signal: AbortSignal },
  ): Promise<PinnedImage>
  /** Carries out one step. Idempotent. `files` feeds `writeRelease`; `onProgress` gets 0–1 and a few words. */
  apply(
    step: HostStep,
    options: {
      signal: AbortSignal
      files?: () => Promise<ReleaseFile[]>
      onProgress?: (fraction: number, message: string) => void
    },
  ): Promise<void>
  probe(container: string, options: { signal: AbortSignal }): Promise<Probe>
  /**
   * Runs the container's own health check once, now, instead of waiting for Docker's interval.
   * null where it has none. A failed test is `false`, not an error.
   */
  checkHealth(container: string, options: { signal: AbortSignal }): Promise<boolean | null>
  /** The last lines a container wrote, oldest first. Empty where it is gone. */
  logs(container: string, options: { tail: number; signal: AbortSignal }): Promise<string[]>
  /** Calls back for each event of a container of ours until the signal aborts or the stream breaks, then returns. */
  events(options: {
    signal: AbortSignal
    onOpen: () => void
    onEvent: (event: HostEvent) => void
    onResource?: (event: ResourceEvent) => void
  }): Promise<void>
}

/** A config repo the App may work on. */
export type RepoAccess = { repo: string; branch: string }

/** A delivery GitHub could not bring, and the attempt its content can be read from. `event` as in `check_run.rerequested`. */
export type MissedDelivery = { guid: string; attemptId: string; event: string }

export type GitHub = {
  /** The config repos the App may work on. */
  repos(options: { signal: AbortSignal }): Promise<RepoAccess[]>
  /** Makes a check run with all its annotations and returns its id. */
  createCheckRun(repo: string, check: CheckRun, options: { signal: AbortSignal }): Promise<number>
  /** Brings a run to what `check` says. Annotations append at GitHub, so only those from `annotationsFrom` on are sent. */
  updateCheckRun(
    repo: string,
    id: number,
    check: CheckRun,
    options: { annotationsFrom: number; signal: AbortSignal },
  ): Promise<void>
  /** The run of that name on the commit whose `external_id` is the given one, or null. */
  findCheckRun(
    repo: string,
    query: { name: string; headSha: string; externalId: string },
    options: { signal: AbortSignal },
  ): Promise<{ id: number; annotationCount: number } | null>
  /**
   * The deliveries since then that mean something and of which no attempt was acknowledged, oldest first. Not `whole`
   * where GitHub has more than are looked through: then the newest are.
   */
  missedDeliveries(options: {
    sinceMs: number
    signal: AbortSignal
  }): Promise<{ missed: MissedDelivery[]; whole: boolean }>
  /** What a missed delivery asks to look at, as its webhook would have; null where GitHub has its content no more. */
  readDelivery(
    missed: MissedDelivery,
    options: { signal: AbortSignal },
  ): Promise<Pick<Delivery, 'guid' | 'hint'>[] | null>
}

/**
 * What must survive a restart. Asynchronous and fenced, so that a database can stand behind it.
 * A change is a function of the freshest record; it may run again and must not act.
 */
export type Store = {
  /** Id of this installation, made once. */
  owner: string
  readTarget(key: string): Promise<TargetRecord | null>
  listTargets(): Promise<TargetRecord[]>
  /**
   * Applies `change` to the freshest record and stores the outcome durably before it resolves. Returning the same
   * object stores nothing. With `claim`, @throws TowlineError `stale` when the claim's epoch is no longer the newest.
   */
  updateTarget(
    key: string,
    change: (record: TargetRecord | null) => TargetRecord,
    options?: { claim?: Claim },
  ): Promise<TargetRecord>
  deleteTarget(key: string): Promise<void>
  /** The right to work on a target for `ttlMs`, or null while another holder's claim is alive. Each grant raises the epoch. */
  claimTarget(key: string, options: { holder: string; ttlMs: number }): Promise<Claim | null>
  renewClaim(claim: Claim, options: { ttlMs: number }): Promise<void>
  releaseClaim(claim: Claim): Promise<void>

  readRepo(repo: string): Promise<RepoRecord | null>
  listRepos(): Promise<RepoRecord[]>
  updateRepo(repo: string, change: (record: RepoRecord | null) => RepoRecord): Promise<RepoRecord>

  readHost(host: string): Promise<HostRecord | null>
  listHosts(): Promise<HostRecord[]>
  updateHost(host: string, change: (record: HostRecord | null) => HostRecord): Promise<HostRecord>

  /** From now on every epoch is higher than this one: hosts may show more than a restored store remembers. */
  raiseEpoch(above: number): Promise<void>

  /** Stores a webhook delivery once. `duplicate` where its GUID is known already. */
  addDelivery(delivery: Delivery): Promise<'stored' | 'duplicate'>
  /** Whether a delivery of that GUID was stored, as far as is remembered. */
  knowsDelivery(guid: string): Promise<boolean>
  pendingDeliveries(): Promise<Delivery[]>
  completeDelivery(guid: string): Promise<void>
  close(): Promise<void>
}
