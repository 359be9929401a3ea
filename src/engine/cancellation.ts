import { TowlineError } from '../rollout/error.ts'

/** Somebody asked for the end of one deployment. As the reason of a signal it ends waits and says whose they were. */
export class Cancellation extends TowlineError {
  readonly deploymentId: string

  constructor(deploymentId: string) {
    super('a person asked for it', { fault: 'cancelled' })
    this.deploymentId = deploymentId
  }
}

/** True where the signal was ended for this very deployment, and not for a newer one or the end of the process. */
export function isCancelled({ aborted, reason }: AbortSignal, deploymentId: string): boolean {
  return aborted && reason instanceof Cancellation && reason.deploymentId === deploymentId
}
