import { explain, TowlineError } from '../rollout/error.ts'
import { judgeReady, judgeSteady, type Sample, type Verdict } from '../rollout/gate.ts'
import type { HostWatch } from './host-watch.ts'
import type { DockerHost, Probe } from './ports.ts'
import { waitFor } from './wait.ts'

/** What a wait for containers needs. `deadlineMs` is how long it may take in all. */
type Watched = {
  host: DockerHost
  names: string[]
  deadlineMs: number
  signal: AbortSignal
}

export type Tracker = ReturnType<typeof createTracker>

/**
 * Follows containers on their real host until they are ready, or for a while after that. Docker's events make it
 * immediate; where they fail it looks every `pollMs`. Five looks in a row that fail end the wait.
 */
export function createTracker(options: { pollMs: number; watch: Pick<HostWatch, 'subscribe'> }) {
  /** Each start of a container, and when it was first seen, by our own steady clock: the host's may be set otherwise. */
  const starts = new Map<string, { startedAt: string; seenAtMs: number }>()

  function runningSince(container: string, startedAt: string): number {
    const known = starts.get(container)
    if (known?.startedAt === startedAt) return known.seenAtMs
    const seenAtMs = performance.now()
    starts.delete(container)
    starts.set(container, { startedAt, seenAtMs })
    const [oldest] = starts.keys()
    if (starts.size > startLimit && oldest !== undefined) starts.delete(oldest)
    return seenAtMs
  }

  /** @throws TowlineError `rejected` where a container proved bad or time ran out, `temporary` where the host does not answer. */
  async function awaitReady({
    created,
    settleMs,
    ...watched
  }: Watched & { created: string[]; settleMs: number }) {
    const baselines = new Map(created.map((name) => [name, 0]))
    await until(watched, {
      untilMs: performance.now() + Math.min(watched.deadlineMs, maximumWaitMs),
      // Once Docker says healthy, that is the answer.
      check: (_name, health) => health === 'starting',
      look: (name, sample) => {
        const baselineRestarts = baselines.get(name) ?? sample.restartCount
        baselines.set(name, baselineRestarts)
        return judgeReady(sample, { baselineRestarts, settleMs, nowMs: performance.now() })
      },
      onReturn: () => baselines.clear(),
    })
  }

  /** @throws TowlineError `rejected` as soon as a container does not stay ready. */
  async function watchSteady({
    monitorMs,
    started,
    ...watched
  }: Omit<Watched, 'deadlineMs'> & { monitorMs: number; started: string[] }) {
    const first = new Map<string, Sample>()
    const beganAtMs = performance.now()
    await until(watched, {
      untilMs: beganAtMs + monitorMs + recoveryMs,
      // For one that was just started a watch of no length is one look: its check passed a moment ago. A site's server
      // stood before, and serves another release since: only its check can tell.
      check: (name, health) => health !== 'none' && (monitorMs > 0 || !started.includes(name)),
      look: (name, sample) => {
        const start = first.get(name) ?? sample
        first.set(name, start)
        const verdict = judgeSteady(start, sample)
        if (verdict.kind !== 'ready') return verdict
        // Without a health check, having run for `monitorMs` since its start is all that can be seen.
        const steadyAtMs = (sample.health === 'none' ? sample.runningSinceMs : beganAtMs) + monitorMs
        if (performance.now() >= steadyAtMs) return verdict
        return { kind: 'waiting', message: 'answers, still watched', lookAgainAtMs: steadyAtMs }
      },
      onReturn: () => first.clear(),
    })
  }

  async function until(
    { host, names, signal }: Omit<Watched, 'deadlineMs'>,
    judge: {
      untilMs: number
      check: (name: string, health: Sample['health']) => boolean
      look: (name: string, sample: Sample) => Verdict
      /** The host was away and is back: its Engine may have started every container anew. */
      onReturn: () => void
    },
  ): Promise<void> {
    const open = new Set(names)
    let errorCount = 0
    let returnedAtMs = Number.NEGATIVE_INFINITY
    let checkDelayMs = firstCheckDelayMs
    // Bounded by `untilMs`: every turn either ends or waits at least a millisecond.
    for (;;) {
      let lookAgainAtMs = performance.now() + options.pollMs
      let message = ''
      try {
        for (const name of [...open]) {
          const probe = await host.probe(name, { signal })
          const runningSinceMs = runningSince(`${host.name} ${name}`, probe.startedAt)
          const sample = await takeSample(host, name, { probe, runningSinceMs, check: judge.check, signal })
          if (errorCount > 0) {
            errorCount = 0
            returnedAtMs = performance.now()
          }
          const isJustBack = performance.now() - returnedAtMs < engineReturnMs
          if (isJustBack) judge.onReturn()
          const verdict = excuse(judge.look(name, sample), isJustBack)
          if (verdict.kind === 'ready') open.delete(name)
          else if (verdict.kind === 'failed') throw rejected(name, verdict.reason)
          else {
            message = `${name}: ${verdict.message}`
            const againMs = verdict.lookAgainAtMs ?? performance.now() + checkDelayMs
            lookAgainAtMs = Math.min(lookAgainAtMs, againMs)
          }
        }
        errorCount = 0
      } catch (error) {
        if (!(error instanceof TowlineError) || error.fault !== 'temporary' || signal.aborted) throw error
        errorCount += 1
        if (errorCount >= errorLimit) {
          throw new TowlineError(
            `host ${host.name} failed ${errorLimit} looks in a row: ${explain(error).reason}`,
            {
              fault: 'temporary',
              hint: error.hint,
              cause: error,
            },
          )
        }
      }
      if (open.size === 0) return
      if (performance.now() >= judge.untilMs) {
        throw new TowlineError(`not ready in time: ${message || [...open].join(', ')}`, {
          fault: 'rejected',
          hint: 'Look at the log lines below; allow more time with rollout.progressDeadline if it only starts slowly.',
        })
      }
      checkDelayMs = Math.min(checkDelayMs * 1.5, checkDelayCapMs)
      await waitFor({
        ms: Math.max(1, Math.min(lookAgainAtMs, judge.untilMs) - performance.now()),
        signal,
        onWake: (wake) => options.watch.subscribe(host.name, wake),
      })
    }
  }

  return { awaitReady, watchSteady }
}

