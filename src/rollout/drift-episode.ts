import type { Drift } from './observed.ts'

/** One difference and how it went on. `action` says what was done about it, in a few words. */
export type DriftEntry = {
  drift: Drift
  action: string
  firstSeenAt: string
  lastSeenAt: string
  count: number
}

/**
 * A stretch of time in which a host differed from the applied release: told once, as one check run on the commit whose
 * release is applied. What comes back soon after belongs to the same episode.
 */
export type DriftEpisode = {
  id: string
  /** Commit the applied release came from. */
  commit: string
  target: string
  openedAt: string
  /** null while it lasts. */
  endedAt: string | null
  entries: DriftEntry[]
  /** Why healing has given up for now; null while it goes on. */
  degradedReason: string | null
}

/** The episode that goes on or begins with what was just seen. */
export function noteDrift(
  before: DriftEpisode | null,
  seen: { drift: Drift; action: string }[],
  context: { target: string; deploymentId: string; commit: string; now: string },
): DriftEpisode {
  const { target, deploymentId, commit, now } = context
  const open = before && belongsTo(before, context) ? before : null
  const episode = open ?? {
    id: `drift-${deploymentId}-${Date.parse(now).toString(36)}`,
    commit,
    target,
    openedAt: now,
    endedAt: null,
    entries: [],
    degradedReason: null,
  }
  return {
    ...episode,
    endedAt: null,
    entries: seen.reduce((all, one) => addEntry(all, one, now), episode.entries),
  }
}

/** The episode with healing given up: told once, because a second time changes nothing. */
export function degrade(episode: DriftEpisode, reason: string): DriftEpisode {
  return episode.degradedReason === reason ? episode : { ...episode, degradedReason: reason }
}

/** The host is as the release says again. */
export function endEpisode(episode: DriftEpisode, now: string): DriftEpisode {
  return episode.endedAt === null ? { ...episode, endedAt: now, degradedReason: null } : episode
}

/** Of another release it is another story; long ended it is over. */
function belongsTo(
  { id, commit, endedAt }: DriftEpisode,
  now: { deploymentId: string; commit: string; now: string },
): boolean {
  if (commit !== now.commit || !id.startsWith(`drift-${now.deploymentId}-`)) return false
  return endedAt === null || Date.parse(now.now) - Date.parse(endedAt) < reopenMs
}

function addEntry(
  entries: DriftEntry[],
  { drift, action }: { drift: Drift; action: string },
  now: string,
): DriftEntry[] {
  const key = entryKey(drift)
  const known = entries.find((entry) => entryKey(entry.drift) === key)
  const entry = {
    drift,
    action,
    firstSeenAt: known?.firstSeenAt ?? now,
    lastSeenAt: now,
    count: (known?.count ?? 0) + 1,
  }
  return [...entries.filter((other) => other !== known), entry].slice(-entryLimit)
}

function entryKey({ subject, field, found }: Drift): string {
  return JSON.stringify([subject, field, found])
}

/** What comes back within this time is one story: an app that dies every minute makes one check run, not sixty. */
const reopenMs = 10 * 60_000
/** More differences than anybody reads; a bound on the record and its check run. */
const entryLimit = 50
