import type { TargetRecord } from '../engine/records.ts'
import { isOpen } from '../rollout/deployment.ts'
import type { LocatedSpec, Paused } from '../spec/spec.ts'
import type { TargetSummary, TargetView } from './answers.ts'
import { summarizeDeployment } from './deployment-view.ts'

/** What a view needs besides the record. */
export type ViewContext = {
  nowMs: number
  /** Since when each host gives no answer; null while it does. */
  unknownHosts: ReadonlyMap<string, string>
}

type Health = TargetSummary['health']

/** One line of a list. Fields are named one by one: specs and releases hold values of the environment. */
export function summarizeTarget(record: TargetRecord, context: ViewContext): TargetSummary {
  const { key, target, desired, attempted, applied, deployments, drift, healing, removal } = record
  const last = deployments.at(-1)
  const tried = deployments.find(({ id }) => id === attempted?.deploymentId)
  const paused = pausedNow(record, context.nowMs)
  return {
    key,
    repo: target.repo,
    app: target.app,
    host: target.host,
    preview: target.preview,
    kind: kindOf(record),
    ...judgeTarget(record, context),
    desired: desired && { commit: desired.commit, specHash: desired.specHash },
    attempted: attempted && {
      deploymentId: attempted.deploymentId,
      specHash: attempted.specHash,
      attempt: attempted.attempt,
      commit: tried?.commit ?? null,
    },
    applied: applied && {
      deploymentId: applied.deploymentId,
      specHash: applied.specHash,
      commit: applied.release.commit,
      releaseId: applied.release.id,
      at: applied.at,
    },
    lastDeployment: last ? summarizeDeployment(last) : null,
    drift: drift && {
      id: drift.episode.id,
      commit: drift.episode.commit,
      openedAt: drift.episode.openedAt,
      endedAt: drift.episode.endedAt,
      degradedReason: drift.episode.degradedReason,
      entryCount: drift.episode.entries.length,
    },
    healing: healing && {
      failureCount: healing.failureCount,
      notBefore: healing.notBefore,
      lastHealedAt: healing.lastHealedAt,
      degraded: healing.degraded && { since: healing.degraded.since, reason: healing.degraded.reason },
    },
    removal: removal && { since: removal.since, removeAfter: removal.removeAfter, commit: removal.commit },
    paused: paused && { reason: paused.reason, until: paused.until },
  }
}

/** A target whole: what the repo wants, what was proven, how the host differed, how it came here. */
export function viewTargetRecord(record: TargetRecord, context: ViewContext): TargetView {
  return {
    ...summarizeTarget(record, context),
    spec: record.desired && viewSpec(record.desired.spec),
    releases: viewReleases(record),
    driftEntries: (record.drift?.episode.entries ?? []).map((entry) => ({
      subject: entry.drift.subject,
      field: entry.drift.field,
      expected: entry.drift.expected,
      found: entry.drift.found,
      action: entry.action,
      firstSeenAt: entry.firstSeenAt,
      lastSeenAt: entry.lastSeenAt,
      count: entry.count,
    })),
    history: record.deployments.map(summarizeDeployment).reverse(),
  }
}

function viewSpec({ spec, path, line }: LocatedSpec): NonNullable<TargetView['spec']> {
  return {
    path,
    line,
    dependsOn: spec.dependsOn,
    image: spec.kind === 'Service' ? spec.image : null,
    ports: spec.ports.map(({ hostIp, hostPort, containerPort, protocol }) => ({
      hostIp,
      hostPort,
      containerPort,
      protocol,
    })),
    // Never the values: they may be private though they stand in the repo.
    environmentNames: spec.kind === 'Service' ? Object.keys(spec.environment).sort() : [],
  }
}

/** What was proven here, newest first, each release once. */
function viewReleases({ deployments, applied }: TargetRecord): TargetView['releases'] {
  const seen = new Set<string>()
  return deployments.toReversed().flatMap(({ id, release, result, endedAt }) => {
    if (result?.kind !== 'succeeded' || !release || seen.has(release.id)) return []
    seen.add(release.id)
    return [
      {
        id: release.id,
        deploymentId: id,
        commit: release.commit,
        inputHash: release.inputHash,
        image: { reference: release.image.reference, pinned: release.image.pinned },
        containerNames: release.containers.map(({ name }) => name),
        provenAt: endedAt ?? '',
        applied: release.id === applied?.release.id,
      },
    ]
  })
}

/** One word for a target and why. Ordered rules, first match wins; the order is that of `targetHealths`. */
export function judgeTarget(
  record: TargetRecord,
  { nowMs, unknownHosts }: ViewContext,
): { health: Health; reason: string } {
  const { target, desired, applied, deployments, drift, healing, removal } = record
  const unknownSince = unknownHosts.get(target.host)
  const last = deployments.at(-1)
  const open = deployments.findLast(isOpen)
  const paused = pausedNow(record, nowMs)
  const isApplied = desired !== null && applied?.specHash === desired.specHash
  if (unknownSince !== undefined) {
    return { health: 'unknown', reason: `host ${target.host} gives no answer since ${unknownSince}` }
  }
  if (open && !(paused && open.phase === 'queued')) {
    return { health: 'deploying', reason: `${open.phase}: ${open.message}` }
  }
  if (healing?.degraded) return { health: 'degraded', reason: healing.degraded.reason }
  if (healing && healing.failureCount > 0) {
    const reason = `healing failed ${healing.failureCount} times and is tried again after ${healing.notBefore}`
    return { health: 'degraded', reason }
  }
  if (drift && drift.episode.endedAt === null) {
    const { entries, openedAt } = drift.episode
    const subjects = [...new Set(entries.map((entry) => `${entry.drift.subject} ${entry.drift.field}`))]
    return {
      health: 'drifted',
      reason: `since ${openedAt}: ${subjects.join(', ') || 'differs from its release'}`,
    }
  }
  if (desired && !isApplied && last?.result?.kind === 'failed') {
    return { health: 'failed', reason: `failed in ${last.result.phase}: ${last.result.reason}` }
  }
  if (removal)
    return { health: 'removing', reason: `it left the config repo; removed after ${removal.removeAfter}` }
  if (!desired) return { health: 'unwanted', reason: 'it left the config repo and pruning is off' }
  if (paused) return { health: 'paused', reason: paused.reason }
  if (isApplied) return { health: 'healthy', reason: 'the host is as the repo says' }
  return { health: 'pending', reason: 'what the repo says was not brought to the host' }
}

function pausedNow({ desired }: TargetRecord, nowMs: number): Paused | null {
  const paused = desired?.spec.spec.paused ?? null
  return paused?.until && Date.parse(paused.until) <= nowMs ? null : paused
}

/** What it is: by what the repo wants, else by what is there. */
export function kindOf({ desired, applied }: TargetRecord): TargetSummary['kind'] {
  return desired?.spec.spec.kind ?? applied?.release.kind ?? null
}
