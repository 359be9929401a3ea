import { readFileSync, writeFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { TowlineError } from '../rollout/error.ts'
import { diskError } from './disk-error.ts'

/** `release` may be called again. */
export type Lock = { release(): void }

/** Two processes that start together may both meet the other's half-made lock; SQLite tries again this long. */
const lockTimeoutMs = 250

/**
 * Makes this process the only one on the folder, until `release` or its end.
 *
 * The lock is an exclusive SQLite transaction on an empty file that is never written: Node has no `flock`, and SQLite
 * takes an fcntl(2) lock for us. The kernel frees it however the process ends, so nothing stale is left by a kill or a
 * reboot and no reused pid can mislead us; it holds between containers that share the folder, and within one process
 * too. A socket would need a stale check, a race guard and a path below 107 bytes; a pid file can be stale.
 *
 * @throws TowlineError `operator` where another process has it or the folder cannot be used
 */
export function lockFolder(folder: string): Lock {
  const holderFile = join(folder, 'lock-holder.json')
  const database = openDatabase(join(folder, 'lock.sqlite'))
  try {
    database.exec('PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE')
  } catch (cause) {
    database.close()
    if (sqliteCode(cause) === sqliteBusy) throw heldByAnother(folder, holderFile)
    throw lockError(folder, cause)
  }
  try {
    writeFileSync(holderFile, JSON.stringify({ pid: process.pid, host: hostname() }), { mode: 0o600 })
  } catch (cause) {
    database.close()
    throw diskError(`write ${holderFile}`, cause)
  }
  return {
    release: () => {
      if (database.isOpen) database.close()
    },
  }
}

/** https://sqlite.org/rescode.html#busy */
const sqliteBusy = 5

function openDatabase(file: string): DatabaseSync {
  try {
    return new DatabaseSync(file, { timeout: lockTimeoutMs })
  } catch (cause) {
    throw lockError(file, cause)
  }
}

function heldByAnother(folder: string, holderFile: string): TowlineError {
  return new TowlineError(`The data folder ${folder} is in use by ${describeHolder(holderFile)}`, {
    fault: 'operator',
    hint: 'Stop that process first, or give this one a data folder of its own (TOWLINE_DATA)',
  })
}

/** Only for the message; the lock itself does not depend on it. */
function describeHolder(holderFile: string): string {
  try {
    const { pid, host } = JSON.parse(readFileSync(holderFile, 'utf8'))
    return `process ${pid} on host ${host}`
  } catch {
    return 'a process that has just started'
  }
}

function lockError(what: string, cause: unknown): TowlineError {
  const found = cause instanceof Error ? cause.message : String(cause)
  return new TowlineError(`Cannot lock ${what}: ${found}`, {
    fault: 'operator',
    hint: 'Check that the data folder is writable and on a file system with locks',
    cause,
  })
}

function sqliteCode(error: unknown): unknown {
  return error instanceof Error && 'errcode' in error ? error.errcode : undefined
}
