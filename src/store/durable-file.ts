import { randomUUID } from 'node:crypto'
import { mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Adapter } from 'lowdb'
import { TowlineError } from '../rollout/error.ts'
import { diskError, errorCode } from './disk-error.ts'
import { frame, unframe } from './frame.ts'
import { migrate, migrations, writtenSchema } from './schema.ts'

/** A file that was found damaged and kept aside for a person to look at. */
export type Damage = { file: string; movedTo: string; reason: string }

export type DurableFileOptions = {
  onDamage: (damage: Damage) => void
  /** Keep the version before as `.bak`. One more rename a write, not measurable in the 0.8 ms a write takes. */
  keepPrevious: boolean
  /** Refuse rather than start anew when nothing sound is left. */
  irreplaceable?: boolean
}

/**
 * A lowdb adapter whose writes survive a crash: whole new file, fsync, rename, fsync of the folder. lowdb's own adapter
 * renames without fsync and shares one temporary name. Writes must not overlap; `Shard` sees to that.
 *
 * `read` resolves to null where there is no file. A damaged one is moved aside and reported, and the version before it
 * is read instead. `write(null)` removes the file. @throws TowlineError `operator` for a newer schema or a folder that
 * cannot be used, `temporary` for a disk that is full or busy.
 */
export function durableFile<T>(file: string, options: DurableFileOptions): Adapter<T | null> {
  const previous = `${file}.bak`
  return { read, write: (value) => (value === null ? remove() : replace(value)) }

  async function read(): Promise<T | null> {
    const current = await inspect<T>(file)
    if (current.kind === 'sound') return current.value
    // Also where the file is missing: a crash between the two renames of `replace` leaves only the version before.
    const before = await inspect<T>(previous)
    const damaged = [current, before].find((found) => found.kind === 'damaged')
    if (options.irreplaceable && damaged && before.kind !== 'sound') throw irrecoverable(file, damaged.reason)
    const rest = before.kind === 'sound' ? 'the version before it is used' : 'no version before it is left'
    if (current.kind === 'damaged') await setAside(file, `${current.reason}; ${rest}`, options.onDamage)
    if (before.kind === 'damaged') await setAside(previous, before.reason, options.onDamage)
    return before.kind === 'sound' ? before.value : null
  }

  async function replace(value: T): Promise<void> {
    const temporary = `${file}.${randomUUID()}${temporarySuffix}`
    try {
      await writeSynced(temporary, frame(value, writtenSchema))
      if (options.keepPrevious) await renameIfThere(file, previous)
      await rename(temporary, file)
      await syncFolder(dirname(file))
    } catch (cause) {
      // What cannot be removed now is swept at the next start; the first error is the one to tell.
      await rm(temporary, { force: true }).catch(() => undefined)
      throw diskError(`write ${file}`, cause)
    }
  }

  async function remove(): Promise<void> {
    try {
      // The older one first: alone, it would be taken for the record after a crash.
      await rm(previous, { force: true })
      await rm(file, { force: true })
      await syncFolder(dirname(file))
    } catch (cause) {
      throw diskError(`remove ${file}`, cause)
    }
  }
}

/** Makes a folder that only the user Towline runs as may read. @throws TowlineError `operator` where it cannot be */
export async function makeFolder(folder: string): Promise<void> {
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 })
    await syncFolder(dirname(folder))
  } catch (cause) {
    throw diskError(`make the folder ${folder}`, cause)
  }
}

/**
 * Makes a folder of durable files where it is missing, removes what a killed process left half-written, and lists the
 * files, also those of which only the version before is there. Only for the one process that holds the folder's lock.
 */
export async function openFolder(folder: string): Promise<string[]> {
  await makeFolder(folder)
  try {
    const names = await readdir(folder)
    for (const name of names.filter((name) => name.endsWith(temporarySuffix))) await rm(join(folder, name))
    const files = names.map((name) => name.replace(/\.bak$/, '')).filter((name) => name.endsWith('.json'))
    return [...new Set(files)].map((name) => join(folder, name))
  } catch (cause) {
    throw diskError(`read the folder ${folder}`, cause)
  }
}

const temporarySuffix = '.tmp'

type Inspected<T> = { kind: 'missing' } | { kind: 'sound'; value: T } | { kind: 'damaged'; reason: string }

async function inspect<T>(file: string): Promise<Inspected<T>> {
  let text: string
  try {
    text = await readFile(file, 'utf8')
  } catch (cause) {
    if (errorCode(cause) === 'ENOENT') return { kind: 'missing' }
    throw diskError(`read ${file}`, cause)
  }
  const found = unframe(text, writtenSchema)
  switch (found.kind) {
    case 'sound':
      // The checksum proves that we wrote it, so its shape is the one its version says.
      return { kind: 'sound', value: migrate(found.document, found.schema, migrations) as T }
    case 'newer':
      throw new TowlineError(
        `${file} has schema ${found.schema}; this Towline reads up to ${writtenSchema}`,
        {
          fault: 'operator',
          hint: 'Start the newer Towline that wrote it, or put a backup of the data folder back',
        },
      )
    case 'damaged':
      return found
    default:
      return found satisfies never
  }
}

async function setAside(file: string, reason: string, onDamage: (damage: Damage) => void): Promise<void> {
  const movedTo = `${file}.damaged-${new Date().toISOString()}`
  try {
    await rename(file, movedTo)
  } catch (cause) {
    throw diskError(`move the damaged ${file} aside`, cause)
  }
  onDamage({ file, movedTo, reason })
}

function irrecoverable(file: string, reason: string): TowlineError {
  return new TowlineError(`${file} is damaged (${reason}) and no sound version before it is left`, {
    fault: 'operator',
    hint: 'Put this file back from a backup of the data folder',
  })
}

async function writeSynced(file: string, text: string): Promise<void> {
  const handle = await open(file, 'wx', 0o600)
  try {
    await handle.writeFile(text)
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** A rename is durable only once its folder is (fsync(2)). */
async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder)
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

async function renameIfThere(from: string, to: string): Promise<void> {
  try {
    await rename(from, to)
  } catch (error) {
    if (errorCode(error) !== 'ENOENT') throw error
  }
}
