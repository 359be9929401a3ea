/** Resolves after `ms`, or rejects with the signal's reason as soon as it aborts. */
export function sleep(ms: number, signal: AbortSignal): Promise<void> {
  return waitFor({ ms, signal, onWake: () => () => {} })
}

/**
 * Resolves after `ms` or when woken, whichever is first; rejects with the signal's reason as soon as it aborts.
 * `onWake` subscribes the given function and returns how to unsubscribe it.
 */
export function waitFor(options: {
  ms: number
  signal: AbortSignal
  onWake: (wake: () => void) => () => void
}): Promise<void> {
  const { signal } = options
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason)
    const finish = (settle: () => void) => () => {
      clearTimeout(timer)
      signal.removeEventListener('abort', abort)
      unsubscribe()
      settle()
    }
    const timer = setTimeout(() => wake(), options.ms)
    const wake = finish(resolve)
    const abort = finish(() => reject(signal.reason))
    const unsubscribe = options.onWake(() => wake())
    signal.addEventListener('abort', abort, { once: true })
  })
}

/** Exponential backoff with ±20 % of jitter, so that many failures do not come back in one beat. */
export function backoffMs(failureCount: number, options: { baseMs: number; capMs: number }): number {
  const ms = Math.min(options.capMs, options.baseMs * 2 ** Math.max(0, failureCount - 1))
  return ms * (0.8 + Math.random() * 0.4)
}
