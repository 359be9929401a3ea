import { advance, type Deployment, queueDeployment } from './deployment.ts'
import type { ObservedSite, StandingContainer } from './observed.ts'
import type { Release, SiteRelease } from './release.ts'
import { formatTarget, type Target, type TargetKey, targetDigest } from './target.ts'

/** All containers of one target, of whatever release. */
export type StandingTarget = { target: Target; containers: StandingContainer[] }

/** What of a target is taken for its applied release, and why anything else of it is not. */
export type Standing = {
  applied: StandingRelease | null
  /** Containers beside it, each with the rule that left it out. */
  surplus: { name: string; reason: string }[]
}

/** One release as a host shows it. What labels cannot say of it stands in git, or nowhere. */
export type StandingRelease = {
  id: string
  kind: Release['kind']
  /** In the order of their numbers. */
  containers: StandingContainer[]
  /** null for a Service. */
  site: Pick<SiteRelease, 'folder' | 'root'> | null
  /** Other whole releases of a Site: what a rollback may need. */
  otherIds: string[]
  deploymentId: string
  commit: string
  epoch: number
  at: string
}

/** The containers of a host by the target their labels name. What names none is not a target's. */
export function groupByTarget(host: string, containers: readonly StandingContainer[]): StandingTarget[] {
  const byKey = new Map<TargetKey, StandingTarget>()
  for (const container of containers) {
    const target = labelledTarget(host, container)
    if (!target) continue
    const key = formatTarget(target)
    const known = byKey.get(key) ?? { target, containers: [] }
    known.containers.push(container)
    byKey.set(key, known)
  }
  return [...byKey.values()]
}

function labelledTarget(host: string, { spec: { labels } }: StandingContainer): Target | null {
  const { 'towline.repo': repo, 'towline.app': app, 'towline.preview': preview } = labels
  if (!repo || !app) return null
  return { repo, app, host, preview: preview === undefined ? null : Number(preview) }
}

/** Containers that were made together: the replicas of one release, or one server of a Site. */
type Group = {
  kind: Release['kind']
  /** null for a server of a Site: it outlives releases, so its name says none. */
  releaseId: string | null
  containers: StandingContainer[]
  epoch: number
}

/**
 * Which of a target's releases the lost record called applied. Each rule leaves out what it fits, in this order; of
 * what is left over there is one at most.
 *
 * Old containers go as soon as the new ones are proven. So while older ones stand that ran once, nothing newer was
 * proven, also where the newer ones alone run by now (stop-first). The one case where this is too careful, a kill
 * between the proof and the removal, costs one more proof of the newer release, and no restart.
 */
const rules: {
  reason: string
  fits: (group: Group, others: Group[], site: ObservedSite | null) => boolean
}[] = [
  {
    reason: 'it is on its way out',
    fits: ({ containers }) => containers.every(({ state }) => state === 'dead' || state === 'removing'),
  },
  {
    reason: 'it never ran: its rollout had not come that far',
    fits: ({ containers }) => containers.every(({ state }) => state === 'created'),
  },
  {
    reason: 'nothing is served: the current link names no release',
    fits: ({ kind }, _others, site) => kind === 'Site' && currentRelease(site) === null,
  },
  {
    reason: 'an older release still stands, so this one was not proven',
    fits: (group, others) => others.some((other) => other.epoch < group.epoch),
  },
]

/** Holds what stands of a target against the rules. `site` is its folder on the host, null where it has none. */
export function judgeStanding(
  { target, containers }: StandingTarget,
  { owner, site }: { owner: string; site: ObservedSite | null },
): Standing {
  const { groups, strays } = groupByRelease(containers, { owner, target })
  const surplus = strays.map(({ spec }) => ({ name: spec.name, reason: 'its name is of no release' }))
  let left = groups
  for (const { reason, fits } of rules) {
    const out = left.filter((group) =>
      fits(
        group,
        left.filter((other) => other !== group),
        site,
      ),
    )
    left = left.filter((group) => !out.includes(group))
    for (const { spec } of out.flatMap((group) => group.containers)) surplus.push({ name: spec.name, reason })
  }
  const [group] = left
  return { applied: group ? describe(group, site) : null, surplus }
}

const releaseName = /^(?<id>[0-9a-f]{12}(?:-[1-9]\d*)?)-(?<number>[1-9]\d*)$/
const siteServerName = /^site-[0-9a-f]{8}$/

function groupByRelease(
  containers: StandingContainer[],
  { owner, target }: { owner: string; target: Target },
): { groups: Group[]; strays: StandingContainer[] } {
  const prefix = `towline-${target.app}-${targetDigest(owner, target)}-`
  const groups = new Map<string, Group>()
  const strays: StandingContainer[] = []
  for (const container of containers) {
    const { name, labels } = container.spec
    const rest = name.startsWith(prefix) ? name.slice(prefix.length) : ''
    const releaseId = releaseName.exec(rest)?.groups?.id ?? null
    if (releaseId === null && !siteServerName.test(rest)) {
      strays.push(container)
      continue
    }
    const groupName = releaseId ?? rest
    const kind = releaseId === null ? 'Site' : 'Service'
    const group = groups.get(groupName) ?? { kind, releaseId, containers: [], epoch: 0 }
    group.containers.push(container)
    group.epoch = Math.max(group.epoch, Number(labels['towline.epoch']) || 0)
    groups.set(groupName, group)
  }
  return { groups: [...groups.values()], strays }
}

