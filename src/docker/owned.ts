/**
 * Lists of all that carries this installation's owner label, one call a kind. Whoever reads them may act on what is in
 * them, so each thing is looked at again: an Engine, or a proxy before it, that passes over the filter would show
 * everything on the host as ours.
 */

import type { ContainerInfo, ImageInfo, NetworkInspectInfo, VolumeInspectInfo } from 'dockerode'
import { TowlineError } from '../rollout/error.ts'
import type { Engine } from './engine.ts'
import { ownerLabel } from './labels.ts'

type ListOptions = { owner: string; signal: AbortSignal }

/** @throws TowlineError `operator` where the answer holds what is not ours, as each of these. */
export async function ownedContainers(
  engine: Engine,
  { owner, signal, labels = {} }: ListOptions & { labels?: Record<string, string> },
): Promise<ContainerInfo[]> {
  const listed = await engine.call(
    'Listing containers',
    (docker, abortSignal) =>
      docker.listContainers({ all: true, filters: { label: wanted({ owner, labels }) }, abortSignal }),
    { signal },
  )
  return allOurs(engine, 'containers', { owner, listed })
}

export async function ownedNetworks(
  engine: Engine,
  { owner, signal }: ListOptions,
): Promise<NetworkInspectInfo[]> {
  const listed = await engine.call(
    'Listing networks',
    (docker, abortSignal) => docker.listNetworks({ filters: { label: wanted({ owner }) }, abortSignal }),
    { signal },
  )
  return allOurs(engine, 'networks', { owner, listed })
}

/** A volume's creation time is in the answer, though not in dockerode's types. */
export async function ownedVolumes(
  engine: Engine,
  { owner, signal }: ListOptions,
): Promise<(VolumeInspectInfo & { CreatedAt?: string })[]> {
  const answer = await engine.call(
    'Listing volumes',
    (docker, abortSignal) => docker.listVolumes({ filters: { label: wanted({ owner }) }, abortSignal }),
    { signal },
  )
  return allOurs(engine, 'volumes', { owner, listed: answer.Volumes ?? [] })
}

export async function ownedImages(engine: Engine, { owner, signal }: ListOptions): Promise<ImageInfo[]> {
  const listed = await engine.call(
    'Listing images',
    (docker, abortSignal) => docker.listImages({ filters: { label: wanted({ owner }) }, abortSignal }),
    { signal },
  )
  return allOurs(engine, 'images', { owner, listed })
}

function wanted({ owner, labels = {} }: { owner: string; labels?: Record<string, string> }): string[] {
  return Object.entries({ [ownerLabel]: owner, ...labels }).map(([name, value]) => `${name}=${value}`)
}

function allOurs<T extends { Labels?: Record<string, string> | null | undefined }>(
  engine: Engine,
  what: string,
  { owner, listed }: { owner: string; listed: T[] },
): T[] {
  const isOurs = Array.isArray(listed) && listed.every(({ Labels }) => Labels?.[ownerLabel] === owner)
  if (isOurs) return listed
  throw new TowlineError(
    `${engine.name} answers strangely: asked for ${what} with our owner label, it named others too`,
    {
      fault: 'operator',
      hint: 'Check that the endpoint is a Docker Engine, and that no proxy before it drops the filters of a request.',
    },
  )
}
