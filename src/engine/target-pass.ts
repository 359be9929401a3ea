import { describeStep } from '../report/plan-lines.ts'
import { type Decision, decide, healBackoffMs, healedSubjects, recentHeals } from '../rollout/decide.ts'
import { type Deployment, type DeploymentEvent, isOpen, type StuckReason } from '../rollout/deployment.ts'
import { explain, faultOf, TowlineError } from '../rollout/error.ts'
import type { Drift } from '../rollout/observed.ts'
import { driftOf, lostVolumes, planRelease, type TargetView, viewTarget } from '../rollout/plan.ts'
import type { Step } from '../rollout/step.ts'
import { StuckError } from '../rollout/stuck.ts'
import type { Paused } from '../spec/spec.ts'
import { failDeployment, keptReleaseIds, runDeployment } from './deploy.ts'
import { recordDrift, recordDriftEnd } from './drift-record.ts'
import { changeDeployment, openJournal } from './journal.ts'
import { heldHosts } from './rebuild-due.ts'
import type { Healing, TargetRecord } from './records.ts'
import { forgetHostless, removeTarget } from './removal.ts'
import { executeSteps, observeTarget, type TargetParts, type TargetWork } from './steps.ts'

/** When to look at a target again; null where only an event or the sweep should. */
export type NextLook = { delayMs: number } | null

/**
 * One look at one target under its claim: run what is open, heal what drifted, or do nothing. Everything is read
 * afresh; what woke us does not matter. `signal` cancels waits when something newer takes over or the server stops.
 */
export async function passTarget(
  parts: TargetParts,
  key: string,
  options: { holder: string; signal: AbortSignal; stuck?: StuckReason | null },
): Promise<NextLook> {
  const record = await parts.store.readTarget(key)
  if (!record) return null
  const host = parts.hosts.get(record.target.host)
  if (!host) return closeHostless(parts, record)
  // What stands there may be what is asked for. The rebuild comes first; whoever does it asks for this pass again.
  if ((await heldHosts(parts.store, record.target.repo)).has(host.name)) return null
  const claim = await parts.store.claimTarget(key, { holder: options.holder, ttlMs: claimTtlMs })
  if (!claim) return { delayMs: claimRetryMs }
  const heartbeat = setInterval(() => {
    parts.store.renewClaim(claim, { ttlMs: claimTtlMs }).catch((error: unknown) => {
      parts.log.warn({ target: key, ...explain(error) }, 'the claim could not be renewed')
    })
  }, claimTtlMs / 3)
  try {
    return await act(parts, { record, host, claim, signal: options.signal }, options.stuck ?? null)
  } finally {
    clearInterval(heartbeat)
    await parts.store.releaseClaim(claim)
  }
}

/** A host the operator took out of server.yaml: its open deployments can never end otherwise. */
async function closeHostless(parts: TargetParts, found: TargetRecord): Promise<null> {
  const { key, target } = found
  const reason = `host ${target.host} is not in server.yaml any more`
  const now = new Date().toISOString()
  const closed = await parts.store.updateTarget(key, (stored) =>
    (stored?.deployments ?? []).reduce(
      (record, { id }) => changeDeployment(record, id, [{ type: 'cancelled', reason }], now),
      stored ?? unknownTarget(key),
    ),
  )
  parts.onChange(key)
  await forgetHostless(parts, closed)
  return null
}

/** What a target needs, given a view of its host. The sweep asks this for all targets of a host at once. */
export async function decideTarget(
  parts: Pick<TargetParts, 'store' | 'hostStatus' | 'healing'>,
  record: TargetRecord,
  view: TargetView,
): Promise<Decision> {
  const nowMs = Date.now()
  const { healing, desired } = record
  const mayRecreate = desired?.spec.spec.recreateVolumes ?? false
  return decide({
    deployments: record.deployments,
    wanted: record.desired !== null,
    removal: record.removal,
    pausedReason: pausedReason(record.desired?.spec.spec.paused ?? null, nowMs),
    ...(await readDependencies(parts, record)),
    applied: record.applied?.release ?? null,
    // What a kill kept the deployment itself from cleaning up goes here.
    healSteps: (release) =>
      planRelease(release, view, {
        prove: false,
        keepReleaseIds: keptReleaseIds(record, release),
        heal: true,
      }),
    lostVolumes: (release) => (mayRecreate ? [] : lostVolumes(release, view)),
    healNotBeforeMs: healing ? Date.parse(healing.notBefore) : 0,
    healedAtMs: Object.fromEntries(
      Object.entries(healing?.healedAt ?? {}).map(([name, times]) => [
        name,
        times.map((at) => Date.parse(at)),
      ]),
    ),
    healing: parts.healing,
    degradedUntilMs: healing?.degraded?.retryAt ? Date.parse(healing.degraded.retryAt) : null,
    hostUnknownSince: parts.hostStatus.unknownSince(record.target.host),
    nowMs,
  })
}

