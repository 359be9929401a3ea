import type { Fault } from './error.ts'
import { isTerminal, type Phase, phaseProgress, phaseRank, type WorkPhase } from './phase.ts'
import type { Release } from './release.ts'
import type { TargetKey } from './target.ts'

/** What asked for a deployment. `rebuild` stands for whatever did, where the records were lost and rebuilt. */
export type Trigger = 'push' | 'rerun' | 'sweep' | 'cli' | 'api' | 'rebuild'

/**
 * Why a deployment counts as stuck: its absolute deadline passed, its phase did not get on, or nobody works on it
 * though its claim lapsed.
 */
export type StuckReason = 'deadline' | 'progress' | 'claim'

/** How a deployment ended. `phase` is where it stood when it ended. */
export type Result =
  | { kind: 'succeeded' }
  | {
      kind: 'failed'
      phase: Phase
      fault: Fault
      reason: string
      hint: string
      logTail: string[]
      /** Set where the watch for stuck deployments ended it: why it counted as stuck. */
      stuck?: StuckReason
      /** What became of the release before: `serving`, `restored`, `none` (there was none), or why it could not be put back. */
      previous: string
    }
  | { kind: 'superseded'; phase: Phase; by: string }
  | { kind: 'cancelled'; phase: Phase; reason: string }

export type HistoryEntry = { phase: Phase; progress: number; at: string; message: string }

/** One durable attempt to bring a target to an input hash. Changed only by `advance`. */
export type Deployment = {
  id: string
  target: TargetKey
  /** Commit of the config repo that asked for it. */
  commit: string
  /** Hash of all the repo and the operator say; known when queued. */
  specHash: string
  /** 1 for the automatic attempt, higher for each re-run of the same spec. */
  attempt: number
  trigger: Trigger
  phase: Phase
  /** 0–100, never falling except to `failed`. */
  progress: number
  /** What the phase is doing now, in a few words. */
  message: string
  /** Set when sources are pinned, in `pulling_source`. */
  release: Release | null
  /** What the plan changes, one line a step; set together with `release`. */
  changes: string[]
  /** How often a start of the server found it unfinished and went on with it. */
  resumedCount: number
  createdAt: string
  startedAt: string | null
  phaseUpdatedAt: string
  /** Absolute time after which it counts as stuck; counted from its start, until then from its queueing. */
  deadlineAt: string
  endedAt: string | null
  history: HistoryEntry[]
  result: Result | null
}

export type DeploymentEvent =
  | { type: 'phase'; phase: WorkPhase; message?: string; progress?: number }
  | { type: 'pinned'; release: Release; changes: string[] }
  | { type: 'resumed'; message: string }
  /** Still queued, and this is what for. */
  | { type: 'waiting'; message: string }
  | { type: 'succeeded'; message?: string }
  | {
      type: 'failed'
      fault: Fault
      reason: string
      hint: string
      logTail: string[]
      previous: string
      stuck?: StuckReason
    }
  | { type: 'superseded'; by: string }
  | { type: 'cancelled'; reason: string }

/** A deployment that waits for its claim. `now` is an ISO time. */
export function queueDeployment(options: {
  id: string
  target: TargetKey
  commit: string
  specHash: string
  attempt: number
  trigger: Trigger
  now: string
  deadlineAt: string
}): Deployment {
  const { id, target, commit, specHash, attempt, trigger, now, deadlineAt } = options
  return {
    id,
    target,
    commit,
    specHash,
    attempt,
    trigger,
    deadlineAt,
    phase: 'queued',
    progress: 0,
    message: 'waiting for a worker',
    release: null,
    changes: [],
    resumedCount: 0,
    createdAt: now,
    startedAt: null,
    phaseUpdatedAt: now,
    endedAt: null,
    history: [{ phase: 'queued', progress: 0, at: now, message: 'queued' }],
    result: null,
  }
}

