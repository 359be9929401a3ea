import { advance, type Deployment, type DeploymentEvent, isOpen } from '../rollout/deployment.ts'
import { explain, TowlineError } from '../rollout/error.ts'
import type { WorkPhase } from '../rollout/phase.ts'
import type { Release } from '../rollout/release.ts'
import { recordDriftEnd } from './drift-record.ts'
import type { TargetRecord } from './records.ts'
import type { TargetParts, TargetWork } from './steps.ts'

export type Journal = ReturnType<typeof openJournal>

/** Writes a deployment's events: stored durably, fenced by the claim, then told to whoever reports. */
export function openJournal(parts: TargetParts, work: TargetWork, deploymentId: string) {
  const { key } = work.record
  let latest = findDeployment(work.record, deploymentId)
  let progressWrittenAtMs = 0

  async function write(...events: DeploymentEvent[]): Promise<void> {
    const now = new Date().toISOString()
    const record = await parts.store.updateTarget(
      key,
      (stored) => changeDeployment(stored, deploymentId, events, now),
      {
        claim: work.claim,
      },
    )
    latest = findDeployment(record, deploymentId)
    parts.onChange(key)
  }

  return {
    write,
    deployment: () => latest,
    record: async () => (await parts.store.readTarget(key)) ?? work.record,
    /** Success and the applied release are one write: a crash leaves both or neither. */
    async succeed(release: Release): Promise<void> {
      const now = new Date().toISOString()
      const record = await parts.store.updateTarget(
        key,
        (stored) => {
          const changed = changeDeployment(stored, deploymentId, [{ type: 'succeeded' }], now)
          const { specHash } = findDeployment(changed, deploymentId)
          return recordDriftEnd(
            { ...changed, applied: { deploymentId, specHash, release, at: now }, healing: null },
            now,
          )
        },
        { claim: work.claim },
      )
      latest = findDeployment(record, deploymentId)
      parts.onChange(key)
    },
    /** At most one write a second: progress is nice to have, each write costs an fsync. */
    progress(phase: WorkPhase, fraction: number, message: string): void {
      const nowMs = Date.now()
      if (nowMs - progressWrittenAtMs < progressIntervalMs) return
      progressWrittenAtMs = nowMs
      const { from, to } = phaseSpan[phase]
      const progress = Math.floor(from + (to - from) * Math.min(1, Math.max(0, fraction)))
      void write({ type: 'phase', phase, progress, message }).catch((error: unknown) =>
        parts.log.warn({ target: key, ...explain(error) }, 'progress was not stored'),
      )
    },
  }
}

function findDeployment(record: TargetRecord, id: string): Deployment {
  const deployment = record.deployments.find((candidate) => candidate.id === id)
  if (!deployment)
    throw new TowlineError(`deployment ${id} is not in the record of ${record.key}`, { fault: 'bug' })
  return deployment
}

/** Applies events to one deployment of a record. Only an open one changes. */
export function changeDeployment(
  record: TargetRecord | null,
  id: string,
  events: DeploymentEvent[],
  now: string,
): TargetRecord {
  if (!record) throw new TowlineError(`the record of deployment ${id} is gone`, { fault: 'stale' })
  const deployments = record.deployments.map((deployment) =>
    deployment.id === id && isOpen(deployment)
      ? events.reduce((state, event) => advance(state, event, now), deployment)
      : deployment,
  )
  return { ...record, deployments }
}

/** Where progress moves inside a phase that reports fractions (design, section 4). */
const phaseSpan: Record<WorkPhase, { from: number; to: number }> = {
  pulling_source: { from: 10, to: 19 },
  building: { from: 20, to: 49 },
  copying_files: { from: 50, to: 55 },
  creating_symlinks: { from: 60, to: 60 },
  updating_routes: { from: 75, to: 80 },
  health_check: { from: 90, to: 90 },
}

/** Progress is nice to have; each write of it costs an fsync. */
const progressIntervalMs = 1_000
