/**
 * Loaded into a server before its own code (`--import`): counts the changes it makes to its data folder, and kills its
 * own process at the n-th. `counted-writes.ts` steers it through files, which a process that dies cannot lose:
 *
 * - `orders`  what to count, as JSON; absent while nothing is counted
 * - `writes`  one line for each change since the order
 */

import { appendFileSync, readFileSync } from 'node:fs'
import disk from 'node:fs/promises'
import { syncBuiltinESMExports } from 'node:module'
import { join, relative } from 'node:path'

/** Without `n` it only counts. */
export type Orders = { id: string; n?: number; moment?: 'before' | 'after' }

type PathAct = 'rename' | 'writeFile' | 'rm' | 'unlink'

const steering = process.env.TOWLINE_TEST_WRITES ?? ''
const dataFolder = process.env.TOWLINE_DATA ?? ''
/** As Node made it: what is written in the middle of a kill does not count itself. */
const writeFile = disk.writeFile
let known: Orders | null = null
let count = 0

wrap('rename', disk.rename, (_from, to) => String(to))
wrap('rm', disk.rm, (path) => String(path))
wrap('unlink', disk.unlink, (path) => String(path))
wrap('writeFile', disk.writeFile, (path) => String(path), writeHalf)
// Named imports of `node:fs/promises` see what was put in place above.
syncBuiltinESMExports()

/** `half` does a part of the act, where it has parts: what a kill in its middle leaves behind. */
function wrap<A extends unknown[], R>(
  name: PathAct,
  act: (...args: A) => Promise<R>,
  pathOf: (...args: A) => string,
  half?: (...args: A) => Promise<void>,
): void {
  const wrapped = async (...args: A): Promise<R> => {
    const moment = countWrite(name, pathOf(...args))
    if (moment === 'before') {
      await half?.(...args)
      die()
    }
    try {
      return await act(...args)
    } finally {
      // Also where it failed: to rename what is not there is a change that was tried.
      if (moment === 'after') die()
    }
  }
  Object.assign(disk, { [name]: wrapped })
}

async function writeHalf(...[file, content]: Parameters<typeof writeFile>): Promise<void> {
  const bytes = typeof content === 'string' ? Buffer.from(content) : content
  if (bytes instanceof Uint8Array) await writeFile(file, bytes.subarray(0, Math.floor(bytes.length / 2)))
}

/** When to die at this change; null where it is not the one. */
function countWrite(name: PathAct, path: string): 'before' | 'after' | null {
  if (!path.startsWith(`${dataFolder}/`)) return null
  const orders = readOrders()
  if (orders === null) return null
  if (orders.id !== known?.id) count = 0
  known = orders
  count += 1
  appendFileSync(join(steering, 'writes'), `${name} ${relative(dataFolder, path)}\n`)
  return count === orders.n ? (orders.moment ?? null) : null
}

function readOrders(): Orders | null {
  try {
    return JSON.parse(readFileSync(join(steering, 'orders'), 'utf8'))
  } catch {
    return null
  }
}

function die(): void {
  process.kill(process.pid, 'SIGKILL')
}
