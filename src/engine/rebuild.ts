import { explain, TowlineError } from '../rollout/error.ts'
import type { ObservedSite, StandingContainer } from '../rollout/observed.ts'
import { groupByTarget, judgeStanding, type StandingTarget } from '../rollout/rebuild.ts'
import { formatTarget, type TargetKey } from '../rollout/target.ts'
import { type SiteServer, siteFolder } from '../spec/release.ts'
import { startDeadline } from '../time/deadline.ts'
import { compareWishes, newRepo, passRepo, problemLimit } from './config-pass.ts'
import type { DockerHost, GitHub, Log, Mirror, RepoAccess, Store } from './ports.ts'
import { dueHosts, heldHosts, holdHosts, setDue } from './rebuild-due.ts'
import {
  type AtCommit,
  type Git,
  type RebuiltFrom,
  rebuildTarget,
  toldReport,
  unlabelled,
  wishOf,
} from './rebuilt-record.ts'
import type { Applied, Revision, TargetRecord } from './records.ts'
import type { SpecReader } from './spec-reader.ts'
import { observeTimeoutMs } from './steps.ts'

export type RebuildParts = {
  store: Store
  hosts: ReadonlyMap<string, DockerHost>
  github: Pick<GitHub, 'repos'>
  mirror: (access: RepoAccess) => Promise<Mirror>
  specs: SpecReader
  siteServer: SiteServer
  /** Longest life of a deployment that is queued for what the head wants otherwise. */
  deadlineMs: number
  log: Log
}

/** One target that was found, and what its record says now. `releaseId` is null where nothing of it was ever proven. */
export type RebuiltTarget = {
  target: TargetKey
  releaseId: string | null
  commit: string
  from: RebuiltFrom
  /** False where the repo wants it no more. */
  wanted: boolean
  surplus: { name: string; reason: string }[]
}

export type RebuildReport = {
  hosts: { host: string; containerCount: number; error: string | null }[]
  targets: RebuiltTarget[]
  /** What kept something from being rebuilt; it is held back and tried again. */
  problems: { subject: string; reason: string; hint: string }[]
  /** True where something that was held back is not any more. */
  released: boolean
}

/**
 * Where the store is empty, all hosts are taken for holding things of ours that no record tells of any more. What was
 * held back by an earlier run is gone on with. Returns null where there is nothing to rebuild from.
 */
export async function rebuildIfEmpty(
  parts: RebuildParts,
  options: { signal: AbortSignal },
): Promise<RebuildReport | null> {
  const { store, hosts } = parts
  const isEmpty = (await store.listTargets()).length + (await store.listRepos()).length === 0
  if (isEmpty) await holdHosts(store, hosts.keys())
  return rebuildStore(parts, options)
}

/**
 * Rebuilds the records of all hosts on which that is due, from labels, release folders and git, and queues what the
 * head wants otherwise: a healer that came first would take a rollout that was cut short for drift. Changes nothing on a
 * host. Whatever cannot be looked at now stays due: nothing of it is deployed before. Safe to repeat and to kill: a
 * record that has an applied release already is left as it is. null where nothing is due.
 */
export async function rebuildStore(
  parts: RebuildParts,
  options: { signal: AbortSignal },
): Promise<RebuildReport | null> {
  const due = await dueHosts(parts.store, parts.hosts.keys())
  if (due.length === 0) return null
  const report: RebuildReport = { hosts: [], targets: [], problems: [], released: false }
  const surveys = await Promise.all(due.map((host) => surveyHost(parts, host, { report, ...options })))
  const found = surveys.flatMap((survey) => survey ?? [])
  const byRepo = Map.groupBy(
    found.flatMap(({ targets }) => targets),
    ({ standing }) => standing.target.repo,
  )
  if (byRepo.size === 0) return report
  const access = await listAccess(parts, { report, ...options })
  if (!access) return report
  for (const [repo, targets] of byRepo) {
    const surveyed = new Set(found.map(({ host }) => host))
    try {
      using deadline = startDeadline({ signal: options.signal, ms: repoTimeoutMs })
      const rebuilt = await rebuildRepo(parts, {
        ...{ access: access.get(repo) ?? null, targets, surveyed, signal: deadline.signal },
      })
      report.targets.push(...rebuilt)
      report.released = true
      for (const host of surveyed) {
        await setDue(parts.store, host, (still) =>
          still === 'everything' ? still : still.filter((other) => other !== repo),
        )
      }
    } catch (error) {
      if (options.signal.aborted) throw error
      report.problems.push({ subject: repo, ...explain(error) })
    }
  }
  return report
}