export function pausedReason(paused: Paused | null, nowMs: number): string | null {
  if (!paused) return null
  return paused.until !== null && Date.parse(paused.until) <= nowMs ? null : paused.reason
}

async function act(parts: TargetParts, work: TargetWork, stuck: StuckReason | null): Promise<NextLook> {
  if (stuck !== null) {
    await endStuck(parts, work, stuck)
    return { delayMs: 0 }
  }
  const decision = await decideTarget(parts, work.record, await lookIfIdle(parts, work))
  switch (decision.kind) {
    case 'nothing':
      return noteCalm(parts, work)
    case 'giveUp':
      return noteGivenUp(parts, work, decision)
    case 'wait':
      if (decision.deployment)
        await write(parts, work, decision.deployment, { type: 'waiting', message: decision.reason })
      return decision.notBeforeMs === null
        ? null
        : { delayMs: Math.max(0, decision.notBeforeMs - Date.now()) }
    case 'heal':
      return heal(parts, work, decision)
    case 'remove':
      return removeTarget(parts, work)
    case 'cancel': {
      const head = (await parts.store.readRepo(work.record.target.repo))?.head
      const reason = head ? `${decision.reason} at commit ${head.slice(0, 12)}` : decision.reason
      for (const one of decision.deployments) {
        await write(parts, work, one, { type: 'cancelled', reason })
        parts.statistics.count('deploymentsCancelled')
      }
      return { delayMs: 0 }
    }
    case 'refuse': {
      const { reason, hint, deployment } = decision
      const previous = work.record.applied ? 'was never touched and serves' : 'there was none'
      await write(parts, work, deployment, {
        type: 'failed',
        fault: 'input',
        reason,
        hint,
        logTail: [],
        previous,
      })
      return null
    }
    case 'deploy': {
      for (const deployment of decision.superseded) {
        await write(parts, work, deployment, { type: 'superseded', by: decision.deployment.id })
        parts.statistics.count('deploymentsSuperseded')
      }
      await runDeployment(parts, work, decision.deployment)
      return null
    }
    default:
      return decision satisfies never
  }
}

/** The watch found its work to get nowhere: it ends with the reason, and the old release is put back. */
async function endStuck(parts: TargetParts, work: TargetWork, stuck: StuckReason): Promise<void> {
  const deployment = work.record.deployments.find((each) => isOpen(each) && each.startedAt !== null)
  if (!deployment) return
  const limitMs =
    stuck === 'deadline'
      ? Date.parse(deployment.deadlineAt) - Date.parse(deployment.startedAt ?? deployment.createdAt)
      : (work.record.desired?.spec.spec.progressDeadlineMs ?? parts.progressDeadlineMs)
  const error = new StuckError(stuck, deployment, limitMs)
  parts.log.error({ target: work.record.key, deployment: deployment.id, stuck }, error.message)
  await failDeployment(parts, work, { journal: openJournal(parts, work, deployment.id), error })
}

const nothingSeen: TargetView = { containers: [], site: null, networks: null, volumes: null }

/** A deployment and a removal observe for themselves; only healing needs the view now. */
async function lookIfIdle(parts: TargetParts, work: TargetWork): Promise<TargetView> {
  return hasOpen(work.record) || work.record.desired === null ? nothingSeen : observeTarget(parts, work)
}

async function write(
  parts: TargetParts,
  { record, claim }: TargetWork,
  { id }: Deployment,
  event: DeploymentEvent,
): Promise<void> {
  const now = new Date().toISOString()
  await parts.store.updateTarget(record.key, (stored) => changeDeployment(stored, id, [event], now), {
    claim,
  })
  parts.onChange(record.key)
}

