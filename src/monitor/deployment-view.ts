import type { ReportState, TargetRecord } from '../engine/records.ts'
import type { Deployment, Result } from '../rollout/deployment.ts'
import type { DeploymentList, DeploymentSummary, DeploymentView } from './answers.ts'

/** One line of a list. Fields are named one by one: a release holds values of the environment. */
export function summarizeDeployment(deployment: Deployment): DeploymentSummary {
  return {
    id: deployment.id,
    target: deployment.target,
    commit: deployment.commit,
    specHash: deployment.specHash,
    attempt: deployment.attempt,
    trigger: deployment.trigger,
    state: stateOf(deployment),
    phase: deployment.phase,
    progress: deployment.progress,
    message: deployment.message,
    releaseId: deployment.release?.id ?? null,
    resumedCount: deployment.resumedCount,
    createdAt: deployment.createdAt,
    startedAt: deployment.startedAt,
    phaseUpdatedAt: deployment.phaseUpdatedAt,
    deadlineAt: deployment.deadlineAt,
    endedAt: deployment.endedAt,
  }
}

/** A deployment whole, with what GitHub was told of it. */
export function viewDeployment(deployment: Deployment, report: ReportState | null): DeploymentView {
  const { release } = deployment
  return {
    ...summarizeDeployment(deployment),
    image: release && { reference: release.image.reference, pinned: release.image.pinned },
    inputHash: release?.inputHash ?? null,
    changes: deployment.changes,
    history: deployment.history.map(({ phase, progress, at, message }) => ({ phase, progress, at, message })),
    result: deployment.result && viewResult(deployment.result),
    checkRun: report && { id: report.checkRunId, done: report.done },
  }
}

function viewResult(result: Result): NonNullable<DeploymentView['result']> {
  switch (result.kind) {
    case 'succeeded':
      return { kind: 'succeeded' }
    case 'failed': {
      const { kind, phase, fault, reason, hint, logTail, stuck, previous } = result
      return { kind, phase, fault, reason, hint, logTail, stuck: stuck ?? null, previous }
    }
    case 'superseded':
      return { kind: 'superseded', phase: result.phase, by: result.by }
    case 'cancelled':
      return { kind: 'cancelled', phase: result.phase, reason: result.reason }
    default:
      return result satisfies never
  }
}

export function stateOf({ result }: Deployment): DeploymentSummary['state'] {
  return result?.kind ?? 'open'
}

/** A page of deployments, newest first; null for a cursor this API never gave out. */
export function listDeployments(
  records: readonly TargetRecord[],
  query: { target?: string; state?: DeploymentSummary['state']; limit: number; cursor?: string },
): DeploymentList | null {
  const after = query.cursor === undefined ? null : parseCursor(query.cursor)
  if (query.cursor !== undefined && after === null) return null
  const found = records
    .filter(({ key }) => query.target === undefined || key === query.target)
    .flatMap(({ deployments }) => deployments)
    .filter((deployment) => query.state === undefined || stateOf(deployment) === query.state)
    .map((deployment) => ({ deployment, place: placeOf(deployment) }))
    .filter(({ place }) => after === null || place < after)
    .sort((a, b) => (a.place < b.place ? 1 : -1))
  const page = found.slice(0, query.limit)
  const last = page.at(-1)
  return {
    deployments: page.map(({ deployment }) => summarizeDeployment(deployment)),
    next: last && found.length > page.length ? formatCursor(last.place) : null,
  }
}

/** Where a deployment stands in the list. It never changes, so a page stays true though new ones come before it. */
function placeOf({ createdAt, id }: Deployment): string {
  return `${createdAt} ${id}`
}

function formatCursor(place: string): string {
  return Buffer.from(place).toString('base64url')
}

function parseCursor(cursor: string): string | null {
  const place = Buffer.from(cursor, 'base64url').toString()
  return /^\d{4}-\d{2}-\d{2}T\S+ \S+$/.test(place) ? place : null
}
