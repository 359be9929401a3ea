import type { Deployment } from '../rollout/deployment.ts'
import type { DriftEpisode } from '../rollout/drift-episode.ts'
import type { Drift } from '../rollout/observed.ts'
import type { Removal } from '../rollout/prune.ts'
import type { Release } from '../rollout/release.ts'
import type { Target, TargetKey } from '../rollout/target.ts'
import type { LocatedSpec, Problem } from '../spec/spec.ts'

/** Version of the stored shapes. A store that meets a newer one refuses to start; an older one is migrated. */
export const schemaVersion = 2

/** The right to work on a target. A write with an epoch that is not the newest is refused. */
export type Claim = { target: TargetKey; holder: string; epoch: number; expiresAt: string }

/** What the config repo wants of a target. */
export type Desired = { commit: string; specHash: string; spec: LocatedSpec }

/** What was last brought to the host and proven there. */
export type Applied = { deploymentId: string; specHash: string; release: Release; at: string }

/** What GitHub was last told about a check run, so that the outbox knows what is missing. */
export type ReportState = {
  /** Set once GitHub answered with the run's id. */
  checkRunId: number | null
  /** True from just before the create call: after a crash the run is looked up before it is made again. */
  createIntended: boolean
  /** Hash of what was written last, '' for nothing. */
  writtenHash: string
  writeCount: number
  /** True once the final state stands at GitHub. */
  done: boolean
}

/** Healing of one target: its backoff, its bounds, and what was last put right. */
export type Healing = {
  failureCount: number
  notBefore: string
  lastDrift: Drift[]
  lastHealedAt: string | null
  /** When each container, link or release was put right lately, by name; no longer back than the window that bounds it. */
  healedAt: Record<string, string[]>
  /** Set while healing has given up for now: what it cannot put right is told once, and left alone until `retryAt`, or for good. */
  degraded: { since: string; reason: string; retryAt: string | null } | null
}

/** The drift of a target that was last seen, and what GitHub was told of it. */
export type DriftRecord = { episode: DriftEpisode; report: ReportState }

/** All that is known of one target: desired, attempted and applied are three fields. */
export type TargetRecord = {
  version: number
  key: TargetKey
  target: Target
  /** null once the app left the config repo. */
  desired: Desired | null
  attempted: { deploymentId: string; specHash: string; attempt: number } | null
  applied: Applied | null
  /** Oldest first, bounded. */
  deployments: Deployment[]
  /** By deployment id, for the deployments above. */
  reports: Record<string, ReportState>
  healing: Healing | null
  drift: DriftRecord | null
  /** Earlier stretches of drift whose end GitHub has not been told yet, bounded. */
  untoldDrifts: DriftRecord[]
  /** null for an app the repo wants, or where pruning is off. */
  removal: Removal | null
}

/** What the config repo said at one commit, for the check run over all. */
export type Revision = {
  commit: string
  seenAt: string
  problems: Problem[]
  /** Deployments this commit asked for. */
  deploymentIds: { target: TargetKey; deploymentId: string }[]
  unchangedCount: number
  pausedTargets: { target: TargetKey; reason: string; until: string | null }[]
  /** Targets this commit no longer wants and that are going to be removed, and whether with their volumes. */
  removals: { target: TargetKey; removeAfter: string; volumes: boolean }[]
  /** Why nothing is removed though apps left the repo and pruning is on, and what to do; null otherwise. */
  pruneRefused: string | null
  /** Set when a newer commit took over before this one ended. */
  supersededBy: string | null
  attempt: number
  report: ReportState
}

/** All that is known of one config repo. */
export type RepoRecord = {
  version: number
  repo: string
  branch: string
  /** The commit whose specs were last read. null before the first. */
  head: string | null
  /** Newest last, bounded. */
  revisions: Revision[]
}

/** What is known of one Docker host beyond what it shows now. */
export type HostRecord = {
  version: number
  host: string
  /** The Engine that answered first under this name; another one is not trusted with removals. */
  engineId: string | null
  /** Since when it gives no answer; null while it does. */
  unknownSince: string | null
  lastSeenAt: string | null
  /**
   * Config repos whose targets here may stand though no record says so, since the records were lost: nothing of theirs
   * is deployed before it was looked at. `everything` until the host has answered.
   */
  rebuildDue: 'everything' | string[]
}

/** What a webhook said, reduced to what we look at: the hint "look again at this repo", or a re-run. */
export type DeliveryHint =
  | { kind: 'repo'; repo: string }
  | { kind: 'rerunCheck'; repo: string; headSha: string; name: string; externalId: string }
  | { kind: 'rerunSuite'; repo: string; headSha: string }

/** A webhook delivery, stored before it is acknowledged. `guid` is GitHub's `X-GitHub-Delivery`. */
export type Delivery = { guid: string; receivedAt: string; hint: DeliveryHint; processedAt: string | null }
