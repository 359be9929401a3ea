import { type Adapter, Low } from 'lowdb'
import { TowlineError } from '../rollout/error.ts'
import { frozen } from './frozen.ts'

/** More than any number of workers; callers wait for the disk, so only a disk that hangs gets here. */
const maxUnsettledChanges = 1_000

/**
 * One record in one file. Changes made while a write is under way share the next one, and each resolves only once a
 * write that contains it is durable. `record` is what is durable: it never runs ahead of the disk.
 */
export class Shard<T extends object> {
  readonly #low: Low<T | null>
  #record: T | null = null
  #waiting: Waiting<T>[] = []
  #unsettledCount = 0
  #isWriting = false

  constructor(file: Adapter<T | null>) {
    this.#low = new Low(file, null)
  }

  /** @throws what the file's `read` throws */
  async load(): Promise<void> {
    await this.#low.read()
    this.#record = frozen(this.#low.data)
  }

  get record(): T | null {
    return this.#record
  }

  /** True where nothing would be lost with this object. */
  get isIdleAndEmpty(): boolean {
    return this.#record === null && this.#unsettledCount === 0
  }

  /**
   * Resolves to the outcome of `change` once it is durable. null is "no record", as argument and as outcome. Returning
   * the record given stores nothing. When the write fails, every change in it is undone and rejects.
   * @throws what `change` or the file's `write` throws; TowlineError `temporary` where too many changes wait
   */
  update<R extends T | null>(change: (record: T | null) => R): Promise<R> {
    if (this.#unsettledCount >= maxUnsettledChanges) return Promise.reject(tooManyWaiting())
    const { promise, resolve, reject } = Promise.withResolvers<R>()
    this.#unsettledCount += 1
    this.#waiting.push({
      apply: (record) => {
        const next = frozen(change(record))
        return { next, settle: () => resolve(next) }
      },
      reject,
    })
    if (!this.#isWriting) void this.#writeWaiting()
    return promise
  }

  /** Never rejects: each change learns its own outcome. */
  async #writeWaiting(): Promise<void> {
    this.#isWriting = true
    // A turn later, so that all changes of this turn share the first write.
    await Promise.resolve()
    while (this.#waiting.length > 0) {
      const batch = this.#waiting.splice(0)
      const settleAll = await this.#writeBatch(batch)
      this.#unsettledCount -= batch.length
      for (const settle of settleAll) settle()
    }
    this.#isWriting = false
  }

  /** Stores the outcome of all changes in one write, and returns what tells each caller. */
  async #writeBatch(batch: Waiting<T>[]): Promise<(() => void)[]> {
    let next = this.#record
    const refused: (() => void)[] = []
    const applied: { settle: () => void; reject: (error: unknown) => void }[] = []
    for (const { apply, reject } of batch) {
      try {
        const outcome = apply(next)
        next = outcome.next
        applied.push({ settle: outcome.settle, reject })
      } catch (error) {
        refused.push(() => reject(error))
      }
    }
    try {
      if (next !== this.#record) await this.#write(next)
      return [...refused, ...applied.map(({ settle }) => settle)]
    } catch (error) {
      return [
        ...refused,
        ...applied.map(
          ({ reject }) =>
            () =>
              reject(error),
        ),
      ]
    }
  }

  async #write(next: T | null): Promise<void> {
    try {
      this.#low.data = next
      // lowdb itself never writes null.
      await (next === null ? this.#low.adapter.write(null) : this.#low.write())
      this.#record = next
    } finally {
      this.#low.data = this.#record
    }
  }
}

type Waiting<T> = {
  apply: (record: T | null) => { next: T | null; settle: () => void }
  reject: (error: unknown) => void
}

function tooManyWaiting(): TowlineError {
  return new TowlineError(`${maxUnsettledChanges} changes of one record wait to be stored`, {
    fault: 'temporary',
    hint: 'Check that the disk of the data folder still answers',
  })
}
