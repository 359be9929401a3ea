import { isOpen, type StuckReason } from '../rollout/deployment.ts'
import { findStuck } from '../rollout/stuck.ts'
import type { Store } from './ports.ts'

/** An open deployment that gets nowhere, and why it counts as stuck. */
export type StuckFinding = { target: string; deploymentId: string; reason: StuckReason; since: string }

export type StuckWatch = {
  /** Looks at every open deployment now; `onStuck` is told of each that is stuck. */
  look(): Promise<StuckFinding[]>
}

/**
 * Finds deployments that do not get on. How long one stands still is measured by this process's own steady clock, from when it
 * was first seen as it is now: a wall clock that jumps makes nothing look stuck.
 */
export function createStuckWatch(parts: {
  store: Pick<Store, 'listTargets'>
  progressDeadlineMs: number
  /** True while a worker acts for the target, or it waits for one. */
  inWork: (key: string) => boolean
  onStuck: (finding: StuckFinding) => void
}): StuckWatch {
  /** By deployment: the last sign of life, and when it was first seen. */
  const marks = new Map<string, { phaseUpdatedAt: string; seenAtMs: number }>()

  return {
    async look() {
      const steadyNowMs = performance.now()
      const findings: StuckFinding[] = []
      const open = new Set<string>()
      for (const record of await parts.store.listTargets()) {
        for (const deployment of record.deployments.filter(isOpen)) {
          const { id, phaseUpdatedAt } = deployment
          open.add(id)
          const known = marks.get(id)
          const mark =
            known?.phaseUpdatedAt === phaseUpdatedAt ? known : { phaseUpdatedAt, seenAtMs: steadyNowMs }
          marks.set(id, mark)
          const reason = findStuck(deployment, {
            inWork: parts.inWork(record.key),
            unmovedMs: steadyNowMs - mark.seenAtMs,
            progressDeadlineMs: record.desired?.spec.spec.progressDeadlineMs ?? parts.progressDeadlineMs,
            nowMs: Date.now(),
          })
          if (reason) findings.push({ target: record.key, deploymentId: id, reason, since: phaseUpdatedAt })
        }
      }
      for (const id of marks.keys()) if (!open.has(id)) marks.delete(id)
      for (const finding of findings) parts.onStuck(finding)
      return findings
    },
  }
}
