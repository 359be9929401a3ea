import type { Delivery, RepoRecord, ReportState, Revision, TargetRecord } from '../engine/records.ts'
import { advance, type Deployment, queueDeployment } from '../rollout/deployment.ts'

const at = '2026-11-21T10:00:00.000Z'
export const exampleKey = 'acme/config:shop@web-1'

export function exampleTarget(changes: Partial<TargetRecord> = {}): TargetRecord {
  return {
    version: 2,
    key: exampleKey,
    target: { repo: 'acme/config', app: 'shop', host: 'web-1', preview: null },
    desired: null,
    attempted: null,
    applied: null,
    deployments: [],
    reports: {},
    healing: null,
    drift: null,
    untoldDrifts: [],
    removal: null,
    ...changes,
  }
}

/** A deployment that has ended; `queued` for one that has not. */
export function exampleDeployment(id: string, state: 'ended' | 'queued' = 'ended'): Deployment {
  const deployment = queueDeployment({
    id,
    target: exampleKey,
    commit: 'c0ffee',
    specHash: 'beef',
    attempt: 1,
    trigger: 'push',
    now: at,
    deadlineAt: '2026-11-21T10:30:00.000Z',
  })
  return state === 'queued' ? deployment : advance(deployment, { type: 'succeeded' }, at)
}

export function exampleReport(changes: Partial<ReportState> = {}): ReportState {
  return { checkRunId: 1, createIntended: true, writtenHash: 'f00d', writeCount: 3, done: true, ...changes }
}

export function exampleRepo(changes: Partial<RepoRecord> = {}): RepoRecord {
  return { version: 2, repo: 'acme/config', branch: 'main', head: null, revisions: [], ...changes }
}

export function exampleRevision(commit: string, report: ReportState = exampleReport()): Revision {
  return {
    commit,
    seenAt: at,
    problems: [],
    deploymentIds: [],
    unchangedCount: 0,
    pausedTargets: [],
    removals: [],
    pruneRefused: null,
    supersededBy: null,
    attempt: 1,
    report,
  }
}

export function exampleDelivery(guid: string, receivedAt = at): Delivery {
  return { guid, receivedAt, hint: { kind: 'repo', repo: 'acme/config' }, processedAt: null }
}
