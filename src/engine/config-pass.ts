import { createHash } from 'node:crypto'
import { queueDeployment, type Trigger } from '../rollout/deployment.ts'
import { TowlineError } from '../rollout/error.ts'
import type { PrunePlan } from '../rollout/prune.ts'
import { formatTarget, type Target } from '../rollout/target.ts'
import { hashSpec, type SiteServer } from '../spec/release.ts'
import type { Problem } from '../spec/spec.ts'
import type { Mirror, Store } from './ports.ts'
import { heldHosts } from './rebuild-due.ts'
import type { Desired, RepoRecord, ReportState, Revision, TargetRecord } from './records.ts'
import { schemaVersion } from './records.ts'
import type { SpecReader, WishedSpec } from './spec-reader.ts'
import { pausedReason } from './target-pass.ts'
import { forgetUnwanted, leaversOf, liftTombstones, planTombstones } from './tombstones.ts'

export type ConfigParts = {
  store: Store
  specs: SpecReader
  siteServer: SiteServer
  /** Longest life of one deployment. */
  deadlineMs: number
  /** Called for each target whose wish changed. */
  onWish: (key: string) => void
  /** Called when a revision was stored or changed. */
  onRevision: (repo: string) => void
}

/**
 * One look at one config repo: has the head moved, what do the specs say there, which targets want something new.
 * Each of those gets a queued deployment. Safe to repeat: the same commit asks for nothing twice. `force` reads the
 * head's specs even where it has not moved (start-up, a re-run of the commit). `rebuiltHosts` are held back still, and
 * what stands there is known by now.
 */
export async function passRepo(
  parts: ConfigParts,
  { repo, branch, mirror }: { repo: string; branch: string; mirror: Mirror },
  options: { force: boolean; signal: AbortSignal; rebuiltHosts?: ReadonlySet<string> },
): Promise<void> {
  const { signal, rebuiltHosts } = options
  const record = await parts.store.readRepo(repo)
  const head = await mirror.probe({ signal })
  if (head === record?.head && !options.force) return
  const commit = head === null ? null : await mirror.fetch({ signal })
  if (commit === null) {
    // The branch is gone. Nothing is taken down for it: only a commit can say that an app is unwanted.
    await liftTombstones(parts.store, { repo, plan: { removals: [], refused: null } })
    await parts.store.updateRepo(repo, (stored) => ({
      ...(stored ?? newRepo(repo, branch)),
      branch,
      head: null,
    }))
    return
  }
  const read = await parts.specs.read({ repo, commit, tree: mirror, signal })
  const saysNothing = read.fileCount === 0 && read.problems.length === 0
  if (saysNothing && (record?.revisions.length ?? 0) === 0) {
    await parts.store.updateRepo(repo, (stored) => ({
      ...(stored ?? newRepo(repo, branch)),
      branch,
      head: commit,
    }))
    return
  }
  const targets = new Map((await parts.store.listTargets()).map((target) => [target.key, target]))
  const held = await heldHosts(parts.store, repo, { but: rebuiltHosts })
  const wishes = compareWishes(parts, { repo, commit, specs: read.specs, targets, heldHosts: held })
  const leavers = leaversOf(targets.values(), { repo, wanted: wishes.keys })
  const prune = planTombstones(leavers, { read, commit, nowMs: Date.now() })
  await liftTombstones(parts.store, { repo, plan: prune })
  // The revision is stored before its deployments: a crash in between repeats this pass and completes it.
  await storeRevision(parts, { repo, branch, commit, wishes, problems: read.problems, prune })
  for (const { key, target, desired, deploymentId } of dependenciesFirst(wishes.changed)) {
    await parts.store.updateTarget(key, (stored) =>
      wish(stored ?? newTarget(key, target), {
        desired,
        deploymentId,
        trigger: 'push',
        deadlineMs: parts.deadlineMs,
      }),
    )
  }
  for (const { key, target, desired } of wishes.adjusted) {
    await parts.store.updateTarget(key, (stored) => ({ ...(stored ?? newTarget(key, target)), desired }))
  }
  // Only once all are stored: an app that starts sooner would take the old wish of its dependency for met.
  for (const { key } of [...wishes.changed, ...wishes.adjusted]) parts.onWish(key)
  if (read.problems.length === 0) {
    for (const key of await forgetUnwanted(parts.store, { leavers, plan: prune })) parts.onWish(key)
  }
  parts.onRevision(repo)
}

/**
 * Queues one more attempt of a target at what the repo wants now, shown on `commit`. Returns its id, or null where
 * one is open already.
 */
export async function queueRerun(
  parts: Pick<ConfigParts, 'store' | 'deadlineMs' | 'onWish'>,
  key: string,
  { commit, trigger }: { commit: string; trigger: Trigger },
): Promise<string | null> {
  let queued: string | null = null
  await parts.store.updateTarget(key, (stored) => {
    queued = null
    if (!stored?.desired) return stored ?? unexpected(key)
    if (stored.deployments.some(({ result }) => result === null)) return stored
    const { specHash } = stored.desired
    const attempts = stored.deployments
      .filter((one) => one.specHash === specHash)
      .map(({ attempt }) => attempt)
    const attempt = Math.max(0, ...attempts) + 1
    const id = deploymentId(key, { commit, specHash, attempt, record: stored })
    queued = id
    return queue(stored, {
      id,
      commit,
      desired: stored.desired,
      attempt,
      trigger,
      deadlineMs: parts.deadlineMs,
    })
  })
  if (queued !== null) parts.onWish(key)
  return queued
}

