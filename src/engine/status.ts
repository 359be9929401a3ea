import type { Counter } from './statistics.ts'

/** What one look at a whole installation shows an operator: nothing here is decided upon. Times are ISO. */
export type EngineStatus = {
  startedAt: string
  /** False until every unfinished deployment of an earlier process was examined. */
  recovered: boolean
  /** A host that gives no answer is unknown since then; what runs on it may be fine. */
  hosts: { host: string; engineId: string | null; unknownSince: string | null; lastSeenAt: string | null }[]
  queue: { waiting: number; running: number }
  lastSweep: { at: string; durationMs: number } | null
  /** Things of ours that nothing explains, waiting for their grace to pass or kept for the reason given. */
  orphans: OrphanStatus[]
  counts: Record<Counter, number>
}

export type OrphanStatus = {
  host: string
  kind: 'container' | 'network' | 'volume' | 'image' | 'site' | 'release'
  name: string
  /** Why nothing explains it. */
  reason: string
  firstSeenAt: string
  /** When it is removed; null where it is only reported. */
  removeAfter: string | null
}
