import { errorBody } from './answer.ts'

/** Which requests a fault meets. `pathPattern` is tried on the path without its query; absent parts match all. */
export type FaultFilter = { method?: string; pathPattern?: RegExp; times?: number }

export type Failure = FaultFilter & {
  status: number
  headers?: Record<string, string>
  /** Default: GitHub's message for a rate limit or the status. */
  message?: string
}

/**
 * `before` cuts the connection and does nothing; `after` does what was asked and cuts before the answer, so that the
 * caller cannot know. Git requests are always cut before.
 */
export type Cut = FaultFilter & { moment?: 'before' | 'after' }

export type Fault =
  | { kind: 'fail'; status: number; headers: Record<string, string>; body: object }
  | { kind: 'cut'; moment: 'before' | 'after' }

type Armed = { filter: FaultFilter; remaining: number; fault: Fault }

/** Faults waiting for the next requests that match; the first armed strikes first. */
export function createFaults() {
  let armed: Armed[] = []
  let latencyMs = 0

  function arm(filter: FaultFilter, fault: Fault): void {
    armed.push({ filter, remaining: filter.times ?? 1, fault })
  }

  return {
    failNext({ status, headers = {}, message, ...filter }: Failure): void {
      const body = errorBody(status, message ?? messageOf(status, headers))
      arm(filter, { kind: 'fail', status, headers, body })
    },
    cutNext({ moment = 'before', ...filter }: Cut): void {
      arm(filter, { kind: 'cut', moment })
    },
    setLatency(ms: number): void {
      latencyMs = ms
    },
    latencyMs: () => latencyMs,
    /** The fault that meets a request, used up by it. */
    take(method: string, path: string): Fault | null {
      const found = armed.find(({ filter }) => matches(filter, method, path))
      if (!found) return null
      found.remaining -= 1
      armed = armed.filter((one) => one.remaining > 0)
      return found.fault
    },
    clear(): void {
      armed = []
      latencyMs = 0
    },
  }
}

function matches(filter: FaultFilter, method: string, path: string): boolean {
  if (filter.method !== undefined && filter.method !== method) return false
  return filter.pathPattern?.test(path) ?? true
}

function messageOf(status: number, headers: Record<string, string>): string {
  if ((status === 403 || status === 429) && 'retry-after' in headers) {
    return 'You have exceeded a secondary rate limit. Please wait a few minutes before you try again.'
  }
  return status >= 500 ? 'Server Error' : 'Refused on purpose'
}
