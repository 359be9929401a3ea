import { explain } from '../rollout/error.ts'
import type { Inventory } from '../rollout/observed.ts'
import { type Explanations, findOrphans, isPastGrace, type Orphan, strangeness } from '../rollout/orphans.ts'
import type { Release } from '../rollout/release.ts'
import type { HostStep } from '../rollout/step.ts'
import { volumeName } from '../rollout/target.ts'
import { siteFolder } from '../spec/release.ts'
import { newHost } from './host-status.ts'
import type { DockerHost, Log, Store } from './ports.ts'
import { dueHosts } from './rebuild-due.ts'
import type { TargetRecord } from './records.ts'
import type { Statistics } from './statistics.ts'
import type { OrphanStatus } from './status.ts'

export type OrphanSearch = {
  /** Looks at one host and removes what is due; with `dryRun` it only says what it found. */
  look(host: DockerHost, options: { dryRun: boolean; signal: AbortSignal }): Promise<OrphanStatus[]>
  /** What the last looks found and left. */
  found(): OrphanStatus[]
}

type Seen = { firstSeenAt: string; seenAtMs: number }

/**
 * Finds things of this installation that no record and no spec explains, and removes them once they have been seen so for
 * the whole grace: by this process's steady clock, and by the host's own. Each is removed under its target's claim, after the
 * record was read once more, so that no deployment loses what it has just made.
 */
export function createOrphanSearch(parts: {
  store: Store
  /** Config repos of this server, besides those there are records of. */
  repos: () => Iterable<string>
  settings: { remove: boolean; volumes: boolean; graceMs: number }
  holder: string
  statistics: Statistics
  log: Log
}): OrphanSearch {
  const { store, settings, log } = parts
  const seen = new Map<string, Seen>()
  const lastFound = new Map<string, OrphanStatus[]>()

  async function look(
    host: DockerHost,
    { dryRun, signal }: { dryRun: boolean; signal: AbortSignal },
  ): Promise<OrphanStatus[]> {
    const inventory = await host.inventory({ signal })
    const explanations = await explanationsOf(host.name)
    const orphans = findOrphans(inventory, explanations, { volumes: settings.volumes })
    const odd = (await rememberEngine(inventory, orphans, explanations)) ?? (await unknownRecords(host.name))
    if (odd !== null)
      log.warn({ host: host.name, odd }, 'the host answers strangely; nothing on it is tidied')
    const statuses: OrphanStatus[] = []
    for (const orphan of orphans) {
      const since = noteSeen(host.name, orphan)
      const status = describe(orphan, { host: host.name, since, odd })
      const isDue =
        status.removeAfter !== null &&
        performance.now() - since.seenAtMs >= settings.graceMs &&
        isPastGrace(orphan.thing, inventory, settings.graceMs)
      if (!dryRun && isDue && (await remove(host, orphan, signal))) continue
      statuses.push(status)
    }
    forgetOthers(host.name, orphans)
    lastFound.set(host.name, statuses)
    return statuses
  }

  async function explanationsOf(host: string): Promise<Explanations> {
    const records = await store.listTargets()
    const here = records.filter(({ target }) => target.host === host)
    return {
      targets: new Map(here.map((record) => [record.key, thingsOf(store.owner, record)])),
      repos: new Set([...parts.repos(), ...records.map(({ target }) => target.repo)]),
      own: new Set([volumeName(store.owner), `${volumeName(store.owner)}-files`]),
    }
  }

  /** Another Engine under the name of a known one is trusted again once it has stayed for a while. */
  async function rememberEngine(
    inventory: Inventory,
    orphans: Orphan[],
    { targets }: Explanations,
  ): Promise<string | null> {
    const record = await store.readHost(inventory.host)
    const isNew = record?.engineId !== inventory.engineId
    const mark = isNew ? noteMark(`${inventory.host} engine ${inventory.engineId}`) : null
    const isTrusted =
      record?.engineId == null || (mark !== null && performance.now() - mark.seenAtMs >= engineTrustMs)
    if (isNew && isTrusted) {
      await store.updateHost(inventory.host, (stored) => ({
        ...(stored ?? newHost(inventory.host)),
        engineId: inventory.engineId,
      }))
    }
    const engineId = isTrusted ? inventory.engineId : (record?.engineId ?? null)
    return strangeness(inventory, orphans, { engineId, recordCount: targets.size })
  }

  /** What no record explains may be just what the records that were lost explained. */
  async function unknownRecords(host: string): Promise<string | null> {
    return (await dueHosts(store, [host])).length > 0 ? 'its records were lost and are not rebuilt yet' : null
  }

  function noteSeen(host: string, { thing }: Orphan): Seen {
    return noteMark(`${host} ${thing.kind} ${thing.id}`)
  }

  function noteMark(key: string): Seen {
    const mark = seen.get(key) ?? { firstSeenAt: new Date().toISOString(), seenAtMs: performance.now() }
    seen.set(key, mark)
    return mark
  }

  function forgetOthers(host: string, orphans: Orphan[]) {
    const still = new Set(orphans.map(({ thing }) => `${host} ${thing.kind} ${thing.id}`))
    for (const key of seen.keys()) {
      if (key.startsWith(`${host} `) && !key.startsWith(`${host} engine `) && !still.has(key))
        seen.delete(key)
    }
  }

  function describe(
    { thing, reason, removable }: Orphan,
    { host, since, odd }: { host: string; since: Seen; odd: string | null },
  ): OrphanStatus {
    const isKept = !removable || !settings.remove || odd !== null
    return {
      host,
      kind: thing.kind,
      name: thing.name,
      reason: odd === null ? reason : `${reason}; left alone: ${odd}`,
      firstSeenAt: since.firstSeenAt,
      removeAfter: isKept ? null : new Date(Date.parse(since.firstSeenAt) + settings.graceMs).toISOString(),
    }
  }

  async function remove(host: DockerHost, orphan: Orphan, signal: AbortSignal): Promise<boolean> {
    const { thing, target } = orphan
    const claim =
      target === null
        ? null
        : await store.claimTarget(target, { holder: parts.holder, ttlMs: removalClaimMs })
    if (target !== null && claim === null) return false
    try {
      const stillThere = findOrphans(
        { host: host.name, engineId: '', at: '', things: [thing] },
        await explanationsOf(host.name),
        { volumes: settings.volumes },
      )
      if (stillThere.length === 0) return false
      await host.apply(removalStep(orphan), { signal })
      parts.statistics.count('orphansRemoved')
      log.info(
        { host: host.name, kind: thing.kind, name: thing.name, reason: orphan.reason },
        `removed ${thing.kind} ${thing.name}, which nothing explains`,
      )
      return true
    } catch (error) {
      log.warn(
        { host: host.name, kind: thing.kind, name: thing.name, ...explain(error) },
        'a thing nothing explains could not be removed; the next look tries again',
      )
      return false
    } finally {
      if (claim) await store.releaseClaim(claim)
    }
  }

  return { look, found: () => [...lastFound.values()].flat() }
}