/** True where a host that is as it should be is news. A pause hides how it is. */
export function hasDriftToEnd({ drift, healing, desired }: TargetRecord): boolean {
  if (pausedReason(desired?.spec.spec.paused ?? null, Date.now()) !== null) return false
  return drift?.episode.endedAt === null || Boolean(healing?.degraded)
}

/** The host is as it should be: what was told of drift is told to have ended. */
async function noteCalm(parts: TargetParts, work: TargetWork): Promise<null> {
  if (!hasDriftToEnd(work.record)) return null
  const now = new Date().toISOString()
  await update(parts, work, (stored) => recordDriftEnd(stored, now))
  return null
}

/** Told once: the same reason again changes nothing. */
async function noteGivenUp(
  parts: TargetParts,
  work: TargetWork,
  { drift, reason, notBeforeMs }: Extract<Decision, { kind: 'giveUp' }>,
): Promise<NextLook> {
  const { key, healing } = work.record
  const nowMs = Date.now()
  if (healing?.degraded?.reason !== reason) {
    parts.log.error({ target: key, drift, reason }, `healing ${key} has given up for now`)
    parts.statistics.count('healingsGivenUp')
    const now = new Date(nowMs).toISOString()
    const retryAt = notBeforeMs === null ? null : new Date(notBeforeMs).toISOString()
    await update(parts, work, (stored) => ({
      ...recordDrift(stored, { drift, action: 'nothing: healing has given up', givenUp: reason }, now),
      healing: { ...(stored.healing ?? newHealing), degraded: { since: now, reason, retryAt } },
    }))
  }
  return notBeforeMs === null ? null : { delayMs: Math.max(0, notBeforeMs - nowMs) }
}

async function heal(
  parts: TargetParts,
  work: TargetWork,
  { release, steps }: Extract<Decision, { kind: 'heal' }>,
): Promise<NextLook> {
  const { key } = work.record
  const drift = driftOf(steps)
  // Leftovers of a deployment that was killed while it cleaned up are no drift anybody has to hear of.
  const told = driftOf(steps.filter(({ phase }) => phase !== 'active'))
  const now = new Date().toISOString()
  await update(parts, work, (stored) =>
    recordDrift(stored, { drift: told, action: describeHealing(steps), givenUp: null }, now),
  ).catch((error: unknown) => {
    // A store whose disk is full must not keep an app down: what healing does, it can find out again.
    if (faultOf(error) === 'stale') throw error
    parts.log.warn({ target: key, ...explain(error) }, 'drift could not be noted; it is healed all the same')
  })
  if (told.length > 0) parts.statistics.count('driftDetected', told.length)
  parts.log.warn(
    { target: key, drift },
    `healing ${key}: ${drift.map(({ subject, field, found }) => `${subject} ${field} is ${found}`).join('; ')}`,
  )
  try {
    await executeSteps(parts, work, steps, { readyTimeoutMs: healTimeoutMs })
    await recordHealing(parts, work, { failureCount: 0, drift, steps })
    parts.statistics.count('healingsSucceeded')
    const rest = await decideTarget(
      parts,
      (await parts.store.readTarget(key)) ?? work.record,
      await observeTarget(parts, work),
    )
    if (rest.kind !== 'nothing') return { delayMs: 0 }
    await noteCalm(parts, { ...work, record: (await parts.store.readTarget(key)) ?? work.record })
    parts.log.info({ target: key, release: release.id }, `healed ${key}`)
    return null
  } catch (error) {
    if (work.signal.aborted || faultOf(error) === 'stale') throw error
    const failureCount = (work.record.healing?.failureCount ?? 0) + 1
    await recordHealing(parts, work, { failureCount, drift, steps })
    parts.statistics.count('healingsFailed')
    parts.log.error({ target: key, failureCount, ...explain(error) }, `healing ${key} failed`)
    return { delayMs: healBackoffMs(failureCount) }
  }
}

function describeHealing(steps: Step[]): string {
  const lines = steps.flatMap((step) => describeStep(step) ?? [])
  return [...lines.slice(0, 3), ...(lines.length > 3 ? [`and ${lines.length - 3} more`] : [])].join(', ')
}