function describe({ kind, releaseId, containers, epoch }: Group, site: ObservedSite | null): StandingRelease {
  const sorted = containers.toSorted((a, b) => replicaNumber(a) - replicaNumber(b))
  const labels = sorted[0]?.spec.labels ?? {}
  const served = kind === 'Site' ? currentRelease(site) : null
  return {
    id: releaseId ?? served ?? '',
    kind,
    containers: sorted,
    site: kind === 'Site' && site ? { folder: site.folder, root: servedRoot(site) } : null,
    otherIds: served === null ? [] : wholeReleases(site).filter((id) => id !== served),
    deploymentId: labels['towline.deployment'] ?? '',
    commit: labels['towline.commit'] ?? '',
    epoch,
    at:
      sorted
        .map(({ createdAt }) => createdAt)
        .sort()
        .at(-1) ?? '',
  }
}

function replicaNumber({ spec }: StandingContainer): number {
  return Number(/-(\d+)$/.exec(spec.name)?.[1] ?? 0)
}

/**
 * The release `current` names. It need not stand: links are switched to whole releases only, so what is missing by now is
 * drift for the healer.
 */
function currentRelease(site: ObservedSite | null): string | null {
  if (site?.current.kind !== 'link') return null
  return /^releases\/([0-9a-f]{12}(?:-[1-9]\d*)?)$/.exec(site.current.to)?.[1] ?? null
}

function wholeReleases(site: ObservedSite | null): string[] {
  return (site?.releases ?? []).filter(({ complete }) => complete).map(({ id }) => id)
}

function servedRoot({ webroot }: ObservedSite): string {
  return (webroot.kind === 'link' && /^current\/(.+)$/.exec(webroot.to)?.[1]) || '.'
}

/** The attempt a release's name tells: `0a1b2c3d4e5f-2` is the second. */
export function attemptOf(releaseId: string): number {
  return Number(/-(\d+)$/.exec(releaseId)?.[1] ?? 1)
}

/** True where the release, made from a spec, is the one that stands: the same input under the same names. */
export function isSameRelease(release: Release, standing: StandingRelease): boolean {
  if (release.id !== standing.id || release.kind !== standing.kind) return false
  const inputs = new Map(release.containers.map(({ name, labels }) => [name, labels['towline.input']]))
  return standing.containers.every(({ spec }) => inputs.get(spec.name) === spec.labels['towline.input'])
}

/**
 * A release made from the containers themselves, where no spec is known that says the same. Enough to heal them, and to
 * put them back after a deployment that fails; the files of a Site cannot be written again.
 */
export function releaseAsItStands(
  standing: StandingRelease,
  options: { owner: string; target: Target; monitorMs: number; keepReleases: number },
): Release {
  const { owner, target, monitorMs, keepReleases } = options
  const specs = standing.containers.map(({ spec }) => spec)
  const [first] = specs
  const image = first?.image ?? ''
  const ownVolume = `towline-${target.app}-${targetDigest(owner, target)}-`
  const mounts = specs.flatMap((spec) => spec.mounts).filter(({ type }) => type === 'volume')
  const volumeNames = new Set(
    mounts.map(({ source }) => source).filter((source) => source.startsWith(ownVolume)),
  )
  const hasFixedPort = specs.some(({ ports }) => ports.some(({ hostPort }) => hostPort !== null))
  return {
    id: standing.id,
    inputHash: standing.kind === 'Service' ? (first?.labels['towline.input'] ?? '') : standing.id,
    commit: standing.commit,
    kind: standing.kind,
    image: { reference: image, pinned: image },
    network: {
      name: first?.network ?? '',
      labels: { 'towline.owner': owner, 'towline.repo': target.repo },
    },
    volumes: [...volumeNames].map((name) => ({ name, labels: ownLabels(first?.labels ?? {}) })),
    containers: specs,
    site: standing.site && { ...standing.site, source: { kind: 'unknown' } },
    order: hasFixedPort || mounts.some(({ readOnly }) => !readOnly) ? 'stop-first' : 'start-first',
    monitorMs,
    keepReleases,
  }
}

/** What says whose a thing is; not what it is for. */
function ownLabels(labels: Record<string, string>): Record<string, string> {
  const others = new Set(['towline.role', 'towline.input'])
  return Object.fromEntries(
    Object.entries(labels).filter(([name]) => name.startsWith('towline.') && !others.has(name)),
  )
}

/** A deployment that ended well before the records were lost. Its history says where it comes from. */
export function rebuiltDeployment(input: {
  id: string
  target: TargetKey
  specHash: string
  release: Release
  at: string
}): Deployment {
  const { id, target, specHash, release, at } = input
  const attempt = attemptOf(release.id)
  const { commit } = release
  const queued = queueDeployment({
    ...{ id, target, commit, specHash, attempt, trigger: 'rebuild', now: at, deadlineAt: at },
  })
  const pinned = advance(queued, { type: 'pinned', release, changes: [] }, at)
  return advance(pinned, { type: 'succeeded', message: 'rebuilt from what stands on the host' }, at)
}