/** From now on no epoch is given that one of these things carries already. */
async function raiseEpochs(
  store: Pick<Store, 'raiseEpoch'>,
  things: readonly { labels: Record<string, string> }[],
): Promise<void> {
  const epochs = things.map(({ labels }) => Number(labels['towline.epoch']) || 0)
  if (epochs.length > 0) await store.raiseEpoch(Math.max(...epochs))
}

type FoundTarget = { standing: StandingTarget; site: ObservedSite | null }

/** Looks at one host, and narrows what is held back there to the repos that have something on it. null where it gives no answer. */
async function surveyHost(
  parts: RebuildParts,
  name: string,
  { report, signal }: { report: RebuildReport; signal: AbortSignal },
): Promise<{ host: string; targets: FoundTarget[] } | null> {
  const host = parts.hosts.get(name)
  if (!host) return null
  try {
    using deadline = startDeadline({ signal, ms: observeTimeoutMs })
    const containers = await host.survey({ signal: deadline.signal })
    const sites = await readSites(host, containers, deadline.signal)
    const due = (await parts.store.readHost(name))?.rebuildDue ?? []
    const targets = groupByTarget(name, containers)
      .filter(({ target }) => due === 'everything' || due.includes(target.repo))
      .map((standing) => ({
        standing,
        site: sites[siteFolder(parts.store.owner, standing.target)] ?? null,
      }))
    await raiseEpochs(
      parts.store,
      containers.map(({ spec }) => spec),
    )
    const repos = [...new Set(targets.map(({ standing }) => standing.target.repo))]
    report.released ||= due === 'everything'
    await setDue(parts.store, name, () => repos)
    report.hosts.push({ host: name, containerCount: containers.length, error: null })
    return { host: name, targets }
  } catch (error) {
    if (signal.aborted) throw error
    const { reason, hint } = explain(error)
    report.hosts.push({ host: name, containerCount: 0, error: reason })
    report.problems.push({ subject: name, reason, hint })
    return null
  }
}

async function readSites(
  host: DockerHost,
  containers: StandingContainer[],
  signal: AbortSignal,
): Promise<Record<string, ObservedSite>> {
  if (!containers.some(({ spec }) => spec.role === 'site')) return {}
  return (await host.observe({ sites: true, signal })).sites ?? {}
}

/** Without GitHub's list nobody can say whether a repo is gone or only not to be reached. */
async function listAccess(
  { github }: RebuildParts,
  { report, signal }: { report: RebuildReport; signal: AbortSignal },
): Promise<Map<string, RepoAccess> | null> {
  try {
    using deadline = startDeadline({ signal, ms: repoTimeoutMs })
    return new Map((await github.repos({ signal: deadline.signal })).map((each) => [each.repo, each]))
  } catch (error) {
    if (signal.aborted) throw error
    report.problems.push({ subject: 'GitHub', ...explain(error) })
    return null
  }
}

async function rebuildRepo(
  parts: RebuildParts,
  input: {
    access: RepoAccess | null
    targets: FoundTarget[]
    surveyed: ReadonlySet<string>
    signal: AbortSignal
  },
): Promise<RebuiltTarget[]> {
  const { access } = input
  const git = access ? await openGit(parts, { access, signal: input.signal }) : noGit
  const rebuilt: RebuiltTarget[] = []
  for (const { standing, site } of input.targets) {
    const { target } = standing
    const key = formatTarget(target)
    const { applied, surplus } = judgeStanding(standing, { owner: parts.store.owner, site })
    if (!applied) {
      rebuilt.push({ target: key, releaseId: null, commit: '', from: 'host alone', wanted: true, surplus })
      continue
    }
    const { record, from } = await rebuildTarget(parts, { target, applied, git })
    const stored = await parts.store.updateTarget(key, (known) => mergeRebuilt(known, record))
    const { release } = stored.applied ?? unapplied(key)
    const wanted = stored.desired !== null || wishOf(git.head, target) !== null
    rebuilt.push({ target: key, releaseId: release.id, commit: release.commit, from, wanted, surplus })
  }
  if (!access || !git.head) return rebuilt
  const { surveyed, signal } = input
  await rebuildRevision(parts, { access, head: git.head, surveyed })
  const passParts = { ...parts, onWish: () => {}, onRevision: () => {} }
  const mirror = await parts.mirror(access)
  await passRepo(passParts, { ...access, mirror }, { force: true, signal, rebuiltHosts: surveyed })
  return rebuilt
}

