import type { TargetRecord } from '../engine/records.ts'
import type { EngineStatus } from '../engine/status.ts'
import { type Deployment, isOpen, type StuckReason } from '../rollout/deployment.ts'
import type { Finding, HealthView, StatsView, StuckDeployment, StuckList } from './answers.ts'
import { stateOf } from './deployment-view.ts'
import { judgeTarget, kindOf, type ViewContext } from './target-view.ts'

/** What was last heard of GitHub; null fields where it was not asked yet. */
export type GitHubStatus = {
  unreachableSince: string | null
  reason: string | null
  lastAnswerAt: string | null
}

/** How the last look for missed webhooks went. */
export type CatchUpFound = { at: string; recoveredCount: number; error: string | null }

/** An open deployment the watch found to get nowhere. */
export type StuckFound = { target: string; deploymentId: string; reason: StuckReason; since: string }

/** All a look at the whole installation is made of, read at one time. */
export type Snapshot = {
  status: EngineStatus
  targets: readonly TargetRecord[]
  stuck: readonly StuckFound[]
  github: GitHubStatus
  catchUp: CatchUpFound | null
  version: string
  nowMs: number
}

/** Whether all is well, and if not, each reason with what to do. What is known to be bad comes before what is unknown. */
export function viewHealth(snapshot: Snapshot): HealthView {
  const { status, targets, github, catchUp, nowMs } = snapshot
  const findings = findAll(snapshot)
  const isDegraded = findings.some(({ severity }) => severity === 'degraded')
  const untold = untoldEnds(targets)
  return {
    status: isDegraded ? 'degraded' : findings.length > 0 ? 'unknown' : 'healthy',
    version: snapshot.version,
    at: isoTime(nowMs),
    startedAt: status.startedAt,
    recovered: status.recovered,
    findings,
    hosts: status.hosts.map(({ host, engineId, unknownSince, lastSeenAt }) => ({
      host,
      engineId,
      unknownSince,
      lastSeenAt,
    })),
    targets: countTargets(snapshot),
    github: {
      unreachableSince: github.unreachableSince,
      reason: github.reason,
      lastAnswerAt: github.lastAnswerAt,
      untoldCount: untold.length,
      outboxLagMs: lagMs(untold, nowMs),
      lastCatchUp: catchUp && {
        at: catchUp.at,
        recoveredCount: catchUp.recoveredCount,
        error: catchUp.error,
      },
    },
    lastSweep: status.lastSweep && { at: status.lastSweep.at, durationMs: status.lastSweep.durationMs },
    orphans: status.orphans.map(({ host, kind, name, reason, firstSeenAt, removeAfter }) => ({
      host,
      kind,
      name,
      reason,
      firstSeenAt,
      removeAfter,
    })),
  }
}

function findAll(snapshot: Snapshot): Finding[] {
  return [
    ...findUnrecovered(snapshot),
    ...findHosts(snapshot),
    ...findGitHub(snapshot),
    ...findStuck(snapshot),
    ...findTargets(snapshot),
  ]
}

function findUnrecovered({ status }: Snapshot): Finding[] {
  if (status.recovered) return []
  return [
    {
      kind: 'recovery',
      severity: 'unknown',
      subject: 'towline',
      since: status.startedAt,
      message: 'it started and has not yet looked at all that was unfinished',
      hint: 'Wait for the first sweep; if it does not end, look for a host that hangs in the log.',
    },
  ]
}

function findHosts({ status }: Snapshot): Finding[] {
  return status.hosts.flatMap(({ host, unknownSince }) =>
    unknownSince === null
      ? []
      : [
          {
            kind: 'host',
            severity: 'unknown',
            subject: host,
            since: unknownSince,
            message: 'gives no answer; what runs there may be fine',
            hint: 'See that its Docker Engine runs and that the endpoint and certificates in server.yaml are right.',
          } as const,
        ],
  )
}

