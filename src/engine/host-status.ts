import { explain } from '../rollout/error.ts'
import type { Log, Store } from './ports.ts'
import { type HostRecord, schemaVersion } from './records.ts'
import { waitFor } from './wait.ts'

/**
 * Which hosts answer. One that does not is *unknown since* the moment it was lost: what runs there may be fine, so nothing of
 * it is failed or called broken for that; its work waits, and that of other hosts goes on.
 */
export type HostStatus = {
  /** Since when the host gives no answer, as an ISO time; null while it does. */
  unknownSince(host: string): string | null
  /** It just gave an answer. Returns true where it was unknown before. */
  answered(host: string): boolean
  /** It just gave none. */
  lost(host: string, error: unknown): void
  /** Resolves once the host answers again, at once where it does. Rejects when the signal aborts. */
  whenKnown(host: string, signal: AbortSignal): Promise<void>
  records(): HostRecord[]
  /** Reads what an earlier process knew: a host that was lost before a restart is unknown since then. */
  load(): Promise<void>
}

export function createHostStatus(parts: {
  store: Pick<Store, 'listHosts' | 'updateHost'>
  hosts: Iterable<string>
  log: Log
}): HostStatus {
  const known = new Map<string, HostRecord>([...parts.hosts].map((host) => [host, newHost(host)]))
  const wakes = new Set<() => void>()

  function change(host: string, changes: Partial<HostRecord>) {
    known.set(host, { ...recordOf(host), ...changes })
    parts.store
      .updateHost(host, (stored) => ({ ...(stored ?? newHost(host)), ...changes }))
      .catch((error: unknown) =>
        parts.log.warn({ host, ...explain(error) }, 'the state of a host was not stored'),
      )
  }

  function recordOf(host: string): HostRecord {
    return known.get(host) ?? newHost(host)
  }

  return {
    unknownSince: (host) => recordOf(host).unknownSince,
    answered(host) {
      const { unknownSince, lastSeenAt } = recordOf(host)
      const now = new Date()
      // Stored when it changes, and now and then, so that a restart knows about when it was last seen.
      const isOld = lastSeenAt === null || now.getTime() - Date.parse(lastSeenAt) > seenStoredMs
      if (unknownSince === null && !isOld) return false
      change(host, { unknownSince: null, lastSeenAt: now.toISOString() })
      if (unknownSince === null) return false
      parts.log.info({ host, unknownSince }, 'the host answers again')
      for (const wake of [...wakes]) wake()
      return true
    },
    lost(host, error) {
      if (recordOf(host).unknownSince !== null) return
      const unknownSince = new Date().toISOString()
      change(host, { unknownSince })
      parts.log.warn({ host, unknownSince, ...explain(error) }, 'the host gives no answer; its work waits')
    },
    async whenKnown(host, signal) {
      while (recordOf(host).unknownSince !== null) {
        await waitFor({
          ms: recheckMs,
          signal,
          onWake: (wake) => {
            wakes.add(wake)
            return () => wakes.delete(wake)
          },
        })
      }
    },
    records: () => [...known.values()],
    async load() {
      for (const record of await parts.store.listHosts()) {
        if (known.has(record.host)) known.set(record.host, record)
      }
    },
  }
}

/** A status for one-off commands: they try, and say what they met. */
export const alwaysKnown: Pick<HostStatus, 'unknownSince' | 'whenKnown'> = {
  unknownSince: () => null,
  whenKnown: async () => {},
}

/** What is known of a host nobody has looked at yet. */
export function newHost(host: string): HostRecord {
  return {
    version: schemaVersion,
    host,
    engineId: null,
    unknownSince: null,
    lastSeenAt: null,
    rebuildDue: [],
  }
}

const seenStoredMs = 10 * 60_000
/** A wake comes when it answers; this is only the floor under it. */
const recheckMs = 30_000
