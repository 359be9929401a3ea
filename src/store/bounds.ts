import type { RepoRecord, TargetRecord } from '../engine/records.ts'
import { isOpen } from '../rollout/deployment.ts'

/** Deployments kept of a target: enough to see a bad week, few enough that a record stays some tens of kilobytes. */
export const keptDeployments = 20

/** Revisions kept of a repo: the last days of pushes. */
export const keptRevisions = 20

/**
 * What GitHub has not been told yet outlasts the bounds above, but only this far back: an installation without the
 * permission to write checks would otherwise keep every push for ever.
 */
export const keptUnreported = 100

/**
 * The record with its oldest deployments dropped, and the reports of dropped ones. Open deployments and the applied one
 * always stay. Returns the same object where there is nothing to drop.
 */
export function boundTarget(record: TargetRecord): TargetRecord {
  const isApplied = ({ id }: { id: string }) => id === record.applied?.deploymentId
  const isUnreported = ({ id }: { id: string }) => record.reports[id]?.done === false
  const deployments = record.deployments.filter(
    (deployment, index, { length }) =>
      index >= length - keptDeployments ||
      isOpen(deployment) ||
      isApplied(deployment) ||
      (isUnreported(deployment) && index >= length - keptUnreported),
  )
  const ids = new Set(deployments.map(({ id }) => id))
  const reports = Object.entries(record.reports).filter(([id]) => ids.has(id))
  const isUnchanged =
    deployments.length === record.deployments.length && reports.length === Object.keys(record.reports).length
  return isUnchanged ? record : { ...record, deployments, reports: Object.fromEntries(reports) }
}

/** The record with its oldest revisions dropped. Returns the same object where there is nothing to drop. */
export function boundRepo(record: RepoRecord): RepoRecord {
  const revisions = record.revisions.filter(
    ({ report }, index, { length }) =>
      index >= length - keptRevisions || (!report.done && index >= length - keptUnreported),
  )
  return revisions.length === record.revisions.length ? record : { ...record, revisions }
}
