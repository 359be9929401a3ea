/** Priorities: what a person waits for comes before what the sweep found. */
export type Priority = 'user' | 'sweep'

/** A queue of keys. A key is only "look again at this": what to do is read afresh when its turn comes. */
export type WorkQueue = {
  /**
   * Adds a key. One that waits already keeps its earlier due time and its higher priority; one that is being worked
   * on is never handed out twice but runs once more afterwards.
   */
  add(key: string, options?: { delayMs?: number; priority?: Priority }): void
  /** True while the key waits or is in work. */
  has(key: string): boolean
  /** Begins to hand keys out. Until then they only gather. */
  start(): void
  /** Keys waiting and keys in work. */
  size(): { waiting: number; running: number }
  /** Takes no more keys and resolves when the running ones have ended. */
  stop(): Promise<void>
}

type Entry = { dueAtMs: number; priority: Priority; order: number }

/**
 * Hands keys to `run`, at most `total` at once and `perGroup` of one group (a host). Fair: first come, first served
 * within a priority, and a key that comes again goes to the back. Bounded by the number of keys there are.
 * `run` must not throw; what it rejects with goes to `onError`.
 */
export function createWorkQueue(options: {
  total: number
  perGroup: number
  groupOf: (key: string) => string
  run: (key: string) => Promise<void>
  onError: (key: string, error: unknown) => void
}): WorkQueue {
  const waiting = new Map<string, Entry>()
  const running = new Map<string, Promise<void>>()
  const groupCount = new Map<string, number>()
  let stopped = false
  let started = false
  let order = 0
  let timer: NodeJS.Timeout | undefined

  function add(
    key: string,
    { delayMs = 0, priority = 'sweep' }: { delayMs?: number; priority?: Priority } = {},
  ) {
    if (stopped) return
    const dueAtMs = performance.now() + delayMs
    const known = waiting.get(key)
    waiting.set(key, {
      dueAtMs: Math.min(dueAtMs, known?.dueAtMs ?? dueAtMs),
      priority: known?.priority === 'user' ? 'user' : priority,
      order: known?.order ?? order++,
    })
    dispatch()
  }

  function dispatch() {
    if (stopped || !started) return
    // Read once: what became due between two looks at the clock would be neither started nor waited for. A steady clock: one
    // that is put back would keep everything waiting.
    const nowMs = performance.now()
    while (running.size < options.total) {
      const key = next(nowMs)
      if (key === null) break
      waiting.delete(key)
      start(key)
    }
    wakeForNextDue(nowMs)
  }

  function next(nowMs: number): string | null {
    let best: { key: string; entry: Entry } | null = null
    for (const [key, entry] of waiting) {
      if (entry.dueAtMs > nowMs || running.has(key)) continue
      if ((groupCount.get(options.groupOf(key)) ?? 0) >= options.perGroup) continue
      if (!best || comesBefore(entry, best.entry)) best = { key, entry }
    }
    return best?.key ?? null
  }

  function start(key: string) {
    const group = options.groupOf(key)
    groupCount.set(group, (groupCount.get(group) ?? 0) + 1)
    const work = options
      .run(key)
      .catch((error: unknown) => options.onError(key, error))
      .finally(() => {
        running.delete(key)
        groupCount.set(group, (groupCount.get(group) ?? 1) - 1)
        dispatch()
      })
    running.set(key, work)
  }

  function wakeForNextDue(nowMs: number) {
    clearTimeout(timer)
    const due = [...waiting.values()].filter(({ dueAtMs }) => dueAtMs > nowMs).map(({ dueAtMs }) => dueAtMs)
    if (due.length === 0) return
    timer = setTimeout(dispatch, Math.min(...due) - nowMs)
    timer.unref()
  }

  return {
    add,
    has: (key) => waiting.has(key) || running.has(key),
    start() {
      started = true
      dispatch()
    },
    size: () => ({ waiting: waiting.size, running: running.size }),
    async stop() {
      stopped = true
      clearTimeout(timer)
      waiting.clear()
      await Promise.all(running.values())
    },
  }
}

function comesBefore(a: Entry, b: Entry): boolean {
  if (a.priority !== b.priority) return a.priority === 'user'
  return a.order < b.order
}
