import { explain, faultOf, TowlineError } from '../rollout/error.ts'
import type { Intake } from './intake.ts'
import type { GitHub, Log, MissedDelivery, Store } from './ports.ts'
import { singleFlight } from './single-flight.ts'

/** The last look for missed deliveries. `error` is why it was not whole, or null. */
export type CatchUpStatus = { at: string; recoveredCount: number; error: string | null }

export type CatchUp = {
  /**
   * Takes in what GitHub could not deliver, if that is due or `force` asks for it. Never rejects: what fails is due at the
   * next call. Never two at once.
   */
  look(options: { force: boolean }): Promise<void>
  /** null before the first look has ended. */
  status(): CatchUpStatus | null
  /** Resolves when none runs any more. */
  idle(): Promise<void>
}

/**
 * Makes up for webhooks that did not arrive. What GitHub failed to deliver enters where webhooks enter and under the same
 * GUID, so it is done once: however often it is found, and also where it is delivered after all. The heads of branches
 * need no delivery, for each sweep reads them; a Re-run would be lost without.
 */
export function createCatchUp(parts: {
  github: Pick<GitHub, 'missedDeliveries' | 'readDelivery'>
  store: Pick<Store, 'knowsDelivery'>
  accept: Intake['accept']
  /** Ends all looks. */
  signal: AbortSignal
  log: Log
}): CatchUp {
  const { github, store, log } = parts
  let last: CatchUpStatus | null = null
  let dueAtMs = 0
  /** GitHub asked for silence until then. */
  let silentUntilMs = 0
  /** What was sent before was taken in by a look of this process. */
  let wholeUntilMs = 0
  /** GUIDs of the last list that were read. The store does not know those that came to nothing, or to several hints. */
  let readBefore = new Set<string>()
  const flights = singleFlight(async (_key, force) => {
    const nowMs = Date.now()
    if (nowMs >= silentUntilMs && (force || nowMs >= dueAtMs)) await lookNow(nowMs)
  })

  async function lookNow(startedAtMs: number): Promise<void> {
    const events: string[] = []
    let error: string | null = null
    try {
      await recover(startedAtMs, (event) => void events.push(event))
      wholeUntilMs = startedAtMs
      dueAtMs = startedAtMs + intervalMs
    } catch (cause) {
      if (parts.signal.aborted) return
      const explained = explain(cause)
      error = explained.reason
      dueAtMs = 0
      if (cause instanceof TowlineError) silentUntilMs = startedAtMs + (cause.retryAfterMs ?? 0)
      // Once, not at each try of an outage that lasts for hours.
      const level = last?.error === error ? 'debug' : 'warn'
      log[level](explained, 'GitHub was not asked for all missed deliveries; the next sweep goes on')
    }
    const { length: recoveredCount } = events
    last = { at: new Date().toISOString(), recoveredCount, error }
    const deliveries = recoveredCount === 1 ? 'delivery' : 'deliveries'
    if (recoveredCount > 0) log.info({ events: count(events) }, `recovered ${recoveredCount} ${deliveries}`)
  }

  async function recover(startedAtMs: number, onRecovered: (event: string) => void): Promise<void> {
    const signal = AbortSignal.any([parts.signal, AbortSignal.timeout(lookTimeoutMs)])
    const sinceMs = Math.max(startedAtMs - keptMs, wholeUntilMs - overlapMs)
    const { missed, whole } = await github.missedDeliveries({ sinceMs, signal })
    if (!whole)
      log.warn({}, 'GitHub has more deliveries than are looked through; a Re-run among the oldest is lost')
    const known = readBefore
    readBefore = new Set(missed.map(({ guid }) => guid).filter((guid) => known.has(guid)))
    const failures: unknown[] = []
    let readCount = 0
    for (const delivery of missed) {
      if (readBefore.has(delivery.guid) || (await store.knowsDelivery(delivery.guid))) continue
      if (readCount === readLimit) throw tooMany()
      readCount += 1
      try {
        if (await takeIn(delivery, signal)) onRecovered(delivery.event)
        readBefore.add(delivery.guid)
      } catch (error) {
        if (faultOf(error) === 'temporary' || signal.aborted) throw error
        // Of this delivery alone: it holds up no other.
        failures.push(error)
      }
    }
    if (failures.length > 0) throw failures[0]
  }

  /** False where nothing new came of it. */
  async function takeIn(delivery: MissedDelivery, signal: AbortSignal): Promise<boolean> {
    const hints = await github.readDelivery(delivery, { signal })
    const { guid, event } = delivery
    if (hints === null) log.warn({ guid, event }, 'a missed delivery is lost: GitHub has its content no more')
    let isNew = false
    for (const found of hints ?? []) {
      if ((await parts.accept(found)) === 'stored') isNew = true
    }
    return isNew
  }

  return {
    look: ({ force }) => flights.run('all', { force }),
    status: () => last,
    idle: () => flights.idle(),
  }
}

function count(events: string[]): Record<string, number> {
  return Object.fromEntries(
    [...Map.groupBy(events, (event) => event)].map(([event, all]) => [event, all.length]),
  )
}

function tooMany(): TowlineError {
  return new TowlineError(`more than ${readLimit} deliveries were missed`, {
    fault: 'temporary',
    hint: 'Towline goes on at the next sweep.',
  })
}

/** Webhooks that fail while all else is well (a proxy, a firewall) are rare; a Re-run among them waits so long. */
const intervalMs = 60 * 60_000
/** GitHub keeps deliveries for three days, and so long the store knows their GUIDs. */
const keptMs = 3 * 24 * 60 * 60_000
/** A delivery may be listed late: it lags by minutes, and GitHub's clock is not ours. */
const overlapMs = 10 * 60_000
/** For the pages of the list and as many reads as are made at once, at a second each. */
const lookTimeoutMs = 10 * 60_000
/** A tenth of the requests an App has an hour. */
const readLimit = 500