export const newReport: ReportState = {
  checkRunId: null,
  createIntended: false,
  writtenHash: '',
  writeCount: 0,
  done: false,
}

export type Wish = { key: string; target: Target; desired: Desired; attempt: number; deploymentId: string }
type Wishes = {
  keys: Set<string>
  /** The input changed: a deployment is due. */
  changed: Wish[]
  /** Only how it is handled changed (pause, dependencies, retention). */
  adjusted: { key: string; target: Target; desired: Desired }[]
  unchangedCount: number
  paused: Revision['pausedTargets']
}

/**
 * What the specs of a commit want, held against what each target was last asked. Stores nothing. On `heldHosts` nobody
 * knows yet what stands: a wish there waits as one that is paused does.
 */
export function compareWishes(
  parts: Pick<ConfigParts, 'siteServer'>,
  input: {
    repo: string
    commit: string
    specs: WishedSpec[]
    targets: Map<string, TargetRecord>
    heldHosts?: ReadonlySet<string>
  },
): Wishes {
  const wishes: Wishes = { keys: new Set(), changed: [], adjusted: [], unchangedCount: 0, paused: [] }
  const nowMs = Date.now()
  for (const { located, filesOid } of input.specs) {
    const { spec, hash } = located
    const specHash = hashSpec({ hash, filesOid, spec, siteServer: parts.siteServer })
    for (const host of spec.hosts) {
      const target: Target = { repo: input.repo, app: spec.name, host, preview: null }
      const key = formatTarget(target)
      wishes.keys.add(key)
      const known = input.targets.get(key)
      const desired = { commit: input.commit, specHash, spec: located }
      const held = input.heldHosts?.has(host) ? heldReason(host) : null
      const reason = held ?? pausedReason(spec.paused, nowMs)
      if (reason !== null) {
        wishes.paused.push({ target: key, reason, until: held ? null : (spec.paused?.until ?? null) })
        if (!known?.desired || !sameWish(known.desired, desired))
          wishes.adjusted.push({ key, target, desired })
        continue
      }
      const before = known?.desired
      if (before?.specHash === specHash && known?.attempted?.specHash === specHash) {
        wishes.unchangedCount += 1
        if (!sameWish(before, desired))
          wishes.adjusted.push({ key, target, desired: { ...desired, commit: before.commit } })
        continue
      }
      const attempt = automaticAttempt(known, specHash)
      const id = deploymentId(key, { commit: input.commit, specHash, attempt, record: known })
      wishes.changed.push({ key, target, desired, attempt, deploymentId: id })
    }
  }
  return wishes
}

function heldReason(host: string): string {
  return `no record tells what stands on ${host}, and nobody could look yet`
}

/**
 * A crash may come between two of them: then a dependency must be among those stored, or the app that depends on it would
 * take its old state for the wanted one. Specs with cycles never get here.
 */
function dependenciesFirst(wishes: Wish[]): Wish[] {
  const byApp = Map.groupBy(wishes, ({ target }) => target.app)
  const ordered = new Set<Wish>()
  const visit = (wish: Wish) => {
    if (ordered.has(wish)) return
    for (const app of wish.desired.spec.spec.dependsOn) byApp.get(app)?.forEach(visit)
    ordered.add(wish)
  }
  wishes.forEach(visit)
  return [...ordered]
}

/** The same input, handled the same way. What is compared besides the hash does not change what runs. */
function sameWish(a: Desired, b: Desired): boolean {
  const handling = ({ spec: { spec } }: Desired) =>
    JSON.stringify([
      spec.paused,
      spec.dependsOn,
      spec.keepReleases,
      spec.progressDeadlineMs,
      spec.recreateVolumes,
    ])
  return a.specHash === b.specHash && handling(a) === handling(b)
}

/**
 * Coming back to what serves already reuses its attempt, so nothing is made twice. Coming back to what failed before
 * counts on, so that its names are new.
 */
function automaticAttempt(known: TargetRecord | undefined, specHash: string): number {
  const earlier = known?.deployments.filter((deployment) => deployment.specHash === specHash) ?? []
  if (known?.applied?.specHash === specHash) {
    return earlier.find(({ id }) => id === known.applied?.deploymentId)?.attempt ?? 1
  }
  return Math.max(0, ...earlier.map(({ attempt }) => attempt)) + 1
}

/**
 * The same wish has the same id, so that a repeated pass finds what it queued before. What was attempted last counts
 * too: a force-push back to a commit that was deployed once is a new wish.
 */