/** An Engine that comes back shows its containers as ended before it has started them again. */
function excuse(verdict: Verdict, isJustBack: boolean): Verdict {
  if (verdict.kind !== 'failed' || !isJustBack) return verdict
  return { kind: 'waiting', message: `${verdict.reason}; its Engine came back just now`, lookAgainAtMs: null }
}

async function takeSample(
  host: DockerHost,
  name: string,
  {
    probe,
    runningSinceMs,
    check,
    signal,
  }: {
    probe: Probe
    runningSinceMs: number
    check: (name: string, health: Sample['health']) => boolean
    signal: AbortSignal
  },
): Promise<Sample> {
  const mayCheck = probe.state === 'running' && check(name, probe.health)
  return {
    state: probe.state,
    health: probe.health,
    restartCount: probe.restartCount,
    startedAt: probe.startedAt,
    runningSinceMs,
    exitCode: probe.exitCode,
    checkPassed: mayCheck ? await host.checkHealth(name, { signal }) : null,
  }
}

function rejected(name: string, reason: string): TowlineError {
  return new TowlineError(`container ${name}: ${reason}`, {
    fault: 'rejected',
    hint: 'The log lines below are its last words. Mend the app or its health check and push again.',
  })
}

/** Longest wait of one phase, whatever a spec asks for. */
const maximumWaitMs = 30 * 60_000
/** How long a check may go on failing after the watch before the release counts as bad. */
const recoveryMs = 10_000
const errorLimit = 5
/** An Engine starts its containers anew within seconds of its own start. */
const engineReturnMs = 15_000
/** Far more containers than are waited for at a time. */
const startLimit = 5_000
/**
 * A server that listens 20 ms after its start should not wait long for a second look; a slow one should not be asked
 * 20 times a second. A check itself takes the host about 50 ms.
 */
const firstCheckDelayMs = 20
const checkDelayCapMs = 2_000
