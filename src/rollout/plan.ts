import { containerDrift } from './drift.ts'
import type { Drift, ObservedContainer, ObservedHost, ObservedSite } from './observed.ts'
import type { ContainerSpec, Release, SiteRelease } from './release.ts'
import type { Step } from './step.ts'
import type { Target } from './target.ts'

/** The part of a host that belongs to one target. Networks and volumes are all of ours, null where nobody looked. */
export type TargetView = {
  containers: ObservedContainer[]
  site: ObservedSite | null
  networks: string[] | null
  volumes: string[] | null
}

/** Cuts one target's view out of a host. `folder` is its site folder, null for a Service. */
export function viewTarget(observed: ObservedHost, target: Target, folder: string | null): TargetView {
  const preview = target.preview === null ? undefined : String(target.preview)
  const containers = observed.containers.filter(
    ({ labels }) =>
      labels['towline.repo'] === target.repo &&
      labels['towline.app'] === target.app &&
      labels['towline.preview'] === preview,
  )
  const { networks, volumes } = observed
  return { containers, site: folder === null ? null : (observed.sites?.[folder] ?? null), networks, volumes }
}

/**
 * The steps that bring a target from what is there to the release, in phase order. Pure: the same input gives the
 * same plan, and what has been applied gives an empty one.
 *
 * - `prove` adds the readiness wait and the watch after the switch even where nothing has to change: a deployment
 *   (also one resumed after a crash) has to prove its release, healing has not.
 * - `keepReleaseIds` names the release directories a rollback may need; null removes none.
 * - `heal` also restarts what is unhealthy, and disturbs at most one container that runs: the others serve meanwhile,
 *   and the next plan names the next one.
 */
export function planRelease(
  release: Release,
  view: TargetView,
  options: { prove: boolean; keepReleaseIds: string[] | null; heal?: boolean },
): Step[] {
  const found = matchContainers(release.containers, view)
  const match = options.heal ? oneAtATime(found) : { ...found, restart: [] }
  const waitFor = options.prove
    ? release.containers
    : [...match.start, ...match.restart.map(({ spec }) => spec)]
  const steps: Step[] = [
    ...planCreation(release, match),
    ...planFiles(release, view.site),
    ...planLinks(release.site, release.id, view.site),
    ...planStart(release, match),
    ...match.restart.map(
      ({ spec, drift }): Step => ({
        do: 'restartContainer',
        phase: 'updating_routes',
        name: spec.name,
        graceMs: spec.stopGraceMs,
        reason: 'its health check failed as often as retries allow',
        drift,
      }),
    ),
  ]
  if (waitFor.length > 0) {
    steps.push({
      do: 'awaitReady',
      phase: 'updating_routes',
      names: waitFor.map(({ name }) => name),
      created: [...match.create, ...match.recreate].map(({ spec }) => spec.name),
      settleMs: release.monitorMs,
      reason: 'the old release serves until the new one is proven',
    })
  }
  if (options.prove) {
    steps.push({
      do: 'monitor',
      phase: 'health_check',
      names: release.containers.map(({ name }) => name),
      started: match.start.map(({ name }) => name),
      monitorMs: release.monitorMs,
      reason: 'a release counts once it has answered for a while',
    })
  }
  for (const { name, id, state } of match.surplus) {
    const graceMs = release.containers[0]?.stopGraceMs ?? defaultGraceMs
    steps.push({
      do: 'removeContainer',
      phase: 'active',
      name,
      id,
      graceMs,
      reason: 'not part of the release',
      drift: { subject: `container ${name}`, field: 'state', expected: 'absent', found: state },
    })
  }
  if (options.keepReleaseIds) steps.push(...planRetention(release, view.site, options.keepReleaseIds))
  return steps
}

/** The steps that leave nothing of a target but its volumes: cleaning up a first deployment that failed. */
export function planRemoval(view: TargetView): Step[] {
  const reason = 'nothing of this target was ever proven'
  const containers = view.containers.map(
    ({ name, id }): Step => ({
      do: 'removeContainer',
      phase: 'active',
      name,
      id,
      graceMs: defaultGraceMs,
      reason,
    }),
  )
  const site: Step[] = view.site
    ? [{ do: 'removeSite', phase: 'active', folder: view.site.folder, reason }]
    : []
  return [...containers, ...site]
}

/**
 * Volumes of a proven release that are gone, with what was in them. To make them again empty is not healing: the app
 * would run on nothing as if nothing had happened.
 */
export function lostVolumes(release: Release, { volumes }: TargetView): Drift[] {
  return release.volumes
    .filter(({ name }) => volumes?.includes(name) === false)
    .map(({ name }) => ({ subject: `volume ${name}`, field: 'state', expected: 'present', found: 'missing' }))
}

