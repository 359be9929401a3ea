import { describeStep } from '../report/plan-lines.ts'
import { TowlineError } from '../rollout/error.ts'
import { planRemoval, viewTarget } from '../rollout/plan.ts'
import { isDue } from '../rollout/prune.ts'
import type { Step } from '../rollout/step.ts'
import { volumesOf } from '../rollout/volumes.ts'
import { siteFolder } from '../spec/release.ts'
import { recordDriftEnd } from './drift-record.ts'
import type { ReportState, TargetRecord } from './records.ts'
import { executeSteps, observeTimeoutMs, type TargetParts, type TargetWork } from './steps.ts'

/**
 * Takes an app that left the config repo off its host: containers, then its site, then its volumes where the repo says so.
 * The record goes last, once nothing of it is seen on the host and GitHub was told all it holds. So a kill anywhere
 * leaves a record that says what is still to be done, and the next look does the rest.
 */
export async function removeTarget(
  parts: TargetParts,
  work: TargetWork,
): Promise<{ delayMs: number } | null> {
  const { key } = work.record
  const steps = await planRemains(parts, work)
  if (steps.length > 0) {
    const lines = steps.flatMap((step) => describeStep(step) ?? [])
    parts.log.info({ target: key, steps: lines }, `removing ${key}, which left the config repo`)
    // Data last, and each time only where the repo has not taken its word back meanwhile.
    for (const stage of [steps.filter((step) => !isData(step)), steps.filter(isData)]) {
      const stored = await parts.store.readTarget(key)
      if (!stored || !isStillDue(stored)) return { delayMs: 0 }
      await executeSteps(parts, work, stage, { readyTimeoutMs: 0 })
    }
    const left = await planRemains(parts, work)
    if (left.length > 0) {
      const rest = left.flatMap((step) => describeStep(step) ?? [])
      parts.log.warn({ target: key, left: rest }, `${key} is not wholly removed; the sweep tries again`)
      return null
    }
  }
  return forget(parts, work)
}

/** Its host is in `server.yaml` no more: nothing can be done there, so it is only forgotten. */
export async function forgetHostless(parts: TargetParts, record: TargetRecord): Promise<void> {
  const { key, target } = record
  if (!(await isTold(parts, record))) return
  const isGone = await parts.store.deleteTarget(key, { when: (stored) => isForgettable(parts, stored) })
  if (isGone) parts.log.warn({ target: key }, `forgot ${key}; what of it is on ${target.host} was left there`)
}

/** The steps that would leave nothing of a target that is to be removed, after a fresh look at its host. */
export async function planRemains(
  parts: Pick<TargetParts, 'store'>,
  { record, host }: Pick<TargetWork, 'record' | 'host'>,
): Promise<Step[]> {
  const { target, applied, deployments, removal } = record
  const releases = [applied, ...deployments].flatMap((one) => one?.release ?? [])
  const hasSite = releases.some(({ site }) => site !== null)
  const signal = AbortSignal.timeout(observeTimeoutMs)
  const only = { repo: target.repo, app: target.app }
  const observed = await host.observe({ sites: hasSite, only, signal })
  const things = removal?.volumes ? (await host.inventory({ signal })).things : []
  return planRemoval(viewTarget(observed, target, hasSite ? siteFolder(parts.store.owner, target) : null), {
    releases,
    volumes: volumesOf(things, target),
    reason: 'the app left the config repo',
  })
}

async function forget(parts: TargetParts, work: TargetWork): Promise<{ delayMs: number } | null> {
  const { store, log, statistics } = parts
  const { record, claim } = work
  const { key } = record
  const cleared = await store.updateTarget(key, (stored) => clear(stored ?? unknownTarget(key)), { claim })
  parts.onChange(key)
  if (!(await isTold(parts, cleared))) return parts.isReporting === false ? null : { delayMs: tellWaitMs }
  const isGone = await store.deleteTarget(key, { claim, when: (stored) => isForgettable(parts, stored) })
  if (!isGone) return { delayMs: 0 }
  statistics.count('targetsPruned')
  log.info({ target: key }, `removed ${key}`)
  parts.onChange(key)
  return null
}

/** Nothing is on the host any more, so nothing is applied and no drift goes on; what is to be told of the past stays. */
function clear(record: TargetRecord): TargetRecord {
  if (!isStillDue(record)) return record
  const ended = recordDriftEnd(record, new Date().toISOString())
  return ended.applied === null && ended.healing === null ? ended : { ...ended, applied: null, healing: null }
}

/** A commit may have asked for the app again while it was removed. */
function isStillDue({ desired, removal }: TargetRecord): boolean {
  return desired === null && removal !== null && isDue(removal, Date.now())
}

/** Asked of the freshest record: what was stored a moment ago must not be lost either. */
function isForgettable(parts: Reporting, record: TargetRecord): boolean {
  return isStillDue(record) && reportsOf(record).every((report) => isSettled(parts, report))
}

/** Whether GitHub knows all this record holds: its own check runs, and those over all that count its deployments. */
async function isTold(parts: Reporting & Pick<TargetParts, 'store'>, record: TargetRecord): Promise<boolean> {
  const revisions = (await parts.store.readRepo(record.target.repo))?.revisions ?? []
  const counting = revisions.filter(({ deploymentIds }) =>
    deploymentIds.some(({ target }) => target === record.key),
  )
  return [...reportsOf(record), ...counting.map(({ report }) => report)].every((report) =>
    isSettled(parts, report),
  )
}

function reportsOf({ reports, drift, untoldDrifts }: TargetRecord): ReportState[] {
  const drifts = [...untoldDrifts, ...(drift ? [drift] : [])]
  return [...Object.values(reports), ...drifts.map(({ report }) => report)]
}

/** Where nobody reports, a run that was never begun is missed by nobody. */
function isSettled({ isReporting = true }: Reporting, { done, createIntended }: ReportState): boolean {
  return done || (!isReporting && !createIntended)
}

type Reporting = Pick<TargetParts, 'isReporting'>

function isData(step: Step): boolean {
  return step.do === 'removeVolume'
}

function unknownTarget(key: string): never {
  throw new TowlineError(`the record of ${key} is gone`, { fault: 'stale' })
}

/** A report takes about a second; while GitHub is away this costs one look at the host each time. */
const tellWaitMs = 30_000
