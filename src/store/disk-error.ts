import { TowlineError } from '../rollout/error.ts'

/** Codes after which the same call may succeed later without a change of settings (errno(3)). */
const passing = new Set([
  'EAGAIN',
  'EBUSY',
  'EDQUOT',
  'EINTR',
  'EIO',
  'EMFILE',
  'ENFILE',
  'ENOSPC',
  'ETIMEDOUT',
])

const hints: Record<string, string> = {
  EDQUOT: 'Raise the disk quota of the data folder or free space under it',
  ENOSPC: 'Free space on the disk of the data folder',
  EROFS: 'Mount the data folder writable',
  EACCES: 'Let the user Towline runs as write to the data folder',
  EPERM: 'Let the user Towline runs as write to the data folder',
}

/** Translates an error of `node:fs`. `doing` completes "Cannot …", e.g. `write /data/targets/1.json`. */
export function diskError(doing: string, cause: unknown): TowlineError {
  const code = errorCode(cause)
  return new TowlineError(`Cannot ${doing}: ${code ?? String(cause)}`, {
    fault: code === undefined ? 'bug' : passing.has(code) ? 'temporary' : 'operator',
    hint: hints[code ?? ''] ?? 'Check that the data folder is a folder on a sound disk',
    cause,
  })
}

/** The code of a system error, e.g. `ENOENT`. */
export function errorCode(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined
}
