import { explain } from '../rollout/error.ts'
import type { Log, Store } from './ports.ts'
import type { Delivery, DeliveryHint } from './records.ts'
import { backoffMs } from './wait.ts'

/** Where webhooks enter: stored first, acted on later. */
export type Intake = {
  /** Stores a delivery durably and once; only then may it be acknowledged. */
  accept(delivery: Pick<Delivery, 'guid' | 'hint'>): Promise<'stored' | 'duplicate'>
  /** Begins to work: first off what an earlier process stored and did not finish. Until then deliveries are only stored. */
  resume(): Promise<void>
  /** Resolves when no delivery is in work. */
  stop(): Promise<void>
}

/**
 * Works deliveries off in the order they came. One that fails is tried again with backoff and given up after a while:
 * it was a hint, and the sweep looks at every repo anyway.
 */
export function createIntake(parts: {
  store: Store
  handle: (hint: DeliveryHint) => Promise<void>
  log: Log
}): Intake {
  const { store, log } = parts
  const chains = new Map<string, Promise<void>>()
  let stopped = false
  let started = false

  /** One after another for a repo; a repo that hangs holds up no other. */
  function work(delivery: Delivery, failureCount = 0) {
    const { repo } = delivery.hint
    const chain = (chains.get(repo) ?? Promise.resolve()).then(async () => {
      if (stopped) return
      try {
        await parts.handle(delivery.hint)
        await store.completeDelivery(delivery.guid)
      } catch (error) {
        log.warn(
          { guid: delivery.guid, failureCount, ...explain(error) },
          'a webhook delivery could not be worked off',
        )
        await retryLater(delivery, failureCount + 1)
      }
    })
    chains.set(repo, chain)
  }

  /** Never throws: the deliveries behind this one are chained to it. */
  async function retryLater(delivery: Delivery, failureCount: number) {
    if (failureCount >= failureLimit) {
      return store.completeDelivery(delivery.guid).catch((error: unknown) => {
        log.error({ guid: delivery.guid, ...explain(error) }, 'giving a webhook delivery up was not stored')
      })
    }
    const timer = setTimeout(() => work(delivery, failureCount), backoffMs(failureCount, retryBackoff))
    timer.unref()
  }

  return {
    async accept({ guid, hint }) {
      const delivery: Delivery = { guid, hint, receivedAt: new Date().toISOString(), processedAt: null }
      const outcome = await store.addDelivery(delivery)
      if (outcome === 'stored' && started) work(delivery)
      return outcome
    },
    async resume() {
      const pending = await store.pendingDeliveries()
      // Without a pause between the two, so that none is worked off twice or not at all.
      started = true
      for (const delivery of pending) work(delivery)
    },
    async stop() {
      stopped = true
      await Promise.all(chains.values())
    },
  }
}

/** About ten minutes in all; after that the sweep has looked at the repo twice. */
const failureLimit = 8
const retryBackoff = { baseMs: 1_000, capMs: 120_000 }
