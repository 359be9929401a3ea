import { TowlineError } from '../rollout/error.ts'

/** Longest duration a document may name. It keeps every timer far below Node's limit of 2³¹ ms. */
const maxDurationMs = 24 * 60 * 60 * 1000

const unitMs: Record<string, number> = { us: 0.001, ms: 1, s: 1000, m: 60_000, h: 3_600_000 }

/**
 * Milliseconds of a duration in Compose's form (`1m30s`, `500ms`); a number counts seconds. Fractions of a
 * millisecond are rounded.
 * @throws TowlineError `input` where it is none, and beyond 24 hours.
 */
export function parseDuration(value: string | number): number {
  const text = typeof value === 'number' ? `${value}s` : value
  const parts = [...text.matchAll(/(?<number>\d+(?:\.\d+)?)(?<unit>us|ms|s|m|h)/g)]
  const isWhole = parts.length > 0 && parts.map(([part]) => part).join('') === text
  const ms = parts.reduce(
    (sum, { groups }) => sum + Number(groups?.number) * (unitMs[groups?.unit ?? ''] ?? 0),
    0,
  )
  if (isWhole && ms <= maxDurationMs) return Math.round(ms)
  throw new TowlineError(`"${value}" is not a duration of at most 24 hours`, {
    fault: 'input',
    hint: 'Write a duration such as 90s, 1m30s or 500ms',
  })
}

/** The same where zero would mean nothing. */
export function parsePositiveDuration(value: string | number): number {
  const ms = parseDuration(value)
  if (ms > 0) return ms
  throw new TowlineError(`"${value}" is shorter than a millisecond`, {
    fault: 'input',
    hint: 'Write a duration such as 30s',
  })
}
