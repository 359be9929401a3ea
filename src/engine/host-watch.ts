import { explain } from '../rollout/error.ts'
import type { DockerHost, HostEvent, Log } from './ports.ts'
import { backoffMs, sleep } from './wait.ts'

/** Tells who waits on a host that something happened there. */
export type HostWatch = {
  /** Calls back at each event of that host. Returns how to stop that. */
  subscribe(host: string, wake: () => void): () => void
  /** Opens the event streams. Until then whoever waits polls. */
  start(): void
  /** Ends all event streams. */
  stop(): Promise<void>
}

/**
 * Keeps one event stream open for each host. Events are hints: Docker may drop them, so every (re)connection asks for
 * a whole look at the host.
 */
export function watchHosts(
  hosts: Iterable<DockerHost>,
  options: {
    onConnected: (host: string) => void
    /** The host could not be reached at once after its stream had ended, or from the start. */
    onLost: (host: string, error: unknown) => void
    onEvent: (event: HostEvent) => void
    log: Log
  },
): HostWatch {
  const controller = new AbortController()
  const { signal } = controller
  const subscribers = new Map<string, Set<() => void>>()
  let loops: Promise<void>[] = []

  async function follow(host: DockerHost) {
    let failureCount = 0
    while (!signal.aborted) {
      try {
        await host.events({
          signal,
          onOpen: () => {
            failureCount = 0
            options.onConnected(host.name)
          },
          onEvent: (event) => {
            for (const wake of [...(subscribers.get(host.name) ?? [])]) wake()
            options.onEvent(event)
          },
        })
      } catch (error) {
        if (signal.aborted) return
        options.onLost(host.name, error)
        options.log[failureCount === 0 ? 'warn' : 'debug'](
          { host: host.name, ...explain(error) },
          'event stream broke; polling until it is back',
        )
      }
      failureCount += 1
      await sleep(backoffMs(failureCount, reconnectBackoff), signal).catch(() => {})
    }
  }

  return {
    start() {
      if (loops.length === 0) loops = [...hosts].map((host) => follow(host))
    },
    subscribe(host, wake) {
      const wakes = subscribers.get(host) ?? new Set()
      subscribers.set(host, wakes.add(wake))
      return () => wakes.delete(wake)
    },
    async stop() {
      controller.abort()
      await Promise.all(loops)
    },
  }
}

/** A daemon restart takes seconds; a dead host is asked twice a minute. */
const reconnectBackoff = { baseMs: 500, capMs: 30_000 }
