import { type Deployment, type DeploymentEvent, queueDeployment } from '../rollout/deployment.ts'
import { formatTarget, type Target } from '../rollout/target.ts'
import { newReport, newTarget } from './config-pass.ts'
import { changeDeployment } from './journal.ts'
import type { Store } from './ports.ts'
import type { Revision, TargetRecord } from './records.ts'

const at = '2026-11-21T10:00:00.000Z'

/** The target `acme/config:<app>@web-1`. */
export function target(app: string, over: Partial<Target> = {}): Target {
  return { repo: 'acme/config', app, host: 'web-1', preview: null, ...over }
}

/** A deployment that waits for its turn. */
export function queued(app: string, over: Partial<Parameters<typeof queueDeployment>[0]> = {}): Deployment {
  return queueDeployment({
    id: `d-${app}`,
    target: formatTarget(target(app)),
    commit: 'c0ffee',
    specHash: 'beef',
    attempt: 1,
    trigger: 'push',
    now: at,
    deadlineAt: '2026-11-21T10:30:00.000Z',
    ...over,
  })
}

/** The record of a target with these deployments, none of which was told to GitHub. */
export function recordOf(
  app: string,
  deployments: Deployment[],
  over: Partial<TargetRecord> = {},
): TargetRecord {
  const reports = Object.fromEntries(deployments.map(({ id }) => [id, newReport]))
  return { ...newTarget(formatTarget(target(app)), target(app)), deployments, reports, ...over }
}

/** A commit that asked for these deployments. */
export function revisionOf(
  commit: string,
  deployments: Deployment[],
  over: Partial<Revision> = {},
): Revision {
  return {
    commit,
    seenAt: at,
    problems: [],
    deploymentIds: deployments.map(({ id, target: key }) => ({ target: key, deploymentId: id })),
    unchangedCount: 0,
    pausedTargets: [],
    removals: [],
    pruneRefused: null,
    supersededBy: null,
    attempt: 1,
    report: newReport,
    ...over,
  }
}

/** The end of a deployment whose release proved bad. */
export function failure(): DeploymentEvent {
  return { type: 'failed', fault: 'rejected', reason: 'it is gone', hint: '', logTail: [], previous: '' }
}

/** Stores events of one deployment, as its worker does. */
export async function advanceStored(
  store: Store,
  { id, target: key }: Pick<Deployment, 'id' | 'target'>,
  ...events: DeploymentEvent[]
): Promise<void> {
  await store.updateTarget(key, (stored) => changeDeployment(stored, id, events, at))
}
