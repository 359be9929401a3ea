import type { Step } from '../rollout/step.ts'

/** A plan in lines people read: check run, dry run, log and terminal print the same ones. Waits are left out. */
export function renderPlan(steps: Step[]): string[] {
  return steps.flatMap((step) => {
    const line = describeStep(step)
    return line === null ? [] : [`${line} (${step.reason})`]
  })
}

/** One step in a few words; null for one that only waits. */
export function describeStep(step: Step): string | null {
  switch (step.do) {
    case 'ensureImage':
      return `use image ${step.image.reference}`
    case 'ensureNetwork':
      return `ensure network ${step.network.name}`
    case 'ensureVolume':
      return `ensure volume ${step.volume.name}`
    case 'writeRelease':
      return `write release ${step.releaseId}`
    case 'createContainer':
      return `create container ${step.container.name}`
    case 'pointLinks':
      return step.links.map(({ name, to }) => `point ${name} to ${to}`).join(', ')
    case 'stopContainer':
      return `stop container ${step.name}`
    case 'startContainer':
      return `start container ${step.name}`
    case 'restartContainer':
      return `restart container ${step.name}`
    case 'removeContainer':
      return `remove container ${step.name}`
    case 'removeRelease':
      return `remove release ${step.releaseId}`
    case 'removeSite':
      return `remove ${step.folder}`
    case 'removeNetwork':
      return `remove network ${step.name}`
    case 'removeVolume':
      return `remove volume ${step.name} and what is in it`
    case 'removeImage':
      return `remove image ${step.name}`
    case 'awaitReady':
    case 'monitor':
      return null
    default:
      return step satisfies never
  }
}
