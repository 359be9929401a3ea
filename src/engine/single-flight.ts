/**
 * Runs `work` for a key, never twice at once. A call while one runs asks for exactly one more run afterwards, shared
 * by all who ask meanwhile, because the running one may have read too early for them.
 */
export function singleFlight<T>(work: (key: string, force: boolean) => Promise<T>) {
  type Slot = { running: Promise<T>; next: { promise: Promise<T>; force: boolean } | null }
  const slots = new Map<string, Slot>()

  function begin(key: string, force: boolean): Promise<T> {
    const slot: Slot = { running: work(key, force), next: null }
    slots.set(key, slot)
    const end = () => {
      if (slots.get(key) === slot && slot.next === null) slots.delete(key)
    }
    slot.running.then(end, end)
    return slot.running
  }

  return {
    /** `force` of any caller holds for the shared run. */
    run(key: string, { force = false }: { force?: boolean } = {}): Promise<T> {
      const slot = slots.get(key)
      if (!slot) return begin(key, force)
      if (slot.next) {
        slot.next.force ||= force
        return slot.next.promise
      }
      const next = { force, promise: Promise.resolve() as Promise<unknown> as Promise<T> }
      next.promise = slot.running.then(
        () => begin(key, next.force),
        () => begin(key, next.force),
      )
      slot.next = next
      return next.promise
    },
    /** Resolves when nothing runs any more. */
    async idle(): Promise<void> {
      while (slots.size > 0) {
        await Promise.allSettled([...slots.values()].map(({ running, next }) => next?.promise ?? running))
      }
    },
  }
}
