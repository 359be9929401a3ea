import type { Deployment } from '../rollout/deployment.ts'
import { isOpen } from '../rollout/deployment.ts'
import { explain } from '../rollout/error.ts'
import type { HostStatus } from './host-status.ts'
import { changeDeployment } from './journal.ts'
import type { DockerHost, Log, Store } from './ports.ts'
import type { TargetRecord } from './records.ts'

/** What a start found unfinished, and what becomes of each. */
export type Recovery = {
  target: string
  deploymentId: string
  phase: string
  outcome: 'resumes' | 'superseded'
}

type Parts = {
  store: Store
  hosts: ReadonlyMap<string, DockerHost>
  hostStatus: HostStatus
  onChange: (key: string) => void
  log: Log
}

/**
 * The first thing a start does: reads the hosts, makes sure that no epoch is given twice, and examines every unfinished
 * deployment. A newer one of the same target supersedes it; otherwise it goes on in its phase. Nothing is acted on yet.
 */
export async function recover(parts: Parts, { signal }: { signal: AbortSignal }): Promise<Recovery[]> {
  const { store, hostStatus, log } = parts
  await hostStatus.load()
  const highest = await Promise.all(
    [...parts.hosts.values()].map((host) => highestEpoch(parts, host, signal)),
  )
  await store.raiseEpoch(Math.max(0, ...highest))
  const found: Recovery[] = []
  for (const record of await store.listTargets()) {
    found.push(...(await examine(parts, record)))
  }
  for (const each of found)
    log.info(each, `found unfinished: ${each.target} in ${each.phase}, ${each.outcome}`)
  return found
}

/** A store that was restored from a backup knows less than the hosts show. */
async function highestEpoch({ hostStatus }: Parts, host: DockerHost, signal: AbortSignal): Promise<number> {
  try {
    const { containers } = await host.observe({
      signal: AbortSignal.any([signal, AbortSignal.timeout(lookTimeoutMs)]),
    })
    hostStatus.answered(host.name)
    const epochs = containers.map(({ labels }) => Number(labels['towline.epoch'] ?? 0))
    return Math.max(0, ...epochs.filter(Number.isSafeInteger))
  } catch (error) {
    hostStatus.lost(host.name, error)
    return 0
  }
}

async function examine({ store, onChange, log }: Parts, record: TargetRecord): Promise<Recovery[]> {
  const open = record.deployments.filter(isOpen)
  const newest = open.at(-1)
  if (!newest) return []
  const older = open.slice(0, -1)
  if (older.length > 0) {
    const now = new Date().toISOString()
    await store
      .updateTarget(record.key, (stored) =>
        older.reduce(
          (changed, { id }) => changeDeployment(changed, id, [{ type: 'superseded', by: newest.id }], now),
          stored ?? record,
        ),
      )
      .catch((error: unknown) =>
        log.warn(
          { target: record.key, ...explain(error) },
          'an older deployment was not closed; its next pass does it',
        ),
      )
    onChange(record.key)
  }
  return [
    ...older.map((deployment) => describe(record, deployment, 'superseded')),
    describe(record, newest, 'resumes'),
  ]
}

function describe({ key }: TargetRecord, { id, phase }: Deployment, outcome: Recovery['outcome']): Recovery {
  return { target: key, deploymentId: id, phase, outcome }
}

/** A host that hangs must not keep all others waiting. */
const lookTimeoutMs = 10_000