/**
 * The only way a deployment changes. An event that is late (the deployment has ended) or would move it backwards
 * returns the same object, so a caller can tell by identity that nothing happened.
 */
export function advance(deployment: Deployment, event: DeploymentEvent, now: string): Deployment {
  if (isTerminal(deployment.phase)) return deployment
  switch (event.type) {
    case 'phase':
      return enterPhase(deployment, event, now)
    case 'pinned':
      return { ...deployment, release: event.release, changes: event.changes, phaseUpdatedAt: now }
    case 'resumed':
      return record(
        {
          ...deployment,
          resumedCount: deployment.resumedCount + 1,
          message: event.message,
          // Nobody worked on it meanwhile, and the limit is on the work.
          deadlineAt: laterBy(deployment.deadlineAt, { from: deployment.phaseUpdatedAt, to: now }),
        },
        now,
        event.message,
      )
    case 'waiting':
      if (deployment.phase !== 'queued' || deployment.message === event.message) return deployment
      return { ...deployment, message: event.message, phaseUpdatedAt: now }
    case 'succeeded':
      return end(deployment, { kind: 'succeeded' }, now, event.message ?? 'active')
    case 'failed': {
      const { type: _, ...why } = event
      return end(deployment, { kind: 'failed', phase: deployment.phase, ...why }, now, event.reason)
    }
    case 'superseded':
      return end(
        deployment,
        { kind: 'superseded', phase: deployment.phase, by: event.by },
        now,
        `superseded by ${event.by}`,
      )
    case 'cancelled':
      return end(
        deployment,
        { kind: 'cancelled', phase: deployment.phase, reason: event.reason },
        now,
        event.reason,
      )
    default:
      return event satisfies never
  }
}

/** True while a worker may still act for it. */
export function isOpen(deployment: Deployment): boolean {
  return !isTerminal(deployment.phase)
}

function enterPhase(
  deployment: Deployment,
  event: { phase: WorkPhase; message?: string; progress?: number },
  now: string,
): Deployment {
  const step = phaseRank(event.phase) - phaseRank(deployment.phase)
  if (step < 0) return deployment
  const message = event.message ?? deployment.message
  const progress = Math.max(deployment.progress, phaseProgress[event.phase], event.progress ?? 0)
  if (step === 0 && progress === deployment.progress && message === deployment.message) return deployment
  const moved = {
    ...deployment,
    // The limit is on the work: time spent waiting for a dependency or the end of a pause does not count.
    deadlineAt: deployment.startedAt === null ? shiftDeadline(deployment, now) : deployment.deadlineAt,
    phase: event.phase,
    progress,
    message,
    startedAt: deployment.startedAt ?? now,
    phaseUpdatedAt: now,
  }
  return step === 0 ? moved : record(moved, now, message)
}

function shiftDeadline({ deadlineAt, createdAt }: Deployment, startedAt: string): string {
  return laterBy(deadlineAt, { from: createdAt, to: startedAt })
}

/** Never earlier: a clock that was put back takes no time away. */
function laterBy(at: string, span: { from: string; to: string }): string {
  const passedMs = Math.max(0, Date.parse(span.to) - Date.parse(span.from))
  return new Date(Date.parse(at) + passedMs).toISOString()
}

function end(deployment: Deployment, result: Result, now: string, message: string): Deployment {
  const phase = result.kind === 'succeeded' ? 'active' : 'failed'
  const ended = {
    ...deployment,
    phase,
    progress: phaseProgress[phase],
    message,
    phaseUpdatedAt: now,
    endedAt: now,
    result,
  } as const
  return record(ended, now, message)
}

function record(deployment: Deployment, now: string, message: string): Deployment {
  const entry = { phase: deployment.phase, progress: deployment.progress, at: now, message }
  return { ...deployment, phaseUpdatedAt: now, history: [...deployment.history, entry].slice(-historyLimit) }
}

/** Nine phases, a few resumes; a bound so that a crash loop cannot grow a record without end. */
const historyLimit = 40
