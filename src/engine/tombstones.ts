import { TowlineError } from '../rollout/error.ts'
import { type PrunePlan, planPrune } from '../rollout/prune.ts'
import type { Store } from './ports.ts'
import type { TargetRecord } from './records.ts'
import type { ReadSpecs } from './spec-reader.ts'

/** Targets of a repo that no spec of a commit names. */
export function leaversOf(
  targets: Iterable<TargetRecord>,
  { repo, wanted }: { repo: string; wanted: ReadonlySet<string> },
): TargetRecord[] {
  return [...targets].filter(
    ({ key, target }) => target.repo === repo && target.preview === null && !wanted.has(key),
  )
}

/** What is to become of them. Stores nothing. */
export function planTombstones(
  leavers: TargetRecord[],
  { read, commit, nowMs }: { read: Pick<ReadSpecs, 'settings' | 'problems'>; commit: string; nowMs: number },
): PrunePlan {
  return planPrune(
    leavers.map(({ key, removal, applied, deployments }) => ({
      target: key,
      stands: applied !== null || deployments.some(({ result }) => result === null),
      removal,
    })),
    { rules: read.settings.prune, hasProblems: read.problems.length > 0, commit, nowMs },
  )
}

/**
 * Takes the tombstones away that do not hold any more. Comes before anything else of a commit is stored: what a commit
 * spares must not fall to a removal that was due while the rest of it was written.
 */
export async function liftTombstones(
  store: Pick<Store, 'listTargets' | 'readTarget' | 'updateTarget'>,
  { repo, plan }: { repo: string; plan: PrunePlan },
): Promise<void> {
  const held = new Set(plan.removals.map(({ target }) => target))
  for (const { key, target, removal } of await store.listTargets()) {
    if (target.repo !== repo || target.preview !== null || removal === null || held.has(key)) continue
    await changeTarget(store, key, { removal: null })
  }
}

/**
 * Nothing is wished any more of apps that left the repo; what stands keeps running, until its tombstone is due where it
 * has one. Returns the keys of those this changes.
 */
export async function forgetUnwanted(
  store: Pick<Store, 'readTarget' | 'updateTarget'>,
  { leavers, plan }: { leavers: TargetRecord[]; plan: PrunePlan },
): Promise<string[]> {
  const removals = new Map(plan.removals.map(({ target, removal }) => [target, removal]))
  const changed: string[] = []
  for (const { key, desired, removal: known } of leavers) {
    const removal = removals.get(key) ?? null
    if (desired === null && JSON.stringify(known) === JSON.stringify(removal)) continue
    await changeTarget(store, key, { desired: null, removal })
    changed.push(key)
  }
  return changed
}

/** A record that is gone meanwhile was removed at the word of an earlier commit, and is not made again. */
async function changeTarget(
  store: Pick<Store, 'readTarget' | 'updateTarget'>,
  key: string,
  change: Partial<Pick<TargetRecord, 'desired' | 'removal'>>,
): Promise<void> {
  if ((await store.readTarget(key)) === null) return
  await store.updateTarget(key, (stored) => {
    if (stored) return { ...stored, ...change }
    throw new TowlineError(`the record of ${key} is gone`, { fault: 'stale' })
  })
}
