import { Refusal } from './answer.ts'

const windowMs = 60 * 60 * 1000

/** GitHub's primary limit: so many requests an hour for each caller, told in a header on every answer. */
export function createRateLimit(requestsPerHour: number) {
  const windows = new Map<string, { used: number; resetAtMs: number }>()

  return {
    /** Counts a request. Returns the headers of its answer and, where the limit is passed, the refusal. */
    count(caller: string, nowMs = Date.now()): { headers: Record<string, string>; refusal: Refusal | null } {
      let window = windows.get(caller)
      if (!window || window.resetAtMs <= nowMs) {
        window = { used: 0, resetAtMs: nowMs + windowMs }
        windows.set(caller, window)
      }
      const refusal =
        window.used >= requestsPerHour ? new Refusal(403, `API rate limit exceeded for ${caller}.`) : null
      if (!refusal) window.used += 1
      const headers = {
        'x-ratelimit-limit': String(requestsPerHour),
        'x-ratelimit-remaining': String(requestsPerHour - window.used),
        'x-ratelimit-used': String(window.used),
        'x-ratelimit-reset': String(Math.ceil(window.resetAtMs / 1000)),
        'x-ratelimit-resource': 'core',
      }
      return { headers, refusal }
    },
  }
}
