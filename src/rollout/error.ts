/**
 * What a failure means for the next move. Code branches on this, never on a message.
 *
 * - `temporary`  the same call may succeed later (network, 5xx, rate limit, lock held)
 * - `input`      the config repo must change first
 * - `operator`   the operator's settings, credentials or host must change first
 * - `rejected`   the release itself proved bad: it exited, restarted or never became healthy
 * - `cancelled`  somebody or a newer revision stopped the work
 * - `stale`      this worker lost its claim; another one owns the target now
 * - `bug`        Towline broke a promise of its own
 */
export type Fault = 'temporary' | 'input' | 'operator' | 'rejected' | 'cancelled' | 'stale' | 'bug'

/** An error a person can act on: what happened to what, why, and what would be right. */
export class TowlineError extends Error {
  override readonly name = 'TowlineError'
  readonly fault: Fault
  /** One sentence that says what to do next. Empty where there is nothing to do. */
  readonly hint: string
  /** How long the other side asked us to wait before the next call; null where it did not say. */
  readonly retryAfterMs: number | null

  constructor(
    message: string,
    options: { fault: Fault; hint?: string; cause?: unknown; retryAfterMs?: number },
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.fault = options.fault
    this.hint = options.hint ?? ''
    this.retryAfterMs = options.retryAfterMs ?? null
  }
}

/** The fault of any thrown value. An error nobody translated is a bug of ours. */
export function faultOf(error: unknown): Fault {
  return error instanceof TowlineError ? error.fault : 'bug'
}

/** The message and the hint of any thrown value, for people. */
export function explain(error: unknown): { reason: string; hint: string } {
  if (error instanceof TowlineError) return { reason: error.message, hint: error.hint }
  return { reason: error instanceof Error ? error.message : String(error), hint: '' }
}