async function recordHealing(
  parts: TargetParts,
  work: TargetWork,
  { failureCount, drift, steps }: { failureCount: number; drift: Drift[]; steps: Step[] },
): Promise<void> {
  const nowMs = Date.now()
  const now = new Date(nowMs).toISOString()
  // With jitter: targets that fail for one reason must not come back in one beat.
  const waitMs = healBackoffMs(failureCount) * (0.8 + Math.random() * 0.4)
  await update(parts, work, (stored) => ({
    ...stored,
    healing: {
      failureCount,
      notBefore: new Date(nowMs + waitMs).toISOString(),
      lastDrift: drift,
      lastHealedAt: failureCount === 0 ? now : (stored.healing?.lastHealedAt ?? null),
      healedAt: noteHealed(stored.healing?.healedAt ?? {}, healedSubjects(steps), {
        nowMs,
        windowMs: parts.healing.windowMs,
      }),
      degraded: null,
    },
  }))
}

/** Only the times that still count, so that the record stays small. */
function noteHealed(
  before: Record<string, string[]>,
  names: string[],
  at: { nowMs: number; windowMs: number },
): Record<string, string[]> {
  const after = new Map<string, string[]>()
  for (const name of new Set([...Object.keys(before), ...names])) {
    const past = recentHeals(
      (before[name] ?? []).map((at) => Date.parse(at)),
      at,
    )
    const times = names.includes(name) ? [...past, at.nowMs] : past
    if (times.length > 0)
      after.set(
        name,
        times.map((atMs) => new Date(atMs).toISOString()),
      )
  }
  return Object.fromEntries(after)
}

async function update(
  parts: TargetParts,
  { record: { key }, claim }: TargetWork,
  change: (stored: TargetRecord) => TargetRecord,
): Promise<void> {
  await parts.store.updateTarget(key, (stored) => change(stored ?? unknownTarget(key)), { claim })
  parts.onChange(key)
}

const newHealing: Healing = {
  failureCount: 0,
  notBefore: new Date(0).toISOString(),
  lastDrift: [],
  lastHealedAt: null,
  healedAt: {},
  degraded: null,
}

/** Dependencies of the same repo that have not reached what the repo wants of them, on any of their hosts. */
async function readDependencies(
  { store }: Pick<TargetParts, 'store'>,
  { target, desired }: TargetRecord,
): Promise<{ waitingFor: string[]; failedDependencies: string[] }> {
  const dependsOn = new Set(desired?.spec.spec.dependsOn)
  if (dependsOn.size === 0) return { waitingFor: [], failedDependencies: [] }
  const unmet = (await store.listTargets()).filter(
    (other) =>
      other.target.repo === target.repo &&
      other.target.preview === target.preview &&
      dependsOn.has(other.target.app) &&
      other.desired !== null &&
      other.applied?.specHash !== other.desired.specHash,
  )
  const failed = unmet.filter(({ deployments }) => deployments.at(-1)?.result?.kind === 'failed')
  const names = (records: TargetRecord[]) => [...new Set(records.map((other) => other.target.app))]
  return { waitingFor: names(unmet), failedDependencies: names(failed) }
}

/** Targets with an open deployment that may go on now that this one has come to rest. */
export async function waitingDependents(store: TargetParts['store'], key: string): Promise<string[]> {
  const record = await store.readTarget(key)
  if (!record || hasOpen(record)) return []
  const { repo, app } = record.target
  return (await store.listTargets())
    .filter(
      (other) =>
        other.target.repo === repo && other.desired?.spec.spec.dependsOn.includes(app) && hasOpen(other),
    )
    .map((other) => other.key)
}

function hasOpen({ deployments }: TargetRecord): boolean {
  return deployments.some(({ result }) => result === null)
}

function unknownTarget(key: string): never {
  throw new TowlineError(`the record of ${key} is gone`, { fault: 'stale' })
}

/** The view of one target in a host that was observed whole. */
export function viewRecord(record: TargetRecord, observed: Parameters<typeof viewTarget>[0]): TargetView {
  return viewTarget(observed, record.target, record.applied?.release.site?.folder ?? null)
}

/** Longer than any pause of the event loop, short enough that another worker soon takes over. */
const claimTtlMs = 60_000
const claimRetryMs = 5_000
const healTimeoutMs = 300_000
