import type { Decision } from '../rollout/decide.ts'
import { explain } from '../rollout/error.ts'
import type { Drift } from '../rollout/observed.ts'
import { driftOf } from '../rollout/plan.ts'
import type { DockerHost } from './ports.ts'
import type { TargetRecord } from './records.ts'
import type { TargetParts } from './steps.ts'
import { decideTarget, hasDriftToEnd, viewRecord } from './target-pass.ts'

/** What one look at one host found. */
export type HostSweep =
  | { host: string; targetCount: number; due: { target: string; reason: string; drift: Drift[] }[] }
  | { host: string; error: string; hint: string }

/**
 * Looks at a whole host in one go and names the targets that need work. It acts on nothing: each due target gets
 * its own pass, which looks again. `deep` inspects every container, for changes the list does not show.
 */
export async function sweepHost(
  parts: Pick<TargetParts, 'store' | 'hostStatus' | 'healing' | 'log'>,
  host: DockerHost,
  options: { deep: boolean; signal: AbortSignal },
): Promise<HostSweep> {
  const records = (await parts.store.listTargets()).filter(({ target }) => target.host === host.name)
  if (records.length === 0) return { host: host.name, targetCount: 0, due: [] }
  const files = records.flatMap(({ applied }) =>
    applied?.release.site ? [{ folder: applied.release.site.folder, releaseId: applied.release.id }] : [],
  )
  try {
    const observed = await host.observe({
      deep: options.deep,
      sites: files.length > 0,
      // Reading every file costs: as often as every container is inspected.
      files: options.deep ? files : [],
      resources: true,
      signal: options.signal,
    })
    const due = []
    for (const record of records) {
      const decision = await decideTarget(parts, record, viewRecord(record, observed))
      if (!isDue(record, decision)) continue
      const drift = driftIn(decision)
      due.push({ target: record.key, reason: decision.reason, drift })
    }
    return { host: host.name, targetCount: records.length, due }
  } catch (error) {
    const { reason, hint } = explain(error)
    parts.log.warn({ host: host.name, reason, hint }, 'a host could not be swept')
    return { host: host.name, error: reason, hint }
  }
}

/** Also where there is only something to be noted: healing given up for the first time, drift that ended by itself. */
function isDue(record: TargetRecord, decision: Decision): boolean {
  switch (decision.kind) {
    case 'wait':
      return false
    case 'nothing':
      return hasDriftToEnd(record)
    case 'giveUp':
      return record.healing?.degraded?.reason !== decision.reason
    default:
      return true
  }
}

function driftIn(decision: Decision): Drift[] {
  if (decision.kind === 'heal') return driftOf(decision.steps)
  return decision.kind === 'giveUp' ? decision.drift : []
}