/** All names of a target that may stand on its host: of what is applied, of what is open, of releases kept for a rollback. */
function thingsOf(owner: string, record: TargetRecord): { open: boolean; names: ReadonlySet<string> } {
  const open = record.deployments.filter(({ result }) => result === null)
  const releases = [record.applied?.release, ...record.deployments.map(({ release }) => release)]
  // Of older deployments only what a rollback may need: their volumes and images. Their containers are gone for good.
  const kept = releases.flatMap((release) => (release ? keptNames(release) : []))
  const standing = record.applied ? namesOf(record.applied.release) : []
  const site = record.desired || record.applied || open.length > 0 ? [siteFolder(owner, record.target)] : []
  return { open: open.length > 0, names: new Set([...kept, ...standing, ...site]) }
}

function keptNames({ volumes, image }: Release): string[] {
  return [...volumes.map(({ name }) => name), image.pinned]
}

function namesOf({ containers, network }: Release): string[] {
  return [...containers.map(({ name }) => name), network.name]
}

function removalStep({ thing, reason }: Orphan): HostStep & { reason: string } {
  const { name, id } = thing
  switch (thing.kind) {
    case 'container':
      return { do: 'removeContainer', phase: 'active', name, id, graceMs: removalGraceMs, reason }
    case 'network':
      return { do: 'removeNetwork', phase: 'active', name, reason }
    case 'volume':
      return { do: 'removeVolume', phase: 'active', name, reason }
    case 'image':
      return { do: 'removeImage', phase: 'active', name, id, reason }
    case 'site':
      return { do: 'removeSite', phase: 'active', folder: id, reason }
    default:
      return thing.kind satisfies never
  }
}

const removalClaimMs = 120_000
/** Docker's own default for `docker stop`. */
const removalGraceMs = 10_000
/** A host that was set up anew is trusted after an hour; a wrong endpoint is noticed sooner. */
const engineTrustMs = 60 * 60_000
