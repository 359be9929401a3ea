import type { EngineStatus } from '../engine/status.ts'
import type { ApiParts } from './api.ts'

export const counts: EngineStatus['counts'] = {
  deploymentsSucceeded: 0,
  deploymentsFailed: 0,
  deploymentsSuperseded: 0,
  deploymentsCancelled: 0,
  deploymentsResumed: 0,
  stuckDeadline: 0,
  stuckProgress: 0,
  stuckClaim: 0,
  driftDetected: 0,
  healingsSucceeded: 0,
  healingsFailed: 0,
  healingsGivenUp: 0,
  orphansRemoved: 0,
  targetsPruned: 0,
  deliveriesRecovered: 0,
  sweeps: 0,
  fenceRejections: 0,
}

/** An engine that started, found one host and has nothing to do. */
export function engineStatus(over: Partial<EngineStatus> = {}): EngineStatus {
  return {
    startedAt: '2026-11-21T09:00:00.000Z',
    recovered: true,
    hosts: [
      { host: 'web-1', engineId: 'engine-1', unknownSince: null, lastSeenAt: '2026-11-21T10:00:00.000Z' },
    ],
    queue: { waiting: 0, running: 0 },
    lastSweep: { at: '2026-11-21T10:00:00.000Z', durationMs: 42 },
    orphans: [],
    counts,
    ...over,
  }
}

/** An API over an installation without targets, at eleven o'clock, for tests. A test replaces what it is about. */
export function apiParts(over: Partial<ApiParts> = {}): ApiParts {
  const targets = over.targets ?? (async () => [])
  return {
    status: async () => engineStatus(),
    targets,
    target: async (key) => (await targets()).find((record) => record.key === key) ?? null,
    github: () => ({ unreachableSince: null, reason: null, lastAnswerAt: '2026-11-21T10:00:00.000Z' }),
    stuck: () => [],
    catchUp: () => null,
    sweep: async () => ({ hosts: [], repos: [], orphans: [] }),
    reconcile: async (key) => (await targets()).some((record) => record.key === key),
    cancel: async ({ id }) => ({ kind: 'accepted', deploymentId: id }),
    retry: async ({ id }) => ({ kind: 'accepted', deploymentId: `${id}-2` }),
    version: '0.1.0',
    nowMs: () => Date.parse('2026-11-21T11:00:00.000Z'),
    ...over,
  }
}
