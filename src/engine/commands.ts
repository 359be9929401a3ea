import { type Deployment, isOpen } from '../rollout/deployment.ts'
import { TowlineError } from '../rollout/error.ts'
import { Cancellation } from './cancellation.ts'
import { changeDeployment } from './journal.ts'
import type { TargetRecord } from './records.ts'
import { type RerunParts, retryDeployment } from './rerun.ts'
import type { Statistics } from './statistics.ts'

/** What became of a command: `refused` says why nothing was done. */
export type CommandAnswer = { kind: 'accepted'; deploymentId: string } | { kind: 'refused'; reason: string }

/** What a person may ask of a deployment. Each only notes a wish and says "look again". */
export type Commands = {
  /** Ends an open deployment; the release before is put back. Asked for in this process: a crash forgets it. */
  cancel(deployment: Pick<Deployment, 'id' | 'target'>): Promise<CommandAnswer>
  /** A new attempt of a deployment that ended, while the repo still wants the same. */
  retry(deployment: Pick<Deployment, 'id' | 'target'>): Promise<CommandAnswer>
  /** What a pass over this target has to begin with: the end of the deployment that is open. null without one. */
  pendingCancellation(key: string): Promise<Cancellation | null>
}

export function createCommands(
  parts: RerunParts & {
    statistics: Pick<Statistics, 'count'>
    /** Ends the waits of the pass that works on a target, where one does. */
    endWaits: (key: string, reason: Cancellation) => void
    look: (key: string) => void
  },
): Commands {
  const { store } = parts
  /** By target: bounded by the number of targets there are. */
  const asked = new Map<string, Cancellation>()

  return {
    async cancel({ id, target }) {
      const found = (await store.readTarget(target))?.deployments.find((deployment) => deployment.id === id)
      if (!found || !isOpen(found)) return { kind: 'refused', reason: 'It has ended already.' }
      const cancellation = new Cancellation(id)
      asked.set(target, cancellation)
      parts.endWaits(target, cancellation)
      // One that is queued may wait for long, and no pass would end it. What has begun is ended by its pass.
      const event = { type: 'cancelled', reason: cancellation.message } as const
      const now = new Date().toISOString()
      const record = await store.updateTarget(target, (stored) =>
        isQueued(stored, id) ? changeDeployment(stored, id, [event], now) : (stored ?? gone(target)),
      )
      if (!record.deployments.some((one) => one.id === id && isOpen(one)))
        parts.statistics.count('deploymentsCancelled')
      parts.onAnswer(target)
      parts.look(target)
      return { kind: 'accepted', deploymentId: id }
    },
    retry: (deployment) => retryDeployment(parts, deployment),
    async pendingCancellation(key) {
      const cancellation = asked.get(key)
      if (!cancellation) return null
      const deployments = (await store.readTarget(key))?.deployments ?? []
      if (deployments.some((one) => one.id === cancellation.deploymentId && isOpen(one))) return cancellation
      asked.delete(key)
      return null
    },
  }
}

function isQueued(record: TargetRecord | null, id: string): boolean {
  return record?.deployments.some((one) => one.id === id && one.phase === 'queued') ?? false
}

function gone(key: string): never {
  throw new TowlineError(`the record of ${key} is gone`, { fault: 'stale' })
}