/** The differences that made a plan, each once. */
export function driftOf(steps: Step[]): Drift[] {
  return steps.flatMap((step) => (step.drift ? [step.drift] : []))
}

/** Where the links of a site must point. */
function wantedLinks(site: SiteRelease, releaseId: string): { current: string; webroot: string } {
  return {
    current: `releases/${releaseId}`,
    webroot: site.root === '.' ? 'current' : `current/${site.root}`,
  }
}

/** Docker's own default for `docker stop`. */
const defaultGraceMs = 10_000

type Match = {
  /** No container of that name and input stands. */
  create: { spec: ContainerSpec; drift: Drift | null }[]
  /** Stands, but must be removed and created anew. */
  recreate: { spec: ContainerSpec; found: ObservedContainer; drift: Drift }[]
  /** To be started: all created ones, and those that stand but do not run. */
  start: ContainerSpec[]
  startDrift: Map<string, Drift>
  /** Runs as its spec says and does not answer. */
  restart: { spec: ContainerSpec; drift: Drift }[]
  surplus: ObservedContainer[]
}

function matchContainers(wanted: ContainerSpec[], { containers, networks }: TargetView): Match {
  const match: Match = {
    create: [],
    recreate: [],
    start: [],
    startDrift: new Map(),
    restart: [],
    surplus: [],
  }
  const byName = new Map(containers.map((container) => [container.name, container]))
  for (const spec of wanted) {
    const container = byName.get(spec.name)
    byName.delete(spec.name)
    if (!container) {
      match.create.push({ spec, drift: stateDrift(spec, 'missing') })
      match.start.push(spec)
      continue
    }
    const drift =
      lostNetwork(spec, networks) ?? containerDrift(spec, container)[0] ?? unusableState(spec, container)
    if (drift) {
      match.recreate.push({ spec, found: container, drift })
      match.start.push(spec)
    } else if (container.state === 'created' || container.state === 'exited') {
      match.start.push(spec)
      match.startDrift.set(spec.name, stateDrift(spec, container.state))
    } else if (container.state === 'running' && container.health === 'unhealthy') {
      match.restart.push({ spec, drift: healthDrift(spec) })
    }
  }
  match.surplus = [...byName.values()]
  return match
}

/**
 * Of all containers that run and still have to be disturbed only the first, and none while others have yet to be started:
 * what serves goes on serving.
 */
function oneAtATime(match: Match): Match {
  const runs = ({ found }: Match['recreate'][number]) => found.state === 'running'
  const down = match.recreate.filter((each) => !runs(each))
  const disturbed = match.recreate.filter(runs)
  const isShort = match.create.length + down.length + match.startDrift.size > 0
  const next = isShort ? [] : disturbed.slice(0, 1)
  const deferred = new Set(disturbed.filter((each) => !next.includes(each)).map(({ spec }) => spec))
  return {
    ...match,
    recreate: [...down, ...next],
    start: match.start.filter((spec) => !deferred.has(spec)),
    restart: isShort || next.length > 0 ? [] : match.restart.slice(0, 1),
  }
}

/** A container remembers a network by its id: on one of the same name that was made anew it cannot start. */
function lostNetwork(spec: ContainerSpec, networks: string[] | null): Drift | null {
  if (networks === null || networks.includes(spec.network)) return null
  return { subject: `network ${spec.network}`, field: 'state', expected: 'present', found: 'missing' }
}

function healthDrift(spec: ContainerSpec): Drift {
  return { subject: `container ${spec.name}`, field: 'health', expected: 'healthy', found: 'unhealthy' }
}

function stateDrift(spec: ContainerSpec, found: string): Drift {
  return { subject: `container ${spec.name}`, field: 'state', expected: 'running', found }
}

/** `restarting` is Docker's own healing at work and left alone; a start cannot help the others. */
function unusableState(spec: ContainerSpec, container: ObservedContainer): Drift | null {
  const unusable =
    container.state === 'dead' || container.state === 'paused' || container.state === 'removing'
  return unusable ? stateDrift(spec, container.state) : null
}

