import { degrade, endEpisode, noteDrift } from '../rollout/drift-episode.ts'
import type { Drift } from '../rollout/observed.ts'
import { newReport } from './config-pass.ts'
import type { DriftRecord, TargetRecord } from './records.ts'

/** Stores what was found to differ, and what is done about it. `givenUp` is why nothing is, where healing has given up. */
export function recordDrift(
  record: TargetRecord,
  seen: { drift: Drift[]; action: string; givenUp: string | null },
  now: string,
): TargetRecord {
  const { applied, drift: before } = record
  if (!applied || seen.drift.length === 0) return record
  const noted = noteDrift(
    before?.episode ?? null,
    seen.drift.map((drift) => ({ drift, action: seen.action })),
    {
      target: record.key,
      deploymentId: applied.deploymentId,
      commit: applied.release.commit,
      now,
    },
  )
  const episode = seen.givenUp === null ? noted : degrade(noted, seen.givenUp)
  if (before?.episode.id === episode.id) {
    return { ...record, drift: { episode, report: { ...before.report, done: false } } }
  }
  const untold =
    before && !before.report.done ? [...record.untoldDrifts, ended(before, now)] : record.untoldDrifts
  return { ...record, drift: { episode, report: newReport }, untoldDrifts: untold.slice(-untoldLimit) }
}

/** Stores that the host is as the release says. The same record where that is known. */
export function recordDriftEnd(record: TargetRecord, now: string): TargetRecord {
  const isOpen = record.drift !== null && record.drift.episode.endedAt === null
  const { healing } = record
  if (!isOpen && !healing?.degraded) return record
  return {
    ...record,
    drift: record.drift && ended(record.drift, now),
    healing: healing && { ...healing, degraded: null },
  }
}

function ended(drift: DriftRecord, now: string): DriftRecord {
  const episode = endEpisode(drift.episode, now)
  return episode === drift.episode ? drift : { episode, report: { ...drift.report, done: false } }
}

/** GitHub was away for that many different stories of one target: the oldest of them is not told any more. */
const untoldLimit = 5
