import { existsSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Moment } from './fault-proxy.ts'
import type { Orders } from './kill-at-write.ts'

/** The changes a server makes to its data folder: counted from outside, and struck at the n-th. */
export type CountedWrites = AsyncDisposable & {
  /** What the server has to be started with. */
  environment: Record<string, string>
  /** Counts from one again. The server kills itself at the strike. */
  count(strike?: { n: number; moment: Moment }): void
  /** Counts no longer. A server that was killed may be started again. */
  clear(): void
  /** The changes since `count`, in order: `rename store/targets/{}.json`. */
  writes(): string[]
  /** When the last change was made, in milliseconds since the epoch. */
  lastBusyMs(): number
}

export async function countWrites(): Promise<CountedWrites> {
  const folder = await mkdtemp(join(tmpdir(), 'towline-writes-'))
  const orders = join(folder, 'orders')
  const writes = join(folder, 'writes')
  let countings = 0
  return {
    environment: {
      NODE_OPTIONS: `--import=${pathToFileURL(join(import.meta.dirname, 'kill-at-write.ts')).href}`,
      TOWLINE_TEST_WRITES: folder,
    },
    count(strike) {
      countings += 1
      rmSync(writes, { force: true })
      const text = JSON.stringify({ id: `${countings}`, ...strike } satisfies Orders)
      // In one piece: the server may read it at any moment.
      writeFileSync(`${orders}.new`, text)
      renameSync(`${orders}.new`, orders)
    },
    clear: () => rmSync(orders, { force: true }),
    writes: () => (existsSync(writes) ? readFileSync(writes, 'utf8').trim().split('\n').map(withoutIds) : []),
    lastBusyMs: () => statSync(writes, { throwIfNoEntry: false })?.mtimeMs ?? 0,
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }),
  }
}

/** Names on disk are hashes and random. */
function withoutIds(line: string): string {
  return line.replace(/[0-9a-f]{16,40}|[0-9a-f]{2}\/[0-9a-f]{38}|[0-9a-f-]{36}/g, '{}')
}
