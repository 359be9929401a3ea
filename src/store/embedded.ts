import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import type { Store } from '../engine/ports.ts'
import type { HostRecord, RepoRecord, TargetRecord } from '../engine/records.ts'
import { TowlineError } from '../rollout/error.ts'
import { boundRepo, boundTarget } from './bounds.ts'
import { Claims } from './claims.ts'
import { Deliveries } from './deliveries.ts'
import { type Damage, makeFolder } from './durable-file.ts'
import { Installation } from './installation.ts'
import { type Lock, lockFolder } from './lock.ts'
import { ShardFolder } from './shard-folder.ts'

export type EmbeddedStoreOptions = {
  /** Made where it is missing. */
  folder: string
  /** Becomes the owner id where there is none yet. Default: a random one. */
  proposedOwner?: string
  /** The owner id to go on under, whatever the folder says. Refused where it holds records of another. */
  owner?: string
  now?: () => Date
  /** Told of every damaged file found at open; the store goes on with what is sound. */
  onDamage: (damage: Damage) => void
}

/**
 * The store of a single server: JSON files in a folder, written through lowdb, all records also in memory. What a call
 * resolved to is on the disk, also after a kill or a loss of power. Records are frozen, so a change is a new object.
 *
 * @throws TowlineError `operator` where another process uses the folder, a file is of a newer schema, the owner id was
 * lost or is another than asked for, or the folder cannot be used. The calls throw `temporary` or `operator` where the disk fails, and `cancelled`
 * once the store is closed.
 */
export async function openEmbeddedStore(options: EmbeddedStoreOptions): Promise<Store> {
  await makeFolder(options.folder)
  const lock = lockFolder(options.folder)
  try {
    return await openLocked(lock, options)
  } catch (error) {
    lock.release()
    throw error
  }
}

async function openLocked(
  lock: Lock,
  { folder, onDamage, proposedOwner = randomUUID(), owner, now = () => new Date() }: EmbeddedStoreOptions,
): Promise<Store> {
  const targets = await ShardFolder.open<TargetRecord>(join(folder, 'targets'), {
    keyOf: (record) => record.key,
    onDamage,
  })
  const repos = await ShardFolder.open<RepoRecord>(join(folder, 'repos'), {
    keyOf: (record) => record.repo,
    onDamage,
  })
  const hosts = await ShardFolder.open<HostRecord>(join(folder, 'hosts'), {
    keyOf: (record) => record.host,
    onDamage,
  })
  const deliveries = await Deliveries.open(join(folder, 'deliveries'), { now, onDamage })
  const hasRecords = targets.list().length > 0 || repos.list().length > 0
  const installation = await Installation.open(folder, {
    ...{ hasRecords, proposedOwner, onDamage },
    ...(owner !== undefined && { owner }),
  })
  const claims = new Claims(installation, now)

  let isClosed = false
  const running = new Set<Promise<unknown>>()

  return {
    owner: installation.owner,
    readTarget: (key) => run(() => targets.read(key)),
    listTargets: () => run(() => targets.list()),
    updateTarget: (key, change, { claim } = {}) =>
      run(() =>
        targets.update(key, (record) => {
          // Here, not before: a claim may be lost while the change waits for its turn.
          if (claim) claims.check(claim, key)
          return boundTarget(keyed(change(record), key))
        }),
      ),
    deleteTarget: (key, { claim, when = () => true } = {}) =>
      run(async () => {
        let isDeleted = false
        await targets.update(key, (record) => {
          if (claim) claims.check(claim, key)
          isDeleted = record !== null && when(record)
          return isDeleted ? null : record
        })
        return isDeleted
      }),
    claimTarget: (key, wanted) => run(() => claims.grant(key, wanted)),
    renewClaim: (claim, { ttlMs }) => run(() => claims.renew(claim, ttlMs)),
    releaseClaim: (claim) => run(() => claims.release(claim)),
    readRepo: (repo) => run(() => repos.read(repo)),
    listRepos: () => run(() => repos.list()),
    updateRepo: (repo, change) => run(() => repos.update(repo, (record) => boundRepo(change(record)))),
    readHost: (host) => run(() => hosts.read(host)),
    listHosts: () => run(() => hosts.list()),
    updateHost: (host, change) => run(() => hosts.update(host, change)),
    raiseEpoch: (above) => run(() => installation.raiseEpoch(above)),
    addDelivery: (delivery) => run(() => deliveries.add(delivery)),
    knowsDelivery: (guid) => run(() => deliveries.knows(guid)),
    pendingDeliveries: () => run(() => deliveries.pending()),
    completeDelivery: (guid) => run(() => deliveries.complete(guid)),
    close,
  }

  /** Refuses work after `close`, and lets `close` wait for the work before it. */
  async function run<T>(work: () => T | Promise<T>): Promise<T> {
    if (isClosed) throw new TowlineError('The store is closed', { fault: 'cancelled' })
    const outcome = Promise.resolve(work())
    running.add(outcome)
    try {
      return await outcome
    } finally {
      running.delete(outcome)
    }
  }

  async function close(): Promise<void> {
    isClosed = true
    await Promise.allSettled(running)
    lock.release()
  }
}

function keyed(record: TargetRecord, key: string): TargetRecord {
  if (record.key === key) return record
  throw new TowlineError(`The record of ${record.key} was to be stored as ${key}`, { fault: 'bug' })
}
