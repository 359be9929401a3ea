import { type Deployment, isOpen, type StuckReason } from './deployment.ts'

/**
 * Why an open deployment counts as stuck now, and since when; null while it gets on. One that is still queued never
 * does: it waits for a dependency, the end of a pause or its turn, and says so.
 */
export function stuckNow(
  deployment: Deployment,
  { nowMs, progressDeadlineMs }: { nowMs: number; progressDeadlineMs: number },
): { reason: StuckReason; sinceMs: number } | null {
  if (!isOpen(deployment) || deployment.phase === 'queued') return null
  const deadlineMs = Date.parse(deployment.deadlineAt)
  if (nowMs > deadlineMs) return { reason: 'deadline', sinceMs: deadlineMs }
  const progressMs = Date.parse(deployment.phaseUpdatedAt) + progressDeadlineMs
  return nowMs > progressMs ? { reason: 'progress', sinceMs: progressMs } : null
}
