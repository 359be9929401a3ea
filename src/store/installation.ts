import { join } from 'node:path'
import { TowlineError } from '../rollout/error.ts'
import { type Damage, durableFile, openFolder } from './durable-file.ts'
import { Shard } from './shard.ts'

type InstallationRecord = { owner: string; reservedEpoch: number }

/** One durable write for so many claims. */
const epochsPerReservation = 1_000

/**
 * Who this installation is, and its epochs. One count serves all targets and is reserved ahead in blocks, so a claim
 * costs no write, and an epoch is never given twice: not after a restart, not after a target was deleted, and not after
 * its file was put back from the version before. Unused numbers of a block are lost at a restart, which harms nobody.
 */
export class Installation {
  readonly owner: string
  readonly #shard: Shard<InstallationRecord>
  #lastEpoch: number
  #reservedEpoch: number
  #reserving: Promise<void> | null = null

  private constructor(shard: Shard<InstallationRecord>, record: InstallationRecord) {
    this.#shard = shard
    this.owner = record.owner
    this.#lastEpoch = record.reservedEpoch
    this.#reservedEpoch = record.reservedEpoch
  }

  /**
   * Makes the owner id where there is none yet, or takes the one asked for. @throws TowlineError `operator` where it was
   * lost, or there are records of another: a new id would disown all that stands on the hosts.
   */
  static async open(
    folder: string,
    options: {
      hasRecords: boolean
      proposedOwner: string
      owner?: string
      onDamage: (damage: Damage) => void
    },
  ): Promise<Installation> {
    await openFolder(folder)
    const file = join(folder, 'installation.json')
    const shard = new Shard<InstallationRecord>(
      durableFile(file, { onDamage: options.onDamage, keepPrevious: true, irreplaceable: true }),
    )
    await shard.load()
    if (shard.record === null && options.hasRecords) throw ownerLost(file)
    const found = shard.record ?? { owner: options.proposedOwner, reservedEpoch: 0 }
    const owner = options.owner ?? found.owner
    if (owner !== found.owner && options.hasRecords) throw ownedByAnother(folder, found.owner)
    const record = { ...found, owner }
    const installation = new Installation(shard, record)
    await installation.reserveEpochs()
    return installation
  }

  get hasEpoch(): boolean {
    return this.#lastEpoch < this.#reservedEpoch
  }

  /** The next epoch. Only while `hasEpoch`. */
  takeEpoch(): number {
    this.#lastEpoch += 1
    return this.#lastEpoch
  }

  /** From now on epochs are higher than this one. Returns once that is durable. */
  async raiseEpoch(above: number): Promise<void> {
    if (above < this.#lastEpoch) return
    this.#lastEpoch = Math.max(this.#lastEpoch, above)
    this.#reservedEpoch = Math.max(this.#reservedEpoch, above)
    await this.reserveEpochs()
  }

  /** Makes the next block durable. */
  reserveEpochs(): Promise<void> {
    this.#reserving ??= this.#reserve().finally(() => {
      this.#reserving = null
    })
    return this.#reserving
  }

  async #reserve(): Promise<void> {
    const reservedEpoch = this.#reservedEpoch + epochsPerReservation
    const record = { owner: this.owner, reservedEpoch }
    // Twice, so that the version kept beside it is as new: an older one would give epochs again.
    await this.#shard.update(() => record)
    await this.#shard.update(() => ({ ...record }))
    this.#reservedEpoch = reservedEpoch
  }
}

function ownedByAnother(folder: string, owner: string): TowlineError {
  return new TowlineError(`The data folder ${folder} holds records of the installation ${owner}`, {
    fault: 'operator',
    hint: 'Leave out the owner id, or take an empty data folder for the other installation',
  })
}

function ownerLost(file: string): TowlineError {
  return new TowlineError(`${file} is missing, yet the data folder holds records`, {
    fault: 'operator',
    hint: 'Put this file back from a backup: it says which containers belong to this installation',
  })
}