function deploymentId(
  key: string,
  wish: { commit: string; specHash: string; attempt: number; record: TargetRecord | undefined },
): string {
  const { commit, specHash, attempt, record } = wish
  const after = record?.attempted?.deploymentId ?? null
  const digest = createHash('sha256').update(JSON.stringify([key, commit, specHash, attempt, after]))
  return `d-${digest.digest('hex').slice(0, 16)}`
}

function wish(
  stored: TargetRecord,
  input: { desired: Desired; deploymentId: string; trigger: Trigger; deadlineMs: number },
): TargetRecord {
  const { desired, deploymentId: id, trigger, deadlineMs } = input
  if (stored.deployments.some((deployment) => deployment.id === id)) return stored
  const attempt = automaticAttempt(stored, desired.specHash)
  return queue(stored, { id, commit: desired.commit, desired, attempt, trigger, deadlineMs })
}

function queue(
  stored: TargetRecord,
  input: {
    id: string
    commit: string
    desired: Desired
    attempt: number
    trigger: Trigger
    deadlineMs: number
  },
): TargetRecord {
  const { id, commit, desired, attempt, trigger } = input
  const nowMs = Date.now()
  const deployment = queueDeployment({
    id,
    target: stored.key,
    commit,
    specHash: desired.specHash,
    attempt,
    trigger,
    now: new Date(nowMs).toISOString(),
    deadlineAt: new Date(nowMs + input.deadlineMs).toISOString(),
  })
  return {
    ...stored,
    desired,
    attempted: { deploymentId: id, specHash: desired.specHash, attempt },
    deployments: [...stored.deployments, deployment],
    reports: { ...stored.reports, [id]: newReport },
    healing: null,
  }
}

async function storeRevision(
  parts: ConfigParts,
  input: {
    repo: string
    branch: string
    commit: string
    wishes: Wishes
    problems: Problem[]
    prune: PrunePlan
  },
): Promise<void> {
  const { repo, branch, commit, wishes, prune } = input
  await parts.store.updateRepo(repo, (stored) => {
    const record = stored ?? newRepo(repo, branch)
    const known = record.revisions.find((revision) => revision.commit === commit)
    const asked = wishes.changed.map(({ key, deploymentId: id }) => ({ target: key, deploymentId: id }))
    const askedKeys = new Set(asked.map(({ target }) => target))
    const removals = removalsOf(known, { wanted: wishes.keys, prune })
    // A run that is complete cannot reopen: what is asked or announced after it gets a run of its own.
    const renewed = known?.report.done === true && (asked.length > 0 || saysMore(known, removals, prune))
    const revision: Revision = {
      commit,
      seenAt: known?.seenAt ?? new Date().toISOString(),
      problems: input.problems.slice(0, problemLimit),
      deploymentIds: [
        ...(known?.deploymentIds.filter(({ target }) => !askedKeys.has(target)) ?? []),
        ...asked,
      ],
      unchangedCount: known?.unchangedCount ?? wishes.unchangedCount,
      pausedTargets: wishes.paused,
      removals,
      pruneRefused: prune.refused,
      supersededBy: null,
      attempt: (known?.attempt ?? 1) + (renewed ? 1 : 0),
      report: renewed ? newReport : (known?.report ?? newReport),
    }
    const others = record.revisions
      .filter((other) => other.commit !== commit)
      .map((other) => (other.supersededBy === null ? { ...other, supersededBy: commit } : other))
    return { ...record, branch, head: commit, revisions: [...others, revision] }
  })
}

/** Read again, a commit still names what it had removed by then. */
function removalsOf(
  known: Revision | undefined,
  { wanted, prune }: { wanted: ReadonlySet<string>; prune: PrunePlan },
): Revision['removals'] {
  const due = prune.removals.map(({ target, removal: { removeAfter, volumes } }) => ({
    target,
    removeAfter,
    volumes,
  }))
  const dueKeys = new Set(due.map(({ target }) => target))
  const done = known?.removals.filter(({ target }) => !dueKeys.has(target) && !wanted.has(target)) ?? []
  return prune.refused === null ? [...done, ...due] : []
}

/** True where something is removed, or spared, that the commit has not told yet. */
function saysMore(known: Revision, removals: Revision['removals'], { refused }: PrunePlan): boolean {
  const told = new Set(known.removals.map((removal) => JSON.stringify(removal)))
  return refused !== known.pruneRefused || removals.some((removal) => !told.has(JSON.stringify(removal)))
}

export function newRepo(repo: string, branch: string): RepoRecord {
  return { version: schemaVersion, repo, branch, head: null, revisions: [] }
}

export function newTarget(key: string, target: Target): TargetRecord {
  return {
    version: schemaVersion,
    key,
    target,
    desired: null,
    attempted: null,
    applied: null,
    deployments: [],
    reports: {},
    healing: null,
    drift: null,
    untoldDrifts: [],
    removal: null,
  }
}

function unexpected(key: string): never {
  throw new TowlineError(`the record of ${key} is gone`, { fault: 'bug' })
}

/** Enough for any commit a person mends by hand; a bound on the record and on the requests that report it. */
export const problemLimit = 500
