import { renderPlan } from '../report/plan-lines.ts'
import { explain, TowlineError } from '../rollout/error.ts'
import type { Drift } from '../rollout/observed.ts'
import { driftOf, planRelease } from '../rollout/plan.ts'
import type { Problem } from '../spec/spec.ts'
import { compareWishes, newTarget } from './config-pass.ts'
import { pinRelease } from './deploy.ts'
import type { FileTree } from './ports.ts'
import type { TargetRecord } from './records.ts'
import type { SpecReader } from './spec-reader.ts'
import { observeTarget, type TargetParts } from './steps.ts'
import { decideTarget } from './target-pass.ts'

/** What would be done to one target, and nothing done yet. */
export type TargetPlan = {
  target: string
  /** `blocked` is what could not even be planned; `reason` says why. */
  action: 'deploy' | 'heal' | 'none' | 'paused' | 'blocked'
  reason: string
  /** One line a step, as a check run shows them. */
  steps: string[]
  drift: Drift[]
}

type DryRunParts = Pick<
  TargetParts,
  'store' | 'hosts' | 'hostStatus' | 'healing' | 'files' | 'siteServer'
> & {
  specs: SpecReader
}

/** Plans a whole config repo against its real hosts. Changes neither hosts nor the store. */
export async function planRepo(
  parts: DryRunParts,
  input: { repo: string; commit: string; tree: FileTree; signal: AbortSignal },
): Promise<{ targets: TargetPlan[]; problems: Problem[] }> {
  const read = await parts.specs.read(input)
  const targets = new Map((await parts.store.listTargets()).map((record) => [record.key, record]))
  const wishes = compareWishes(parts, { repo: input.repo, commit: input.commit, specs: read.specs, targets })
  const plans: TargetPlan[] = []
  for (const { key, target, desired, attempt, deploymentId: id } of wishes.changed) {
    const record = { ...(targets.get(key) ?? newTarget(key, target)), desired }
    plans.push(await orBlocked(key, planDeployment(parts, { record, id, attempt, signal: input.signal })))
  }
  for (const { target, reason } of wishes.paused) {
    plans.push({ target, action: 'paused', reason, steps: [], drift: [] })
  }
  const planned = new Set(plans.map(({ target }) => target))
  for (const key of wishes.keys) {
    const record = targets.get(key)
    if (record && !planned.has(key)) plans.push(await orBlocked(key, planHealing(parts, record)))
  }
  return { targets: plans.sort((a, b) => (a.target < b.target ? -1 : 1)), problems: read.problems }
}

/** One image nobody has, or one host that is away, hides nothing of the other targets. */
async function orBlocked(target: string, planning: Promise<TargetPlan>): Promise<TargetPlan> {
  try {
    return await planning
  } catch (error) {
    const { reason, hint } = explain(error)
    return { target, action: 'blocked', reason: hint ? `${reason}. ${hint}` : reason, steps: [], drift: [] }
  }
}

async function planDeployment(
  parts: DryRunParts,
  { record, id, attempt, signal }: { record: TargetRecord; id: string; attempt: number; signal: AbortSignal },
): Promise<TargetPlan> {
  const work = openWork(parts, record, signal)
  const commit = record.desired?.commit ?? ''
  const specHash = record.desired?.specHash ?? ''
  const release = await pinRelease(parts, work, { id, commit, attempt, specHash })
  const steps = planRelease(release, await observeTarget(parts, work), { prove: true, keepReleaseIds: null })
  return {
    target: record.key,
    action: 'deploy',
    reason: 'the spec changed',
    steps: renderPlan(steps),
    drift: [],
  }
}

async function planHealing(parts: DryRunParts, record: TargetRecord): Promise<TargetPlan> {
  const work = openWork(parts, record, new AbortController().signal)
  const decision = await decideTarget(parts, record, await observeTarget(parts, work))
  const { reason } = decision
  if (decision.kind === 'heal') {
    const { steps } = decision
    return { target: record.key, action: 'heal', reason, steps: renderPlan(steps), drift: driftOf(steps) }
  }
  if (decision.kind === 'deploy' || (decision.kind === 'nothing' && !isApplied(record))) {
    const why = decision.kind === 'deploy' ? reason : 'its last deployment failed'
    return { target: record.key, action: 'deploy', reason: why, steps: [], drift: [] }
  }
  return { target: record.key, action: 'none', reason, steps: [], drift: [] }
}

/** True where what the repo wants was brought to the host and proven. */
export function isApplied({ desired, applied }: TargetRecord): boolean {
  return desired !== null && applied?.specHash === desired.specHash
}

function openWork(parts: DryRunParts, record: TargetRecord, signal: AbortSignal) {
  const host = parts.hosts.get(record.target.host)
  if (!host)
    throw new TowlineError(`host ${record.target.host} passed validation and is not there`, { fault: 'bug' })
  const claim = { target: record.key, holder: 'dry-run', epoch: 0, expiresAt: '' }
  return { record, host, claim, signal }
}
