import type { Deployment, StuckReason } from './deployment.ts'
import { TowlineError } from './error.ts'

/** What the watch knows of an open deployment besides its record. */
export type StuckFacts = {
  /** True while a worker of this process acts for it, or it waits for one. */
  inWork: boolean
  /** How long its phase, progress and message have been seen to stand still, by a clock nobody can put forward. */
  unmovedMs: number
  /** How long one phase may take without getting on. */
  progressDeadlineMs: number
  nowMs: number
}

/** Ends the work on a deployment that is stuck; what it says is why. */
export class StuckError extends TowlineError {
  readonly stuck: StuckReason

  constructor(stuck: StuckReason, deployment: Deployment, limitMs: number) {
    super(wording[stuck](deployment, Math.round(limitMs / 60_000)), { fault: 'rejected', hint: hints[stuck] })
    this.stuck = stuck
  }
}

/**
 * Why an open deployment counts as stuck, or null where it gets on. One that waits in the queue for a dependency, a pause or
 * its host is not stuck: its limits count from the start of its work.
 */
export function findStuck(deployment: Deployment, facts: StuckFacts): StuckReason | null {
  if (deployment.result !== null || deployment.startedAt === null) return null
  if (!facts.inWork && facts.unmovedMs >= claimLapseMs) return 'claim'
  // Its worker has a timer of its own for this; one that did not act on it does not move either.
  if (facts.nowMs >= Date.parse(deployment.deadlineAt) && facts.unmovedMs >= deadlineMarginMs)
    return 'deadline'
  return facts.unmovedMs >= phaseLimitMs(deployment, facts.progressDeadlineMs) ? 'progress' : null
}

/** What one phase may take: the operator's or the spec's limit, and the time the release asked to be watched for. */
export function phaseLimitMs({ release }: Deployment, progressDeadlineMs: number): number {
  return progressDeadlineMs + (release?.monitorMs ?? 0) + phaseMarginMs
}

const wording: Record<StuckReason, (deployment: Deployment, minutes: number) => string> = {
  deadline: (_deployment, minutes) =>
    `stuck: not finished after ${minutes} min, the limit of a whole deployment`,
  progress: ({ phase, message }, minutes) =>
    `stuck: ${phase} did not get on for ${minutes} min (${message || 'nothing was said'})`,
  claim: ({ phase }) => `stuck: nobody works on it in ${phase}, and its claim has lapsed`,
}

const hints: Record<StuckReason, string> = {
  deadline: 'Raise limits.deadline in server.yaml if it really needs longer.',
  progress: 'Look at the host and the app; raise rollout.progressDeadline if the phase only takes long.',
  claim: 'This is a fault of Towline or of its store: see the server log. Re-run tries again.',
}

/** A worker renews its claim every 20 s; one that did not for two minutes is gone. */
const claimLapseMs = 120_000
/** Time for the worker's own timer to end the work first. */
const deadlineMarginMs = 60_000
/** The waits of a phase end at the limit by themselves and say more about why; the watch comes after them. */
const phaseMarginMs = 30_000
