import { TowlineError } from '../rollout/error.ts'
import { startDeadline } from '../time/deadline.ts'

/** Longest time one request to GitHub may take. GitHub itself gives up on a request after 10 s. */
export const requestTimeoutMs = 30_000

/** Runs one call to GitHub under a deadline and says what became of it in our terms. */
export async function callGitHub<T>(
  what: string,
  signal: AbortSignal,
  call: (request: { signal: AbortSignal }) => Promise<T>,
): Promise<T> {
  using deadline = startDeadline({ signal, ms: requestTimeoutMs })
  try {
    return await call({ signal: deadline.signal })
  } catch (error) {
    if (signal.aborted) throw signal.reason
    throw translate(what, error)
  }
}

/** What an Octokit error carries; anything else never reached GitHub. */
type RequestFailure = {
  status?: unknown
  message?: unknown
  response?: { headers?: Record<string, unknown> }
}

/** The HTTP status GitHub refused a request with; 0 where none came, which Octokit itself calls a 500. */
export function statusOf(error: unknown): number {
  const { status, response } = failureOf(error)
  return typeof status === 'number' && response !== undefined ? status : 0
}

function failureOf(error: unknown): RequestFailure {
  return typeof error === 'object' && error !== null ? error : {}
}

function translate(what: string, error: unknown): TowlineError {
  const failure = failureOf(error)
  const status = statusOf(error)
  const said = typeof failure.message === 'string' ? failure.message.slice(0, messageLimit) : ''
  const headers = failure.response?.headers ?? {}
  const fail = (fault: TowlineError['fault'], hint: string, retryAfterMs?: number) =>
    new TowlineError(
      `GitHub did not ${what}: ${status === 0 ? `no answer${said && ` (${said})`}` : `${status} ${said}`}`,
      {
        fault,
        hint,
        cause: error,
        ...(retryAfterMs !== undefined && { retryAfterMs }),
      },
    )
  if (status === 429 || (status === 403 && isRateLimit(headers, said))) {
    return fail('temporary', 'GitHub limits the rate; Towline waits as long as asked.', waitAskedMs(headers))
  }
  if (status === 0 || status >= 500) return fail('temporary', 'Towline tries again.')
  if (status === 401)
    return fail('operator', 'Check APP_ID and the private key, and the clock of this machine.')
  if (status === 403)
    return fail('operator', 'Give the App the permissions of app.yml and accept them where it is installed.')
  if (status === 404)
    return fail('operator', 'Check that the repository exists and the App is installed on it.')
  return fail('bug', 'GitHub refused the content of this request.')
}

function isRateLimit(headers: Record<string, unknown>, said: string): boolean {
  return (
    headers['retry-after'] !== undefined ||
    headers['x-ratelimit-remaining'] === '0' ||
    // The one case GitHub marks by words alone: a secondary limit without a header.
    /secondary rate limit/i.test(said)
  )
}

/** `retry-after` in seconds, else the time the limit resets, else a minute, as GitHub's documentation asks. */
function waitAskedMs(headers: Record<string, unknown>): number {
  const retryAfterS = Number(headers['retry-after'])
  if (retryAfterS > 0) return Math.min(retryAfterS * 1_000, longestWaitMs)
  const resetS = Number(headers['x-ratelimit-reset'])
  const untilResetMs = resetS * 1_000 - Date.now()
  return untilResetMs > 0 ? Math.min(untilResetMs, longestWaitMs) : 60_000
}

/** Primary limits reset within the hour. */
const longestWaitMs = 3_600_000
const messageLimit = 300