function planCreation(release: Release, match: Match): Step[] {
  if (match.create.length + match.recreate.length === 0) return []
  const reason = 'containers have to be created'
  const steps: Step[] = [
    { do: 'ensureImage', phase: 'building', image: release.image, reason },
    { do: 'ensureNetwork', phase: 'copying_files', network: release.network, reason },
  ]
  for (const volume of release.volumes) {
    steps.push({ do: 'ensureVolume', phase: 'copying_files', volume, reason })
  }
  for (const { spec, found, drift } of match.recreate) {
    const { name, id } = found
    steps.push({
      do: 'removeContainer',
      phase: 'copying_files',
      name,
      id,
      graceMs: spec.stopGraceMs,
      reason: `its ${drift.field} differs`,
      drift,
    })
    steps.push({ do: 'createContainer', phase: 'copying_files', container: spec, reason: 'created anew' })
  }
  for (const { spec, drift } of match.create) {
    steps.push({
      do: 'createContainer',
      phase: 'copying_files',
      container: spec,
      reason: 'not there yet',
      ...(drift && { drift }),
    })
  }
  return steps
}

function planFiles(release: Release, site: ObservedSite | null): Step[] {
  if (!release.site) return []
  const found = site?.releases.find(({ id }) => id === release.id)
  const isWhole = found?.complete && (found.damage ?? []).length === 0
  if (isWhole) return []
  return [
    {
      do: 'writeRelease',
      phase: 'copying_files',
      releaseId: release.id,
      site: release.site,
      reason: found ? 'the release directory is not whole' : 'the release is not on the host yet',
      drift: {
        subject: `release ${release.site.folder}/releases/${release.id}`,
        field: 'files',
        expected: 'complete',
        found: found ? describeDamage(found) : 'missing',
      },
    },
  ]
}

function describeDamage({ complete, damage }: ObservedSite['releases'][number]): string {
  return complete && damage && damage.length > 0 ? damage.join('; ') : 'incomplete'
}

/**
 * `current` alone moves as long as the served folder keeps its name. Where it changes, two links cannot be swapped in
 * one act, so the webroot first points straight into the new release: no reader ever looks through a missing link.
 */
function planLinks(site: SiteRelease | null, releaseId: string, found: ObservedSite | null): Step[] {
  if (!site) return []
  const wanted = wantedLinks(site, releaseId)
  const current = linkDrift(site.folder, 'current', wanted.current, found)
  const webroot = linkDrift(site.folder, 'webroot', wanted.webroot, found)
  const drift = current ?? webroot
  if (!drift) return []
  const direct = site.root === '.' ? wanted.current : `${wanted.current}/${site.root}`
  const links: { name: 'current' | 'webroot'; to: string }[] = []
  if (webroot && current) links.push({ name: 'webroot', to: direct })
  if (current) links.push({ name: 'current', to: wanted.current })
  if (webroot) links.push({ name: 'webroot', to: wanted.webroot })
  const reason = `${drift.field} of ${drift.subject} is ${drift.found}`
  return [{ do: 'pointLinks', phase: 'creating_symlinks', folder: site.folder, links, reason, drift }]
}

function linkDrift(
  folder: string,
  name: 'current' | 'webroot',
  to: string,
  site: ObservedSite | null,
): Drift | null {
  const link = site?.[name] ?? { kind: 'missing' }
  if (link.kind === 'link' && link.to === to) return null
  const found = link.kind === 'link' ? link.to : link.kind === 'other' ? 'not a link' : 'missing'
  return { subject: `link ${folder}/${name}`, field: 'target', expected: to, found }
}

function planStart(release: Release, match: Match): Step[] {
  if (match.start.length === 0) return []
  const steps: Step[] = []
  if (release.order === 'stop-first') {
    for (const { name, state } of match.surplus) {
      if (state !== 'running' && state !== 'restarting' && state !== 'paused') continue
      const graceMs = release.containers[0]?.stopGraceMs ?? defaultGraceMs
      steps.push({
        do: 'stopContainer',
        phase: 'updating_routes',
        name,
        graceMs,
        reason: 'old and new cannot run side by side (a fixed host port or a writable volume)',
      })
    }
  }
  for (const { name } of match.start) {
    const drift = match.startDrift.get(name)
    steps.push({
      do: 'startContainer',
      phase: 'updating_routes',
      name,
      reason: drift ? `it is ${drift.found}` : 'created and not running',
      ...(drift && { drift }),
    })
  }
  return steps
}

function planRetention(release: Release, site: ObservedSite | null, keepReleaseIds: string[]): Step[] {
  if (!release.site || !site) return []
  const keep = new Set([release.id, ...keepReleaseIds])
  const { folder } = release.site
  return site.releases
    .filter(({ id }) => !keep.has(id))
    .map(
      ({ id, complete }): Step => ({
        do: 'removeRelease',
        phase: 'active',
        folder,
        releaseId: id,
        reason: 'beyond keepReleases',
        drift: {
          subject: `release ${folder}/releases/${id}`,
          field: 'files',
          expected: 'absent',
          found: complete ? 'complete' : 'incomplete',
        },
      }),
    )
}
