import type { Deployment } from './deployment.ts'
import { isOpen } from './deployment.ts'
import type { Release } from './release.ts'
import type { Step } from './step.ts'

/** What the next look at a target should do. Every kind says why, for logs and people. */
export type Decision =
  | { kind: 'deploy'; deployment: Deployment; superseded: Deployment[]; reason: string }
  /** `deployment` is the queued one that waits; null where healing waits. */
  | { kind: 'wait'; deployment: Deployment | null; reason: string; notBeforeMs: number | null }
  /** The open deployment can never start. */
  | { kind: 'refuse'; deployment: Deployment; reason: string; hint: string }
  | { kind: 'heal'; release: Release; steps: Step[]; reason: string }
  | { kind: 'nothing'; reason: string }

/** What a decision is made from. Times in milliseconds since the epoch. */
export type Situation = {
  /** Oldest first. */
  deployments: Deployment[]
  /** False once the app left the config repo. */
  wanted: boolean
  /** null where the spec is not paused now. */
  pausedReason: string | null
  /** Names of dependencies that are not at their own desired state yet. */
  waitingFor: string[]
  /** Those of them whose own deployment failed: nothing will come of waiting. */
  failedDependencies: string[]
  applied: Release | null
  /** Steps that would bring the host back to the applied release; asked only where it matters. */
  healSteps: (release: Release) => Step[]
  healNotBeforeMs: number
  nowMs: number
}

/** Ordered rules, first match wins. */
export function decide(situation: Situation): Decision {
  const open = situation.deployments.filter(isOpen)
  const newest = open.at(-1)
  if (newest) {
    // A rollout under way ends before a pause holds: half a release is no state to rest in.
    if (newest.phase === 'queued' && situation.pausedReason !== null) {
      const reason = `paused: ${situation.pausedReason}`
      return { kind: 'wait', deployment: newest, reason, notBeforeMs: null }
    }
    if (newest.phase === 'queued' && situation.failedDependencies.length > 0) {
      const names = situation.failedDependencies.join(', ')
      const hint = 'Mend what it depends on, then press Re-run here.'
      return { kind: 'refuse', deployment: newest, reason: `depends on ${names}, which failed`, hint }
    }
    if (newest.phase === 'queued' && situation.waitingFor.length > 0) {
      return {
        kind: 'wait',
        deployment: newest,
        reason: `waiting for ${situation.waitingFor.join(', ')}`,
        notBeforeMs: situation.nowMs + dependencyRecheckMs,
      }
    }
    return {
      kind: 'deploy',
      deployment: newest,
      superseded: open.slice(0, -1),
      reason: 'a deployment is open',
    }
  }
  if (!situation.wanted) return { kind: 'nothing', reason: 'the app left the config repo and pruning is off' }
  if (situation.pausedReason !== null) return { kind: 'nothing', reason: `paused: ${situation.pausedReason}` }
  if (!situation.applied) return { kind: 'nothing', reason: 'nothing was ever proven here' }
  const steps = situation.healSteps(situation.applied)
  if (steps.length === 0) return { kind: 'nothing', reason: 'the host is as the applied release says' }
  if (situation.nowMs < situation.healNotBeforeMs) {
    const notBeforeMs = situation.healNotBeforeMs
    return { kind: 'wait', deployment: null, reason: 'healing backs off', notBeforeMs }
  }
  return {
    kind: 'heal',
    release: situation.applied,
    steps,
    reason: 'the host drifted from the applied release',
  }
}

/** Flux rechecks dependencies at this pace; here a finished dependency also wakes its dependents at once. */
const dependencyRecheckMs = 30_000

/** When healing may be tried again after `failureCount` failures in a row: 2 s, tripled each time, at most 5 minutes. */
export function healBackoffMs(failureCount: number): number {
  if (failureCount === 0) return 0
  return Math.min(healBackoffCapMs, healBackoffBaseMs * 3 ** (failureCount - 1))
}

/** Argo CD's self-heal backoff. */
const healBackoffBaseMs = 2_000
const healBackoffCapMs = 300_000
