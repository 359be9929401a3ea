import type { Inventory, OwnedThing } from './observed.ts'
import { formatTarget, type TargetKey } from './target.ts'

/** What explains the things on one host. */
export type Explanations = {
  /** Targets there is a record of, with what of them may stand on the host by name or id. */
  targets: ReadonlyMap<TargetKey, TargetThings>
  /** Config repos of this server. A thing of another repo may be another server's: it is reported and left alone. */
  repos: ReadonlySet<string>
  /** Names that belong to Towline itself: its helper, its volume. */
  own: ReadonlySet<string>
}

/** `open` is true while a deployment of the target is under way: then anything of it may be its doing. */
export type TargetThings = { open: boolean; names: ReadonlySet<string> }

/** A thing of ours that nothing explains, and why. `removable` is false where it must only be reported. */
export type Orphan = { thing: OwnedThing; reason: string; removable: boolean; target: TargetKey | null }

/** Things nothing explains. Ordered rules, first match wins; a thing no rule calls an orphan is explained. */
export function findOrphans(
  inventory: Inventory,
  explained: Explanations,
  options: { volumes: boolean },
): Orphan[] {
  return inventory.things.flatMap((thing) => {
    const reason = unexplained(thing, inventory.host, explained)
    if (reason === null) return []
    const target = targetOf(thing, inventory.host)
    const repo = thing.labels['towline.repo']
    if (repo !== undefined && !explained.repos.has(repo)) {
      return [
        { thing, reason: `its config repo ${repo} is not one of this server's`, removable: false, target },
      ]
    }
    const inUse = (thing.userCount ?? 0) > 0
    const isVolume = thing.kind === 'volume'
    const removable = !inUse && (!isVolume || options.volumes)
    return [{ thing, reason: inUse ? `${reason}; containers still use it` : reason, removable, target }]
  })
}

/**
 * Why a host is left alone though things on it are not explained; null where it may be tidied. A host that answers
 * otherwise than it did, or shows nothing that is known, is more likely the wrong one than full of rubbish.
 */
export function strangeness(
  inventory: Inventory,
  orphans: Orphan[],
  known: { engineId: string | null; recordCount: number },
): string | null {
  if (known.engineId !== null && known.engineId !== inventory.engineId) {
    return `another Docker Engine answers: ${inventory.engineId} instead of ${known.engineId}`
  }
  if (orphans.length > 0 && known.recordCount === 0 && orphans.length > fewThings) {
    return `nothing is known of this host, and ${orphans.length} things of ours stand on it`
  }
  if (orphans.length > fewThings && orphans.length > inventory.things.length * mostShare) {
    return `${orphans.length} of ${inventory.things.length} things of ours would be removed at once`
  }
  return null
}

/** Old enough by the host's own clock. One that seems to come from the future was made under another clock: it waits. */
export function isPastGrace(thing: OwnedThing, inventory: Inventory, graceMs: number): boolean {
  if (thing.createdAt === null) return true
  const ageMs = Date.parse(inventory.at) - Date.parse(thing.createdAt)
  return Number.isFinite(ageMs) && ageMs >= graceMs
}

function unexplained(thing: OwnedThing, host: string, explained: Explanations): string | null {
  if (explained.own.has(thing.name)) return null
  switch (thing.kind) {
    case 'container':
    case 'volume': {
      if (thing.labels['towline.role'] === 'files') return 'a helper of another make'
      return ofTarget(thing, host, explained)
    }
    case 'network': {
      const repo = thing.labels['towline.repo']
      const isUsed = [...explained.targets].some(
        ([key, { names, open }]) => key.startsWith(`${repo}:`) && (names.has(thing.name) || open),
      )
      return isUsed ? null : 'no app of its config repo is on this host any more'
    }
    case 'site':
    case 'image': {
      const isNamed = [...explained.targets.values()].some(
        ({ names }) => names.has(thing.name) || names.has(thing.id),
      )
      return isNamed ? null : 'no record names it'
    }
    default:
      return thing.kind satisfies never
  }
}

function ofTarget(thing: OwnedThing, host: string, { targets }: Explanations): string | null {
  const key = targetOf(thing, host)
  if (key === null) return 'its labels name no target'
  const known = targets.get(key)
  if (!known) return `there is no record of ${key}`
  if (known.open || known.names.has(thing.name)) return null
  return `it is no part of what ${key} has applied`
}

function targetOf({ labels }: OwnedThing, host: string): TargetKey | null {
  const repo = labels['towline.repo']
  const app = labels['towline.app']
  if (repo === undefined || app === undefined) return null
  const preview = labels['towline.preview']
  return formatTarget({ repo, app, host, preview: preview === undefined ? null : Number(preview) })
}

/** So many may always be rubbish; more are weighed against all there is. */
const fewThings = 5
/** A host of which this share is unexplained is not tidied: the records are more likely at fault. */
const mostShare = 0.8
