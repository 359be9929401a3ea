import type { Deployment } from './deployment.ts'
import type { OwnedThing } from './observed.ts'
import type { Release } from './release.ts'
import type { Target } from './target.ts'

/** Names of the volumes on a host that carry the labels of this very target. */
export function volumesOf(things: OwnedThing[], { repo, app, preview }: Target): string[] {
  const number = preview === null ? undefined : String(preview)
  return things
    .filter(
      ({ kind, labels }) =>
        kind === 'volume' &&
        labels['towline.repo'] === repo &&
        labels['towline.app'] === app &&
        labels['towline.preview'] === number,
    )
    .map(({ name }) => name)
}

/**
 * Volumes that a deployment which came to nothing would have made: its own, and those of the ones it superseded, back to
 * the last that succeeded. `endedId` names the deployment that ended just now, well or badly.
 */
export function unprovenVolumes(deployments: Deployment[], endedId: string): Release['volumes'] {
  const ended = deployments.findIndex(({ id }) => id === endedId)
  const provenBefore = deployments
    .slice(0, Math.max(0, ended))
    .findLastIndex(({ result }) => result?.kind === 'succeeded')
  return deployments
    .slice(provenBefore + 1, ended + 1)
    .filter(({ result }) => result?.kind !== 'succeeded')
    .flatMap(({ release }) => release?.volumes ?? [])
}

/**
 * Names of those of them that stand on the host and hold nothing anybody proved: made by just that deployment, which
 * its labels say to the epoch, and used by no release that was ever proven.
 */
export function freshVolumes(
  things: OwnedThing[],
  history: { deployments: Deployment[]; applied: Release | null; endedId: string },
): string[] {
  const { deployments, applied, endedId } = history
  const made = unprovenVolumes(deployments, endedId)
  const proven = deployments.flatMap(({ release, result }) =>
    release && result?.kind === 'succeeded' ? release : [],
  )
  const used = new Set([...(applied ? [applied] : []), ...proven].flatMap(namesOf))
  return things
    .filter(
      ({ kind, name, labels }) =>
        kind === 'volume' &&
        !used.has(name) &&
        made.some((volume) => volume.name === name && carries(labels, volume.labels)),
    )
    .map(({ name }) => name)
}

function namesOf({ volumes }: Release): string[] {
  return volumes.map(({ name }) => name)
}

function carries(labels: Record<string, string>, wanted: Record<string, string>): boolean {
  return Object.entries(wanted).every(([label, value]) => labels[label] === value)
}
