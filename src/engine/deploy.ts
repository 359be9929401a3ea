import { describeStep, renderPlan } from '../report/plan-lines.ts'
import type { Deployment, StuckReason } from '../rollout/deployment.ts'
import { explain, faultOf, TowlineError } from '../rollout/error.ts'
import type { WorkPhase } from '../rollout/phase.ts'
import { lostVolumes, planLeftovers, planRelease, planRemoval, type TargetView } from '../rollout/plan.ts'
import type { FileSource, Release } from '../rollout/release.ts'
import type { Step } from '../rollout/step.ts'
import { StuckError } from '../rollout/stuck.ts'
import { freshVolumes, unprovenVolumes } from '../rollout/volumes.ts'
import { renderRelease } from '../spec/release.ts'
import { startDeadline } from '../time/deadline.ts'
import { isCancelled } from './cancellation.ts'
import { type Journal, openJournal } from './journal.ts'
import type { TargetRecord } from './records.ts'
import type { Counter } from './statistics.ts'
import { executeSteps, observeTarget, observeTimeoutMs, type TargetParts, type TargetWork } from './steps.ts'
import { backoffMs, sleep } from './wait.ts'

/**
 * Brings one open deployment to its end: `active`, `failed` with the old release back in place, the same where a person
 * cancelled it, or (where the signal ended its waits for another reason) left open for the next look. Safe to call again after a crash at any point.
 */
export async function runDeployment(
  parts: TargetParts,
  work: TargetWork,
  deployment: Deployment,
): Promise<void> {
  const journal = openJournal(parts, work, deployment.id)
  if (deployment.resumedCount >= resumeLimit) {
    await failDeployment(parts, work, { journal, error: resumedTooOften(deployment) })
    return
  }
  if (deployment.phase !== 'queued') {
    await journal.write({ type: 'resumed', message: `resumed after restart in ${deployment.phase}` })
    parts.statistics.count('deploymentsResumed')
  }
  using deadline = startDeadline({
    signal: work.signal,
    ms: Math.max(1, remainingMs(journal.deployment())),
  })
  const { signal } = deadline
  const bounded = { ...work, signal }
  try {
    work.signal.throwIfAborted()
    const release = await withRetries(() => rollOut(parts, bounded, journal), { parts, work, signal })
    await journal.succeed(release)
    parts.statistics.count('deploymentsSucceeded')
  } catch (error) {
    if (isCancelled(work.signal, deployment.id)) return cancelDeployment(parts, work, journal)
    if (work.signal.aborted) throw work.signal.reason
    if (faultOf(error) === 'stale') throw error
    const failure = deadline.passed ? new StuckError('deadline', deployment, lifetimeMs(deployment)) : error
    await failDeployment(parts, work, { journal, error: failure })
    return
  }
  const { release, id } = journal.deployment()
  if (release) await cleanUp(parts, work, { release, endedId: id })
}

/** The story of a rollout: pin what goes in, then bring the host there phase by phase until the plan is empty. */
async function rollOut(parts: TargetParts, work: TargetWork, journal: Journal): Promise<Release> {
  await journal.write({ type: 'phase', phase: 'pulling_source', message: 'resolving what goes in' })
  const release = journal.deployment().release ?? (await pinRelease(parts, work, journal.deployment()))
  let view = await observeTarget(parts, work, release)
  refuseLostVolumes(work.record, view)
  const plan = planRelease(release, view, { prove: true, keepReleaseIds: null })
  if (!journal.deployment().release) {
    await journal.write({ type: 'pinned', release, changes: renderPlan(plan) })
  }
  await executePhases(parts, work, { journal, release, steps: plan })
  for (let pass = 1; pass <= convergencePasses; pass += 1) {
    view = await observeTarget(parts, work)
    const rest = planRelease(release, view, { prove: false, keepReleaseIds: null }).filter(isBeforeActive)
    if (rest.length === 0) return release
    await executePhases(parts, work, { journal, release, steps: rest })
  }
  throw new TowlineError(`${work.record.key} does not stay as deployed: something else keeps changing it`, {
    fault: 'operator',
    hint: 'Look for another tool or person that stops, removes or reconfigures its containers.',
  })
}