function findGitHub({ github, targets, nowMs }: Snapshot): Finding[] {
  if (github.unreachableSince !== null) {
    return [
      {
        kind: 'github',
        severity: 'degraded',
        subject: 'GitHub',
        since: github.unreachableSince,
        message: `gives no good answer: ${github.reason ?? 'no reason is known'}`,
        hint: 'Hosts are kept as they are meanwhile. See its status page, the network, and the App’s key and permissions.',
      },
    ]
  }
  const untold = untoldEnds(targets)
  if (lagMs(untold, nowMs) <= outboxLagLimitMs) return []
  return [
    {
      kind: 'outbox',
      severity: 'degraded',
      subject: 'check runs',
      since: untold[0] ?? null,
      message: `${untold.length === 1 ? '1 deployment' : `${untold.length} deployments`} ended and GitHub was not told`,
      hint: 'See that the App may write checks on the repo; the log says what GitHub answered.',
    },
  ]
}

function findStuck(snapshot: Snapshot): Finding[] {
  return listStuck(snapshot).open.map(({ id, target, phase, reason, since }) => ({
    kind: 'stuck',
    severity: 'degraded',
    subject: target,
    since,
    message: `deployment ${id} is stuck in ${phase} (${reason})`,
    hint: 'It is being ended. If it stays, see its host, and what the log says.',
  }))
}

function findTargets(snapshot: Snapshot): Finding[] {
  const context = contextOf(snapshot)
  return snapshot.targets.flatMap((record) => {
    const { health, reason } = judgeTarget(record, context)
    const hint = adviseTarget(record, health)
    if (hint === null) return []
    return [
      {
        kind: 'target',
        severity: 'degraded',
        subject: record.key,
        since: troubleSince(record),
        message: `${health}: ${reason}`,
        hint,
      } as const,
    ]
  })
}

/** What a person should do about a target in this state; null where nothing. */
function adviseTarget(
  { key, deployments }: TargetRecord,
  health: ReturnType<typeof judgeTarget>['health'],
): string | null {
  switch (health) {
    case 'degraded':
      return `Mend what keeps it from healing, then: towline reconcile ${key}`
    case 'drifted':
      return 'It is being healed. If that does not end, look for who else changes it.'
    case 'failed':
      return `The release before serves, where there was one. Push a mended spec, or: towline retry ${deployments.at(-1)?.id}`
    default:
      return null
  }
}

function troubleSince({ healing, drift, deployments }: TargetRecord): string | null {
  if (healing?.degraded) return healing.degraded.since
  if (drift && drift.episode.endedAt === null) return drift.episode.openedAt
  return deployments.at(-1)?.endedAt ?? null
}

export function viewStats(snapshot: Snapshot): StatsView {
  const { status, targets, nowMs } = snapshot
  const deployments = targets.flatMap((record) => record.deployments)
  const unknown = status.hosts.filter(({ unknownSince }) => unknownSince !== null).length
  const byResult = countBy(deployments.map(stateOf))
  return {
    at: isoTime(nowMs),
    startedAt: status.startedAt,
    deployments: {
      open: byResult.open ?? 0,
      byPhase: countBy(deployments.map(({ phase }) => phase)),
      byResult: {
        succeeded: byResult.succeeded ?? 0,
        failed: byResult.failed ?? 0,
        superseded: byResult.superseded ?? 0,
        cancelled: byResult.cancelled ?? 0,
      },
    },
    durations: viewDurations(targets),
    stuck: { now: listStuck(snapshot).open.length, byReason: stuckCounts(status) },
    targets: countTargets(snapshot),
    counts: { ...status.counts },
    queue: { waiting: status.queue.waiting, running: status.queue.running },
    hosts: { known: status.hosts.length - unknown, unknown },
    orphanCount: status.orphans.length,
    lastSweep: status.lastSweep && { at: status.lastSweep.at, durationMs: status.lastSweep.durationMs },
  }
}

/** How often the watch ended a deployment, since the process started. */
export function stuckCounts({ counts }: EngineStatus): Record<StuckReason, number> {
  return { deadline: counts.stuckDeadline, progress: counts.stuckProgress, claim: counts.stuckClaim }
}

