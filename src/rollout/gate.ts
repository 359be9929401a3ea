import type { ContainerState, Health } from './observed.ts'

/** What one look at a container gave. Times in milliseconds since the epoch. */
export type Sample = {
  state: ContainerState | 'missing'
  health: Health
  restartCount: number
  /** Docker's own time of its start, by the host's clock: another one means another start, and nothing is counted from it. */
  startedAt: string
  /** Since when this start was seen running, by the clock of whoever looks. */
  runningSinceMs: number
  exitCode: number | null
  /** Outcome of running the container's own health check just now; null where it was not run. */
  checkPassed: boolean | null
}

export type Verdict =
  | { kind: 'ready' }
  /** Look again at this time at the latest. */
  | { kind: 'waiting'; message: string; lookAgainAtMs: number | null }
  | { kind: 'failed'; reason: string }

/**
 * May the release be switched to? Docker's health decides where there is a health check; a pass of the same check run
 * by ourselves counts at once, because Docker's first run comes only after a whole interval. Without a health check
 * a container is ready after `settleMs` of running without a restart. `baselineRestarts` is the count a container
 * brought along from before this wait: 0 for one just created.
 */
export function judgeReady(
  sample: Sample,
  options: { baselineRestarts: number; settleMs: number; nowMs: number },
): Verdict {
  const broken = judgeAlive(sample, options.baselineRestarts)
  if (broken) return broken
  switch (sample.health) {
    case 'healthy':
      return { kind: 'ready' }
    case 'unhealthy':
      return { kind: 'failed', reason: 'its health check failed as often as retries allow' }
    case 'starting':
      if (sample.checkPassed) return { kind: 'ready' }
      return { kind: 'waiting', message: 'health check not passed yet', lookAgainAtMs: null }
    case 'none': {
      const settledAtMs = sample.runningSinceMs + options.settleMs
      if (options.nowMs >= settledAtMs) return { kind: 'ready' }
      return { kind: 'waiting', message: 'running, not settled yet', lookAgainAtMs: settledAtMs }
    }
    default:
      return sample.health satisfies never
  }
}

/** Does a release that was ready still stand? `first` is the look at the start of the watch. */
export function judgeSteady(first: Sample, sample: Sample): Verdict {
  const broken = judgeAlive(sample, first.restartCount)
  if (broken) return broken
  if (sample.startedAt !== first.startedAt) {
    return { kind: 'failed', reason: 'it restarted while it was watched' }
  }
  if (sample.health === 'unhealthy') {
    return { kind: 'failed', reason: 'it became unhealthy while it was watched' }
  }
  // One failed check is no proof: Docker itself allows retries. How long the watch goes on decides.
  if (sample.checkPassed === false) {
    return { kind: 'waiting', message: 'its health check does not pass', lookAgainAtMs: null }
  }
  return { kind: 'ready' }
}

function judgeAlive(sample: Sample, baselineRestarts: number): Verdict | null {
  switch (sample.state) {
    case 'running':
      return sample.restartCount > baselineRestarts
        ? {
            kind: 'failed',
            reason: `it restarted ${times(sample.restartCount - baselineRestarts)}, last with ${exit(sample)}`,
          }
        : null
    case 'missing':
      return { kind: 'failed', reason: 'it is gone' }
    case 'restarting':
      return { kind: 'failed', reason: `it keeps restarting, last with ${exit(sample)}` }
    case 'created':
      return { kind: 'waiting', message: 'created, not started yet', lookAgainAtMs: null }
    case 'exited':
    case 'dead':
    case 'paused':
    case 'removing':
      return { kind: 'failed', reason: `it is ${sample.state} with ${exit(sample)}` }
    default:
      return sample.state satisfies never
  }
}

function exit(sample: Sample): string {
  return sample.exitCode === null ? 'no exit code' : `exit code ${sample.exitCode}`
}

function times(count: number): string {
  return count === 1 ? 'once' : `${count} times`
}
