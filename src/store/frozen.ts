/** What was frozen here. `Object.isFrozen` would also be true of an object frozen by others at its top only. */
const done = new WeakSet<object>()

/**
 * Freezes plain data, all the way down, and returns it. Parts frozen before are not walked again, so the cost follows
 * what changed: a caller can hold a stored record, and nobody can change it behind the store's back.
 */
export function frozen<T>(value: T): T {
  if (typeof value !== 'object' || value === null || done.has(value)) return value
  for (const part of Object.values(value)) frozen(part)
  done.add(Object.freeze(value))
  return value
}