const noGit: Git = { head: null, older: async () => null }

async function openGit(
  parts: RebuildParts,
  { access, signal }: { access: RepoAccess; signal: AbortSignal },
): Promise<Git> {
  const { repo } = access
  const mirror = await parts.mirror(access)
  const commit = await mirror.fetch({ signal })
  if (commit === null) return noGit
  const head = { commit, specs: await parts.specs.read({ repo, commit, tree: mirror, signal }) }
  const known = new Map<string, AtCommit | null>()

  async function readOlder(older: string): Promise<AtCommit | null> {
    if (!commitId.test(older) || known.size >= olderCommitLimit) return null
    try {
      return {
        commit: older,
        specs: await parts.specs.read({ repo, commit: older, tree: mirror, signal }),
      }
    } catch (error) {
      if (signal.aborted) throw error
      parts.log.info({ repo, commit: older, ...explain(error) }, 'a commit that was deployed is gone')
      return null
    }
  }

  return {
    head,
    async older(older) {
      const found = known.get(older) ?? (known.has(older) ? null : await readOlder(older))
      known.set(older, found)
      return found
    },
  }
}

/** What was wished or asked for while the host gave no answer stays; what was applied there already is better known. */
function mergeRebuilt(known: TargetRecord | null, rebuilt: TargetRecord): TargetRecord {
  if (!known) return rebuilt
  if (known.applied) return known
  const attempted = known.deployments.length > 0 ? known.attempted : rebuilt.attempted
  return {
    ...known,
    desired: known.desired ?? rebuilt.desired,
    attempted,
    applied: rebuilt.applied,
    deployments: [...rebuilt.deployments, ...known.deployments],
    reports: { ...rebuilt.reports, ...known.reports },
  }
}

/** Where the head asks for nothing new its run was told long ago; where it does the next pass makes one as ever. */
async function rebuildRevision(
  parts: RebuildParts,
  input: { access: RepoAccess; head: AtCommit; surveyed: ReadonlySet<string> },
): Promise<void> {
  const { access, head, surveyed } = input
  const { repo, branch } = access
  const { commit, specs } = head
  const targets = new Map((await parts.store.listTargets()).map((record) => [record.key, record]))
  const held = await heldHosts(parts.store, repo, { but: surveyed })
  const wishes = compareWishes(parts, { repo, commit, specs: specs.specs, targets, heldHosts: held })
  if (wishes.changed.length > 0) return
  const deploymentIds = [...targets.values()].flatMap(({ key, target, applied }) =>
    target.repo === repo && applied && isAskedBy(commit, applied)
      ? { target: key, deploymentId: applied.deploymentId }
      : [],
  )
  const revision: Revision = {
    commit,
    seenAt: new Date().toISOString(),
    problems: specs.problems.slice(0, problemLimit),
    deploymentIds,
    unchangedCount: wishes.unchangedCount,
    pausedTargets: wishes.paused,
    removals: [],
    pruneRefused: null,
    supersededBy: null,
    attempt: 1,
    report: toldReport,
  }
  await parts.store.updateRepo(repo, (stored) => {
    const record = stored ?? newRepo(repo, branch)
    if (record.revisions.some((known) => known.commit === commit)) return record
    return { ...record, branch, head: commit, revisions: [...record.revisions, revision] }
  })
}

/** Of a Site it may be known only that the commit says the same; then an older one asked for it. */
function isAskedBy(commit: string, { deploymentId, release }: Applied): boolean {
  return release.commit === commit && !deploymentId.startsWith(unlabelled)
}

function unapplied(key: string): never {
  throw new TowlineError(`${key} was rebuilt without a release`, { fault: 'bug' })
}

const commitId = /^[0-9a-f]{40}$/
/** Each may cost a fetch; more different ones than this hardly run at a time. */
const olderCommitLimit = 50
/** A clone and some fetches of single commits. */
const repoTimeoutMs = 5 * 60_000
