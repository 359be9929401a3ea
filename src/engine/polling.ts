import { backoffMs, sleep } from './wait.ts'

/**
 * Polls again and again, `intervalMs` apart, until the signal aborts. The first time is an interval after the call. While
 * polls find nobody to answer, the distance grows. `poll` must not reject.
 */
export async function keepPolling(options: {
  intervalMs: number
  /** Resolves to whether anybody answered. */
  poll: () => Promise<boolean>
  signal: AbortSignal
}): Promise<void> {
  const { intervalMs, signal } = options
  const backoff = { baseMs: intervalMs, capMs: Math.max(intervalMs, longestMs) }
  let failureCount = 0
  for (;;) {
    await sleep(backoffMs(failureCount + 1, backoff), signal).catch(() => {})
    if (signal.aborted) return
    failureCount = (await options.poll()) ? 0 : failureCount + 1
  }
}

/** As often as the sweep looks by default. */
const longestMs = 5 * 60_000
