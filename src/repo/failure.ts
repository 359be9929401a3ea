import { TowlineError } from '../rollout/error.ts'

/** What an abort by the caller is reported as: its own reason, where that is one of ours. */
export function cancelledError(what: string, signal: AbortSignal): TowlineError {
  if (signal.reason instanceof TowlineError) return signal.reason
  return new TowlineError(`Reading ${what} was stopped`, { fault: 'cancelled', cause: signal.reason })
}

/** A failure of the disk below a mirror. */
export function storageError(repo: string, error: unknown): TowlineError {
  return new TowlineError(
    `The mirror of ${repo} could not be read or written: ${systemCode(error) || error}`,
    {
      fault: 'operator',
      hint: 'Check the free space and the permissions of the data folder.',
      cause: error,
    },
  )
}

/** The system's code of an error or of its causes; `fetch` wraps them. Three levels is as deep as Node wraps. */
export function systemCode(error: unknown): string {
  let current = error
  for (let level = 0; level < 3 && current instanceof Error; level++) {
    if ('code' in current && typeof current.code === 'string') return current.code
    current = current.cause
  }
  return ''
}
