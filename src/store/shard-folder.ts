import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { type Damage, durableFile, openFolder } from './durable-file.ts'
import { inBatches } from './in-batches.ts'
import { Shard } from './shard.ts'

/**
 * Records of one kind, each in a file of its own, so that a write costs the same however many there are. All are in
 * memory: about a thousand targets at some tens of kilobytes is what one embedded store is for.
 */
export class ShardFolder<T extends object> {
  readonly #folder: string
  readonly #onDamage: (damage: Damage) => void
  readonly #shards = new Map<string, Shard<T>>()

  private constructor(folder: string, onDamage: (damage: Damage) => void) {
    this.#folder = folder
    this.#onDamage = onDamage
  }

  /** Reads all records. `keyOf` finds the key in a record, since a file's name is only a hash of it. */
  static async open<T extends object>(
    folder: string,
    options: { keyOf: (record: T) => string; onDamage: (damage: Damage) => void },
  ): Promise<ShardFolder<T>> {
    const opened = new ShardFolder<T>(folder, options.onDamage)
    await inBatches(await openFolder(folder), async (file) => {
      const shard = opened.#shard(file)
      await shard.load()
      if (shard.record !== null) opened.#shards.set(options.keyOf(shard.record), shard)
    })
    return opened
  }

  read(key: string): T | null {
    return this.#shards.get(key)?.record ?? null
  }

  list(): T[] {
    return [...this.#shards.values()].flatMap((shard) => shard.record ?? [])
  }

  /** As `Shard.update`, for the record of that key. */
  async update<R extends T | null>(key: string, change: (record: T | null) => R): Promise<R> {
    const shard = this.#shards.get(key) ?? this.#shard(join(this.#folder, `${digest(key)}.json`))
    this.#shards.set(key, shard)
    try {
      return await shard.update(change)
    } finally {
      if (shard.isIdleAndEmpty) this.#shards.delete(key)
    }
  }

  #shard(file: string): Shard<T> {
    return new Shard<T>(durableFile<T>(file, { onDamage: this.#onDamage, keepPrevious: true }))
  }
}

/** Sixteen hex digits: keys hold slashes and have no bound of their own that a file system would accept. */
export function digest(key: string): string {
  return createHash('sha256').update(key).digest('hex').slice(0, 16)
}
