import type { TargetKey } from './target.ts'

/**
 * The tombstone of an app that left the config repo: it is to be taken off its host, not before `removeAfter`.
 * `commit` is the first that did not name it; `volumes` says whether its volumes go too, with the data in them.
 */
export type Removal = { since: string; removeAfter: string; commit: string; volumes: boolean }

/** What the config repo decides about apps whose spec is deleted; `max` counts targets. */
export type PruneRules = { enabled: boolean; delayMs: number; max: number; volumes: boolean }

/** A target no spec of its repo names. `stands` is true where something of it is, or may soon be, on its host. */
export type Leaver = { target: TargetKey; stands: boolean; removal: Removal | null }

/** Which targets have a tombstone from now on; every other has none. `refused` says why none has. */
export type PrunePlan = { removals: { target: TargetKey; removal: Removal }[]; refused: string | null }

/**
 * What becomes of the targets that left a repo, as its newest commit says. All or none: where more are to be removed
 * than `max`, not even those announced before go, for it is most likely a mistake.
 */
export function planPrune(
  leavers: Leaver[],
  context: { rules: PruneRules; hasProblems: boolean; commit: string; nowMs: number },
): PrunePlan {
  const { rules, hasProblems, commit, nowMs } = context
  if (hasProblems) {
    // The spec that seems gone may be the one nobody can read.
    const isHeldBack = leavers.some(({ removal }) => removal !== null)
    return { removals: [], refused: isHeldBack ? problemsFirst : null }
  }
  if (!rules.enabled) return { removals: [], refused: null }
  // What is off its host already, or never was on it, takes nothing down.
  const standing = leavers.filter(({ stands }) => stands)
  if (standing.length > rules.max) return { removals: [], refused: tooMany(standing.length, rules.max) }
  return {
    removals: leavers.map(({ target, removal: known }) => {
      const since = known?.since ?? new Date(nowMs).toISOString()
      const removal: Removal = {
        since,
        removeAfter: new Date(Date.parse(since) + rules.delayMs).toISOString(),
        commit: known?.commit ?? commit,
        volumes: rules.volumes,
      }
      return { target, removal }
    }),
    refused: null,
  }
}

/** True once a target may be removed. */
export function isDue(removal: Pick<Removal, 'removeAfter'>, nowMs: number): boolean {
  return nowMs >= Date.parse(removal.removeAfter)
}

const problemsFirst =
  'Nothing is removed while specs have problems: the spec that seems gone may be a broken one.'

function tooMany(count: number, max: number): string {
  return (
    `Nothing is removed: ${count} targets left the repo, and prune.max is ${max}. ` +
    `Raise prune.max in towline.yaml, or put specs back and delete them in parts of at most ${max}.`
  )
}
