import type { Deployment } from './deployment.ts'
import { isOpen } from './deployment.ts'
import { isDue, type Removal } from './prune.ts'
import type { Release } from './release.ts'
import type { Step } from './step.ts'

/** What the next look at a target should do. Every kind says why, for logs and people. */
export type Decision =
  | { kind: 'deploy'; deployment: Deployment; superseded: Deployment[]; reason: string }
  /** `deployment` is the queued one that waits; null where healing or a removal waits. */
  | { kind: 'wait'; deployment: Deployment | null; reason: string; notBeforeMs: number | null }
  /** The open deployment can never start. */
  | { kind: 'refuse'; deployment: Deployment; reason: string; hint: string }
  /** They had touched nothing yet when their app left the config repo. */
  | { kind: 'cancel'; deployments: Deployment[]; reason: string }
  /** Nothing of the target is to be left on its host. */
  | { kind: 'remove'; reason: string }
  | { kind: 'heal'; release: Release; steps: Step[]; reason: string }
  | { kind: 'nothing'; reason: string }

/** What a decision is made from. Times in milliseconds since the epoch. */
export type Situation = {
  /** Oldest first. */
  deployments: Deployment[]
  /** False once the app left the config repo. */
  wanted: boolean
  /** The tombstone of an app that left; null where it has none. */
  removal: Pick<Removal, 'removeAfter'> | null
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
  if (!situation.wanted && open.some(isUntouched)) {
    return { kind: 'cancel', deployments: open.filter(isUntouched), reason: 'the app left the config repo' }
  }
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
  if (!situation.wanted) return decideRemoval(situation)
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

/** A rollout under way ends before its app is taken down: half a release is no state to start from. */
function isUntouched({ phase, release }: Deployment): boolean {
  return phase === 'queued' || (phase === 'pulling_source' && release === null)
}

function decideRemoval({ removal, nowMs }: Situation): Decision {
  if (removal === null) return { kind: 'nothing', reason: 'the app left the config repo and is not removed' }
  if (isDue(removal, nowMs)) return { kind: 'remove', reason: 'the app left the config repo' }
  const reason = `the app left the config repo and is removed after ${removal.removeAfter}`
  return { kind: 'wait', deployment: null, reason, notBeforeMs: Date.parse(removal.removeAfter) }
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