/** Fixes what goes in: the image by digest or id, the files by git's hash. From here on nothing is looked up by name. */
export async function pinRelease(
  parts: Pick<TargetParts, 'store' | 'files' | 'siteServer'>,
  work: TargetWork,
  deployment: Pick<Deployment, 'id' | 'commit' | 'attempt' | 'specHash'>,
): Promise<Release> {
  const { record, host, claim, signal } = work
  const desired = record.desired
  if (!desired) {
    throw new TowlineError(`${record.key} has no spec any more`, { fault: 'input' })
  }
  if (desired.specHash !== deployment.specHash) {
    // A newer wish was stored without a deployment of its own, because it is paused: this one must not pin it unasked.
    throw new TowlineError(`${record.key} is wanted otherwise since ${desired.commit.slice(0, 12)}`, {
      fault: 'input',
      hint: 'Resume the app in its spec; the newer wish is then deployed.',
    })
  }
  const { spec } = desired.spec
  const image = await host.resolveImage(spec.kind === 'Service' ? spec.image : parts.siteServer.image, {
    pullPolicy: spec.kind === 'Service' ? spec.pullPolicy : 'missing',
    signal,
  })
  return renderRelease(spec, {
    owner: parts.store.owner,
    target: record.target,
    deploymentId: deployment.id,
    commit: deployment.commit,
    attempt: deployment.attempt,
    epoch: claim.epoch,
    specHash: deployment.specHash,
    image,
    source: await pinFiles(parts, work, deployment.commit),
    siteServer: parts.siteServer,
  })
}

async function pinFiles(
  parts: Pick<TargetParts, 'files'>,
  work: TargetWork,
  commit: string,
): Promise<FileSource | null> {
  const spec = work.record.desired?.spec.spec
  if (spec?.kind !== 'Site') return null
  if ('inline' in spec.source) return { kind: 'inline', files: spec.source.inline }
  const path = spec.source.files
  const treeOid = await parts.files.treeOid(work.record.target.repo, commit, path, work.signal)
  if (treeOid === null) {
    throw new TowlineError(`folder ${path} does not exist at commit ${commit.slice(0, 12)}`, {
      fault: 'input',
      hint: 'Put the folder into the config repo, or correct source.files.',
    })
  }
  return { kind: 'folder', commit, path, treeOid }
}

async function executePhases(
  parts: TargetParts,
  work: TargetWork,
  { journal, release, steps }: { journal: Journal; release: Release; steps: Step[] },
): Promise<void> {
  const spec = work.record.desired?.spec.spec
  for (const phase of workPhases) {
    if (phase === 'creating_symlinks' && release.kind === 'Service') continue
    const due = steps.filter((step) => step.phase === phase)
    await journal.write({
      type: 'phase',
      phase,
      message: due.length > 0 ? phaseMessage(due) : 'nothing to change',
    })
    await executeSteps(parts, work, due, {
      readyTimeoutMs: spec?.progressDeadlineMs ?? parts.progressDeadlineMs,
      onProgress: (fraction, message) => journal.progress(phase, fraction, message),
    })
  }
}

/** The phases a plan's steps belong to, in order. */
const workPhases: WorkPhase[] = [
  'building',
  'copying_files',
  'creating_symlinks',
  'updating_routes',
  'health_check',
]

function phaseMessage(steps: Step[]): string {
  const lines = steps.flatMap((step) => describeStep(step) ?? [])
  const waits = steps.some(({ do: act }) => act === 'awaitReady')
  if (lines.length === 0) return waits ? 'waiting until it is ready' : 'watching whether it stays well'
  return [...lines.slice(0, 3), ...(lines.length > 3 ? [`and ${lines.length - 3} more`] : [])].join(', ')
}

function isBeforeActive(step: Step): boolean {
  return step.phase !== 'active'
}

/** A new release of the app would find an empty volume where its data was, and nobody would have been told. */
function refuseLostVolumes({ applied, desired }: TargetRecord, view: TargetView): void {
  const lost = applied ? lostVolumes(applied.release, view) : []
  if (lost.length === 0 || desired?.spec.spec.recreateVolumes) return
  throw new TowlineError(`${lost.map(({ subject }) => subject).join(', ')} is gone, with the data in it`, {
    fault: 'operator',
    hint: 'Put the volume back from a backup, or set rollout.recreateVolumes in the spec to start on an empty one.',
  })
}

