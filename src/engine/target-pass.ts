import { type Decision, decide, healBackoffMs } from '../rollout/decide.ts'
import type { Deployment, DeploymentEvent } from '../rollout/deployment.ts'
import { explain, faultOf, TowlineError } from '../rollout/error.ts'
import { driftOf, planRelease, type TargetView, viewTarget } from '../rollout/plan.ts'
import type { Paused } from '../spec/spec.ts'
import { keptReleaseIds, runDeployment } from './deploy.ts'
import { changeDeployment } from './journal.ts'
import { heldHosts } from './rebuild-due.ts'
import type { TargetRecord } from './records.ts'
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
  options: { holder: string; signal: AbortSignal },
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
    return await act(parts, { record, host, claim, signal: options.signal })
  } finally {
    clearInterval(heartbeat)
    await parts.store.releaseClaim(claim)
  }
}

/** A host the operator took out of server.yaml: its open deployments can never end otherwise. */
async function closeHostless(parts: TargetParts, { key, target }: TargetRecord): Promise<null> {
  const reason = `host ${target.host} is not in server.yaml any more`
  const now = new Date().toISOString()
  await parts.store.updateTarget(key, (stored) =>
    (stored?.deployments ?? []).reduce(
      (record, { id }) => changeDeployment(record, id, [{ type: 'cancelled', reason }], now),
      stored ?? unknownTarget(key),
    ),
  )
  parts.onChange(key)
  return null
}

/** What a target needs, given a view of its host. The sweep asks this for all targets of a host at once. */
export async function decideTarget(
  parts: Pick<TargetParts, 'store'>,
  record: TargetRecord,
  view: TargetView,
): Promise<Decision> {
  const nowMs = Date.now()
  return decide({
    deployments: record.deployments,
    wanted: record.desired !== null,
    pausedReason: pausedReason(record.desired?.spec.spec.paused ?? null, nowMs),
    ...(await readDependencies(parts, record)),
    applied: record.applied?.release ?? null,
    // What a kill kept the deployment itself from cleaning up goes here.
    healSteps: (release) =>
      planRelease(release, view, { prove: false, keepReleaseIds: keptReleaseIds(record, release) }),
    healNotBeforeMs: record.healing ? Date.parse(record.healing.notBefore) : 0,
    nowMs,
  })
}

export function pausedReason(paused: Paused | null, nowMs: number): string | null {
  if (!paused) return null
  return paused.until !== null && Date.parse(paused.until) <= nowMs ? null : paused.reason
}

async function act(parts: TargetParts, work: TargetWork): Promise<NextLook> {
  const decision = await decideTarget(parts, work.record, await lookIfIdle(parts, work))
  switch (decision.kind) {
    case 'nothing':
      return null
    case 'wait':
      if (decision.deployment)
        await write(parts, work, decision.deployment, { type: 'waiting', message: decision.reason })
      return decision.notBeforeMs === null
        ? null
        : { delayMs: Math.max(0, decision.notBeforeMs - Date.now()) }
    case 'heal':
      return heal(parts, work, decision)
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
      }
      await runDeployment(parts, work, decision.deployment)
      return null
    }
    default:
      return decision satisfies never
  }
}

const nothingSeen: TargetView = { containers: [], site: null, networks: null, volumes: null }

/** A deployment observes for itself; only healing needs the view now. */
async function lookIfIdle(parts: TargetParts, work: TargetWork): Promise<TargetView> {
  return hasOpen(work.record) ? nothingSeen : observeTarget(parts, work)
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

async function heal(
  parts: TargetParts,
  work: TargetWork,
  { release, steps }: Extract<Decision, { kind: 'heal' }>,
): Promise<NextLook> {
  const { key } = work.record
  const drift = driftOf(steps)
  parts.log.warn(
    { target: key, drift },
    `healing ${key}: ${drift.map(({ subject, field, found }) => `${subject} ${field} is ${found}`).join('; ')}`,
  )
  try {
    await executeSteps(parts, work, steps, { readyTimeoutMs: healTimeoutMs })
    await recordHealing(parts, work, { failureCount: 0, drift })
    parts.log.info({ target: key, release: release.id }, `healed ${key}`)
    return null
  } catch (error) {
    if (work.signal.aborted || faultOf(error) === 'stale') throw error
    const failureCount = (work.record.healing?.failureCount ?? 0) + 1
    await recordHealing(parts, work, { failureCount, drift })
    parts.log.error({ target: key, failureCount, ...explain(error) }, `healing ${key} failed`)
    return { delayMs: healBackoffMs(failureCount) }
  }
}

async function recordHealing(
  parts: TargetParts,
  work: TargetWork,
  { failureCount, drift }: { failureCount: number; drift: ReturnType<typeof driftOf> },
): Promise<void> {
  const nowMs = Date.now()
  await parts.store.updateTarget(
    work.record.key,
    (stored) => {
      if (!stored) return unknownTarget(work.record.key)
      const healing = {
        failureCount,
        notBefore: new Date(nowMs + healBackoffMs(failureCount)).toISOString(),
        lastDrift: drift,
        lastHealedAt:
          failureCount === 0 ? new Date(nowMs).toISOString() : (stored.healing?.lastHealedAt ?? null),
        healedAt: stored.healing?.healedAt ?? {},
        degraded: null,
      }
      return { ...stored, healing }
    },
    { claim: work.claim },
  )
  parts.onChange(work.record.key)
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
