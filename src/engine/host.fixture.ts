import type { DockerHost, Probe } from './ports.ts'

/** A container that runs, as a probe shows it. */
export function probe(over: Partial<Probe> = {}): Probe {
  return {
    state: 'running',
    health: 'none',
    restartCount: 0,
    startedAt: '2026-11-21T10:00:00.000Z',
    exitCode: null,
    healthLog: [],
    ...over,
  }
}

/** An empty host where every act succeeds, for tests. A test replaces what it is about. */
export function dockerHost(over: Partial<DockerHost> = {}): DockerHost {
  const name = over.name ?? 'web-1'
  return {
    name,
    observe: async ({ deep = false, sites = false }) => ({
      host: name,
      at: '2026-11-21T10:00:00.000Z',
      deep,
      containers: [],
      sites: sites ? {} : null,
      networks: null,
      volumes: null,
    }),
    inventory: async () => ({ host: name, engineId: 'engine-1', at: '2026-11-21T10:00:00.000Z', things: [] }),
    survey: async () => [],
    resolveImage: async (reference) => ({ reference, pinned: `${reference}@sha256:aa` }),
    apply: async () => {},
    probe: async () => probe(),
    checkHealth: async () => true,
    logs: async () => [],
    events: ({ signal, onOpen }) => {
      onOpen()
      return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }))
    },
    ...over,
  }
}
