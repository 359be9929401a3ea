import type { Claim } from '../engine/records.ts'
import { TowlineError } from '../rollout/error.ts'
import type { Installation } from './installation.ts'

type Held = { holder: string; epoch: number; expiresAtMs: number }

/**
 * Who works on which target. Kept in memory: the folder's lock makes this the only process, so with it all claims end,
 * and the next process gives higher epochs.
 */
export class Claims {
  readonly #installation: Installation
  readonly #now: () => Date
  readonly #held = new Map<string, Held>()

  constructor(installation: Installation, now: () => Date) {
    this.#installation = installation
    this.#now = now
  }

  /** null while a claim is alive, also one of the same holder: the work on a target is single. */
  async grant(target: string, options: { holder: string; ttlMs: number }): Promise<Claim | null> {
    while (!this.#installation.hasEpoch) await this.#installation.reserveEpochs()
    // From here on without a pause, so that no two callers find the same target free.
    if (this.#isAlive(target)) return null
    const held = {
      holder: options.holder,
      epoch: this.#installation.takeEpoch(),
      expiresAtMs: this.#now().getTime() + options.ttlMs,
    }
    this.#held.set(target, held)
    const { holder, epoch } = held
    return { target, holder, epoch, expiresAt: new Date(held.expiresAtMs).toISOString() }
  }

  /** A claim that lapsed but was given to nobody else since may still be renewed. @throws TowlineError `stale` */
  renew(claim: Claim, ttlMs: number): void {
    const held = this.check(claim, claim.target)
    held.expiresAtMs = this.#now().getTime() + ttlMs
  }

  /** Does nothing where the claim is another's by now. */
  release(claim: Claim): void {
    if (this.#held.get(claim.target)?.epoch === claim.epoch) this.#held.delete(claim.target)
  }

  /** @throws TowlineError `stale` where the claim is not the newest on the target, or was released */
  check(claim: Claim, target: string): Held {
    const held = this.#held.get(target)
    if (held?.epoch === claim.epoch) return held
    const found = held ? `epoch ${held.epoch} of ${held.holder} is the newest` : 'it has ended'
    throw new TowlineError(`Claim ${claim.epoch} of ${claim.holder} on ${target} is stale: ${found}`, {
      fault: 'stale',
    })
  }

  #isAlive(target: string): boolean {
    const held = this.#held.get(target)
    return held !== undefined && held.expiresAtMs > this.#now().getTime()
  }
}