/** The old release goes back into place before the failure is reported, so that the report is true. */
export async function failDeployment(
  parts: TargetParts,
  work: TargetWork,
  { journal, error }: { journal: Journal; error: unknown },
): Promise<void> {
  const { reason, hint } = explain(error)
  const fault = faultOf(error)
  const logTail = await readLogTail(work, journal.deployment())
  const endedId = journal.deployment().id
  const previous = await restorePrevious(parts, { ...work, record: await journal.record() }, endedId)
  if (fault === 'bug')
    parts.log.error({ err: error, target: work.record.key }, 'deployment failed by a bug of ours')
  const stuck = error instanceof StuckError ? { stuck: error.stuck } : {}
  await journal.write({ type: 'failed', fault, reason, hint, logTail, previous, ...stuck })
  parts.statistics.count('deploymentsFailed')
  if (error instanceof StuckError) parts.statistics.count(stuckCounters[error.stuck])
}

const stuckCounters: Record<StuckReason, Counter> = {
  deadline: 'stuckDeadline',
  progress: 'stuckProgress',
  claim: 'stuckClaim',
}

/** The same for one a person ended: that is told only once the old release is back. */
async function cancelDeployment(parts: TargetParts, work: TargetWork, journal: Journal): Promise<void> {
  const previous = await restorePrevious(
    parts,
    { ...work, record: await journal.record() },
    journal.deployment().id,
  )
  const { reason } = explain(work.signal.reason)
  await journal.write({ type: 'cancelled', reason: `${reason}. The release before: ${previous}` })
  parts.statistics.count('deploymentsCancelled')
}

async function restorePrevious(parts: TargetParts, work: TargetWork, endedId: string): Promise<string> {
  const signal = AbortSignal.timeout(restoreTimeoutMs)
  const { applied, deployments } = work.record
  try {
    const view = await observeTarget(parts, work)
    if (applied) refuseLostVolumes(work.record, view)
    const steps = applied
      ? planRelease(applied.release, view, { prove: false, keepReleaseIds: null })
      : planRemoval(view, {
          releases: deployments.flatMap(({ release }) => release ?? []),
          volumes: [],
          reason: 'nothing of this target was ever proven',
        })
    await executeSteps(parts, { ...work, signal }, steps, { readyTimeoutMs: restoreTimeoutMs })
    if (!applied) {
      const leftovers = await planUnproven(work, { ...view, site: null }, endedId)
      await executeSteps(parts, { ...work, signal }, leftovers, { readyTimeoutMs: restoreTimeoutMs })
      return 'there was none; nothing of this attempt was left on the host'
    }
    await cleanUp(parts, work, { release: applied.release, endedId })
    const touched = steps.some((step) => isBeforeActive(step))
    return touched
      ? `release ${applied.release.id} was put back and serves`
      : `release ${applied.release.id} was never touched and serves`
  } catch (error) {
    parts.log.warn({ target: work.record.key, ...explain(error) }, 'putting the old release back failed')
    const { reason } = explain(error)
    if (!applied) return `there was none; what this attempt left could not be removed (${reason})`
    return `could not be put back yet (${reason}); healing goes on trying`
  }
}

async function readLogTail(work: TargetWork, deployment: Deployment): Promise<string[]> {
  const lines: string[] = []
  for (const { name } of deployment.release?.containers.slice(0, 1) ?? []) {
    const signal = AbortSignal.timeout(observeTimeoutMs)
    lines.push(...(await work.host.logs(name, { tail: logTailLines, signal }).catch(() => [])))
    const probe = await work.host.probe(name, { signal }).catch(() => null)
    for (const line of probe?.healthLog ?? []) lines.push(`health check: ${line}`)
  }
  return lines
}

/**
 * Removes what the release that serves does not need and no rollback would: containers and release directories of other
 * attempts, and fresh volumes of the deployment that ended and of those it superseded. Images of builds will join here.
 * Best effort: containers and release directories that stay are found by the next sweep.
 */