/** Open deployments the watch found to be stuck, the longest first, and those it ended lately, the last first. */
export function listStuck({ targets, stuck, nowMs }: Snapshot): StuckList {
  const found = new Map(stuck.map((finding) => [finding.deploymentId, finding]))
  const open: StuckDeployment[] = []
  const ended: StuckDeployment[] = []
  for (const deployment of targets.flatMap(({ deployments }) => deployments)) {
    const finding = found.get(deployment.id)
    // The look was some time ago; it may have ended since.
    if (finding && isOpen(deployment)) open.push(viewStuck(deployment, finding))
    const { result, endedAt } = deployment
    if (result?.kind !== 'failed' || !result.stuck || endedAt === null) continue
    if (nowMs - Date.parse(endedAt) > endedLatelyMs) continue
    ended.push({ ...viewStuck(deployment, { reason: result.stuck, since: endedAt }), phase: result.phase })
  }
  ended.sort((a, b) => (a.since < b.since ? 1 : -1))
  return { open: open.sort((a, b) => (a.since < b.since ? -1 : 1)), ended: ended.slice(0, endedLimit) }
}

function viewStuck(
  { id, target, phase, phaseUpdatedAt, message, history, result, endedAt }: Deployment,
  { reason, since }: Pick<StuckFound, 'reason' | 'since'>,
): StuckDeployment {
  // Ending it moved its phase; what is asked is since when it stood still before that.
  const movedAt = result ? (history.at(-2)?.at ?? phaseUpdatedAt) : phaseUpdatedAt
  return { id, target, phase, reason, since, phaseUpdatedAt: movedAt, message, endedAt }
}

/** How long the last deployments that succeeded took, from their start. */
export function viewDurations(targets: readonly TargetRecord[]): StatsView['durations'] {
  return (['Service', 'Site'] as const).flatMap((kind) => {
    const last = targets
      .filter((record) => kindOf(record) === kind)
      .flatMap(({ deployments }) => deployments)
      .flatMap(({ result, startedAt, endedAt }) =>
        result?.kind === 'succeeded' && startedAt !== null && endedAt !== null
          ? [{ startedAt, endedAt }]
          : [],
      )
      .sort((a, b) => (a.endedAt < b.endedAt ? 1 : -1))
      .slice(0, durationSampleLimit)
      .map(({ startedAt, endedAt }) => Date.parse(endedAt) - Date.parse(startedAt))
      .sort((a, b) => a - b)
    if (last.length === 0) return []
    return [{ kind, count: last.length, p50Ms: quantile(last, 0.5), p95Ms: quantile(last, 0.95) }]
  })
}

/** The smallest value that at least that share of the sorted ones does not exceed. */
function quantile(sorted: number[], share: number): number {
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? 0
}

function countTargets(snapshot: Snapshot): HealthView['targets'] {
  const context = contextOf(snapshot)
  const healths = snapshot.targets.map((record) => judgeTarget(record, context).health)
  return { total: healths.length, byHealth: countBy(healths) }
}

export function contextOf({ status, nowMs }: Pick<Snapshot, 'status' | 'nowMs'>): ViewContext {
  const unknown = status.hosts.flatMap(({ host, unknownSince }) =>
    unknownSince === null ? [] : [[host, unknownSince] as const],
  )
  return { nowMs, unknownHosts: new Map(unknown) }
}

/** When deployments ended whose end does not stand at GitHub, the oldest first. */
function untoldEnds(targets: readonly TargetRecord[]): string[] {
  return targets
    .flatMap(({ deployments, reports }) =>
      deployments.flatMap(({ id, endedAt }) =>
        endedAt !== null && reports[id]?.done === false ? [endedAt] : [],
      ),
    )
    .sort()
}

function lagMs([oldest]: string[], nowMs: number): number {
  return oldest === undefined ? 0 : Math.max(0, nowMs - Date.parse(oldest))
}

function countBy<T extends string>(values: T[]): { [K in T]?: number } {
  const counts: { [K in T]?: number } = {}
  for (const value of values) counts[value] = (counts[value] ?? 0) + 1
  return counts
}

function isoTime(ms: number): string {
  return new Date(ms).toISOString()
}

/** One write a second: a big push takes some minutes to tell, and that is no trouble. */
const outboxLagLimitMs = 15 * 60_000
/** A working day and the night before it: what went wrong since somebody last looked. */
const endedLatelyMs = 24 * 60 * 60_000
const endedLimit = 100
/** Enough for a p95 that means something, few enough to be about now. */
const durationSampleLimit = 100
