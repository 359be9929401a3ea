import { createHash } from 'node:crypto'

/** SHA-256, in hex, of a value's JSON with sorted keys: values that mean the same have the same hash. */
export function canonicalHash(value: unknown): string {
  return createHash('sha256')
    .update(JSON.stringify(value, (_, inner) => sorted(inner)))
    .digest('hex')
}

function sorted(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
}
