import { join } from 'node:path'
import type { Adapter } from 'lowdb'
import type { Delivery } from '../engine/records.ts'
import { TowlineError } from '../rollout/error.ts'
import { type Damage, durableFile, openFolder } from './durable-file.ts'
import { frozen } from './frozen.ts'
import { inBatches } from './in-batches.ts'
import { digest } from './shard-folder.ts'

/** GitHub keeps deliveries for redelivery three days; an older GUID cannot come back. */
const keptMs = 3 * 24 * 60 * 60 * 1_000

/** Processed GUIDs kept: about 80 MB of small files, and a day of one delivery every four seconds. */
const maxProcessed = 20_000

/** Beyond this the sender gets an error; the sweep finds what its deliveries hinted at. */
const maxPending = 20_000

/**
 * Webhook deliveries, one small file each: adding one costs the same however many there are, and damage is confined to
 * one. An append-only log would write faster (0.1 ms instead of 1 ms), but GitHub allows ten seconds, and a log needs
 * segments, compaction and care for torn ends.
 */
export class Deliveries {
  readonly #folder: string
  readonly #onDamage: (damage: Damage) => void
  readonly #now: () => Date
  readonly #adding = new Map<string, Promise<void>>()
  /** By GUID, oldest first. */
  readonly #pending = new Map<string, Delivery>()
  /** The time processed by GUID, oldest first. */
  readonly #processed = new Map<string, number>()

  private constructor(folder: string, options: { now: () => Date; onDamage: (damage: Damage) => void }) {
    this.#folder = folder
    this.#onDamage = options.onDamage
    this.#now = options.now
  }

  static async open(
    folder: string,
    options: { now: () => Date; onDamage: (damage: Damage) => void },
  ): Promise<Deliveries> {
    const opened = new Deliveries(folder, options)
    const found: Delivery[] = []
    await inBatches(await openFolder(folder), async (file) => {
      const delivery = await opened.#file(file).read()
      if (delivery !== null) found.push(frozen(delivery))
    })
    for (const delivery of found.sort(byTime)) opened.#remember(delivery)
    await opened.#forgetOld()
    return opened
  }

  pending(): Delivery[] {
    return [...this.#pending.values()]
  }

  knows(guid: string): boolean {
    return this.#pending.has(guid) || this.#processed.has(guid)
  }

  /** @throws TowlineError `temporary` where too many are pending */
  async add(delivery: Delivery): Promise<'stored' | 'duplicate'> {
    const adding = this.#adding.get(delivery.guid)
    if (adding) {
      // Known only once it is durable: where that fails, this call fails too and the sender tries again.
      await adding
      return 'duplicate'
    }
    if (this.knows(delivery.guid)) return 'duplicate'
    if (this.#pending.size + this.#adding.size >= maxPending) throw backlogFull()
    const writing = this.#write(delivery)
    this.#adding.set(delivery.guid, writing)
    try {
      await writing
    } finally {
      this.#adding.delete(delivery.guid)
    }
    this.#remember(frozen(delivery))
    return 'stored'
  }

  /** Does nothing where the delivery is unknown or was processed already. */
  async complete(guid: string): Promise<void> {
    const delivery = this.#pending.get(guid)
    if (!delivery) return
    const processed = { ...delivery, processedAt: this.#now().toISOString() }
    await this.#write(processed)
    this.#pending.delete(guid)
    this.#remember(processed)
    await this.#forgetOld()
  }

  #remember(delivery: Delivery): void {
    if (delivery.processedAt === null) this.#pending.set(delivery.guid, delivery)
    else this.#processed.set(delivery.guid, Date.parse(delivery.processedAt))
  }

  async #forgetOld(): Promise<void> {
    const oldestMs = this.#now().getTime() - keptMs
    for (const [guid, processedAtMs] of this.#processed) {
      if (this.#processed.size <= maxProcessed && processedAtMs >= oldestMs) return
      this.#processed.delete(guid)
      await this.#file(this.#path(guid)).write(null)
    }
  }

  async #write(delivery: Delivery): Promise<void> {
    await this.#file(this.#path(delivery.guid)).write(delivery)
  }

  #file(path: string): Adapter<Delivery | null> {
    return durableFile<Delivery>(path, { onDamage: this.#onDamage, keepPrevious: false })
  }

  #path(guid: string): string {
    return join(this.#folder, `${digest(guid)}.json`)
  }
}

function byTime(a: Delivery, b: Delivery): number {
  return (a.processedAt ?? a.receivedAt).localeCompare(b.processedAt ?? b.receivedAt)
}

function backlogFull(): TowlineError {
  return new TowlineError(`${maxPending} webhook deliveries wait to be processed`, {
    fault: 'temporary',
    hint: 'Find out why the server processes none; GitHub can redeliver later',
  })
}
