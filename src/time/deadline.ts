/** The time one piece of work may take. Held with `using`: nothing of it outlives the work. */
export type Deadline = Disposable & {
  /** Aborts with the outer signal, or with a `TimeoutError` once the time is over. */
  signal: AbortSignal
  /** True where the time was over first. */
  readonly passed: boolean
}

/**
 * Starts the clock. In place of `AbortSignal.any([signal, AbortSignal.timeout(ms)])`: as of Node.js 24 that keeps, for
 * the life of the process, each such signal that another one is made of, and each timer until it has run out
 * (`gcPersistentSignals` in `lib/internal/abort_controller.js`).
 */
export function startDeadline({ signal, ms }: { signal: AbortSignal; ms: number }): Deadline {
  const controller = new AbortController()
  let passed = false
  const follow = () => controller.abort(signal.reason)
  const timer = setTimeout(() => {
    passed = !controller.signal.aborted
    controller.abort(new DOMException('The operation was aborted due to timeout', 'TimeoutError'))
  }, ms)
  timer.unref()
  if (signal.aborted) follow()
  else signal.addEventListener('abort', follow, { once: true })
  return {
    signal: controller.signal,
    get passed() {
      return passed
    },
    [Symbol.dispose]() {
      clearTimeout(timer)
      signal.removeEventListener('abort', follow)
    },
  }
}
