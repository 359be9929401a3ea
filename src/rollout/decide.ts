import type { Deployment } from './deployment.ts'
import { isOpen } from './deployment.ts'
import type { Drift } from './observed.ts'
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
  /** Something is wrong that healing must not, or no longer, try to put right. Told once; looked at again at that time. */
  | { kind: 'giveUp'; drift: Drift[]; reason: string; notBeforeMs: number | null }
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
  /** Volumes of the applied release that are gone and may not be made again empty; asked only where it matters. */
  lostVolumes: (release: Release) => Drift[]
  healNotBeforeMs: number
  /** When each container, link or release was put right lately, by its name (`healedSubjects`). */
  healedAtMs: Record<string, number[]>
  /** How often within which time one of them is put right. */
  healing: { limit: number; windowMs: number }
  /** Until when what was put right too often is left alone; null where nothing is. */
  degradedUntilMs: number | null
  /** Since when the host gives no answer; null while it does. */
  hostUnknownSince: string | null
  nowMs: number
}

/** Ordered rules, first match wins. */
export function decide(situation: Situation): Decision {
  const open = situation.deployments.filter(isOpen)
  const newest = open.at(-1)
  if (!situation.wanted && open.some(isUntouched)) {
    return { kind: 'cancel', deployments: open.filter(isUntouched), reason: 'the app left the config repo' }
  }
  if (newest && situation.hostUnknownSince !== null) {
    return waitForHost(situation.hostUnknownSince, { deployment: newest, nowMs: situation.nowMs })
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
  const lost = situation.lostVolumes(situation.applied)
  if (lost.length > 0) {
    const names = lost.map(({ subject }) => subject).join(', ')
    const reason = `${names} is gone, with the data in it; rollout.recreateVolumes would make it again, empty`
    return { kind: 'giveUp', drift: lost, reason, notBeforeMs: null }
  }
  const steps = situation.healSteps(situation.applied)
  const exhausted = giveUpOn(steps, situation)
  if (exhausted) return exhausted
  if (steps.length === 0) return { kind: 'nothing', reason: 'the host is as the applied release says' }
  // A clock that was put back must not stretch a wait beyond the longest there is.
  const waitMs = situation.healNotBeforeMs - situation.nowMs
  if (waitMs > 0 && waitMs <= longestHealWaitMs) {
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

function waitForHost(
  since: string,
  { deployment, nowMs }: { deployment: Deployment | null; nowMs: number },
): Decision {
  const reason = `its host gives no answer since ${since}`
  return { kind: 'wait', deployment, reason, notBeforeMs: nowMs + hostRecheckMs }
}

/** A rollout under way ends before its app is taken down: half a release is no state to start from. */
function isUntouched({ phase, release }: Deployment): boolean {
  return phase === 'queued' || (phase === 'pulling_source' && release === null)
}

function decideRemoval({ removal, hostUnknownSince, nowMs }: Situation): Decision {
  if (removal === null) return { kind: 'nothing', reason: 'the app left the config repo and is not removed' }
  if (isDue(removal, nowMs)) {
    if (hostUnknownSince === null) return { kind: 'remove', reason: 'the app left the config repo' }
    return waitForHost(hostUnknownSince, { deployment: null, nowMs })
  }
  const reason = `the app left the config repo and is removed after ${removal.removeAfter}`
  return { kind: 'wait', deployment: null, reason, notBeforeMs: Date.parse(removal.removeAfter) }
}

/**
 * What was put right as often as the bound allows and is wrong again: a crash loop is not healed for ever. Once an hour it
 * is tried again, since what it waits for may be back.
 */
function giveUpOn(steps: Step[], situation: Situation): Extract<Decision, { kind: 'giveUp' }> | null {
  const { nowMs, degradedUntilMs, healedAtMs, healing } = situation
  const minutes = Math.round(healing.windowMs / 60_000)
  const reason = `put right ${healing.limit} times within ${minutes} min and wrong again; it is tried again in an hour`
  const drift = steps.flatMap((step) => (step.drift ? [step.drift] : []))
  if (drift.length === 0) return null
  const leftMs = (degradedUntilMs ?? nowMs) - nowMs
  if (leftMs > 0 && leftMs <= degradedRetryMs) {
    return { kind: 'giveUp', drift, reason, notBeforeMs: degradedUntilMs }
  }
  const isExhausted = healedSubjects(steps).some(
    (name) =>
      recentHeals(healedAtMs[name] ?? [], { nowMs, windowMs: healing.windowMs }).length >= healing.limit,
  )
  // Just given up the window is full; after the hour it is empty again.
  return isExhausted ? { kind: 'giveUp', drift, reason, notBeforeMs: nowMs + degradedRetryMs } : null
}

/** Containers, links and releases a plan puts right, by name: each of them has a bound of its own. */
export function healedSubjects(steps: Step[]): string[] {
  const names = steps.flatMap((step) => {
    switch (step.do) {
      case 'startContainer':
      case 'restartContainer':
        return [step.name]
      case 'createContainer':
        return [step.container.name]
      case 'pointLinks':
        return [`${step.folder} links`]
      case 'writeRelease':
        return [`${step.site.folder} ${step.releaseId}`]
      default:
        return []
    }
  })
  return [...new Set(names)]
}

/** The times that still count against the bound. One in the future comes from a clock that was put back. */
export function recentHeals(
  healedAtMs: number[],
  { nowMs, windowMs }: { nowMs: number; windowMs: number },
): number[] {
  return healedAtMs.filter((atMs) => nowMs - atMs < windowMs && atMs <= nowMs)
}

const degradedRetryMs = 60 * 60_000
/** A host that comes back wakes its targets itself; this is only the floor under it. */
const hostRecheckMs = 30_000

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
/** The longest backoff with its jitter. */
const longestHealWaitMs = healBackoffCapMs * 1.2