async function cleanUp(
  parts: TargetParts,
  work: TargetWork,
  { release, endedId }: { release: Release; endedId: string },
): Promise<void> {
  try {
    const record = (await parts.store.readTarget(work.record.key)) ?? work.record
    const view = await observeTarget(parts, { ...work, record })
    const plan = planRelease(release, view, {
      prove: false,
      keepReleaseIds: keptReleaseIds(record, release),
    })
    const steps = [
      ...plan.filter((step) => !isBeforeActive(step)),
      ...(await planUnproven({ ...work, record }, view, endedId)),
    ]
    const signal = AbortSignal.timeout(restoreTimeoutMs)
    await executeSteps(parts, { ...work, signal }, steps, { readyTimeoutMs: restoreTimeoutMs })
  } catch (error) {
    parts.log.warn(
      { target: work.record.key, ...explain(error) },
      'cleaning up failed; the sweep tries again',
    )
  }
}

async function planUnproven(work: TargetWork, view: TargetView, endedId: string): Promise<Step[]> {
  const { applied, deployments } = work.record
  const proven = deployments.filter(({ result }) => result?.kind === 'succeeded')
  return planLeftovers(view, {
    proven: [applied, ...proven].flatMap((one) => one?.release ?? []),
    freshVolumes: await findFreshVolumes(work, endedId),
  })
}

/** The host is asked only where there may be any. */
async function findFreshVolumes({ record, host }: TargetWork, endedId: string): Promise<string[]> {
  const { deployments, applied } = record
  if (unprovenVolumes(deployments, endedId).length === 0) return []
  const { things } = await host.inventory({ signal: AbortSignal.timeout(observeTimeoutMs) })
  return freshVolumes(things, { deployments, applied: applied?.release ?? null, endedId })
}

/** The newest releases that were proven once, as many as the spec keeps. */
export function keptReleaseIds(record: TargetRecord, release: Release): string[] {
  const proven = record.deployments.flatMap((deployment) =>
    deployment.result?.kind === 'succeeded' && deployment.release ? [deployment.release.id] : [],
  )
  return [...new Set(proven.reverse())].slice(0, release.keepReleases)
}

/** A host that is away is waited for, bounded by the deployment's deadline; a host that answers gets five tries. */
async function withRetries<T>(
  attempt: () => Promise<T>,
  { parts, work, signal }: { parts: TargetParts; work: TargetWork; signal: AbortSignal },
): Promise<T> {
  const host = work.host.name
  for (let failureCount = 1; ; failureCount += 1) {
    try {
      return await attempt()
    } catch (error) {
      if (faultOf(error) !== 'temporary' || signal.aborted) throw error
      await sleep(
        error instanceof TowlineError && error.retryAfterMs !== null
          ? error.retryAfterMs
          : backoffMs(failureCount, retryBackoff),
        signal,
      )
      if (parts.hostStatus.unknownSince(host) !== null) {
        parts.log.warn({ host, target: work.record.key }, 'the host is away; the deployment waits for it')
        await parts.hostStatus.whenKnown(host, signal)
        failureCount = 0
        continue
      }
      if (failureCount >= temporaryFailureLimit) throw error
      parts.log.warn({ failureCount, ...explain(error) }, 'a deployment step failed; trying again')
    }
  }
}

/** The deadline counts from the start of the work, which for a queued deployment is now. */
function remainingMs({ deadlineAt, createdAt, startedAt }: Deployment): number {
  return Date.parse(deadlineAt) - (startedAt === null ? Date.parse(createdAt) : Date.now())
}

function lifetimeMs({ deadlineAt, startedAt, createdAt }: Deployment): number {
  return Date.parse(deadlineAt) - Date.parse(startedAt ?? createdAt)
}

/** A deployment that brings Towline down each time it is tried must not be tried for ever. */
function resumedTooOften({ resumedCount, phase }: Deployment): TowlineError {
  return new TowlineError(
    `given up in ${phase}: Towline ended ${resumedCount} times while it worked on this`,
    {
      fault: 'operator',
      hint: 'Look into the server log for why it ended (memory, a supervisor, a crash), then press Re-run.',
    },
  )
}

/** After its own work the host is looked at again; two rounds cover a container that died meanwhile. */
const convergencePasses = 3
const temporaryFailureLimit = 5
const retryBackoff = { baseMs: 1_000, capMs: 30_000 }
/** Restarts of the machine and updates of Towline come to a few; more is a loop. */
const resumeLimit = 10
const restoreTimeoutMs = 300_000
const logTailLines = 30
