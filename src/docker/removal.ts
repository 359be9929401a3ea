/** Taking things off a host. Each act asks first whose the thing is, and is content where it is gone already. */

import type Docker from 'dockerode'
import { type CallOptions, type Engine, statusOf, unlessStatus } from './engine.ts'
import { refuseForeign } from './ownership.ts'

type RemovalOptions = CallOptions & { owner: string }

/**
 * Removes a container whatever it does, and returns once it is gone. 409 means that somebody else's removal is under
 * way: until that ends the name is taken, and the container looks usable. Volumes stay, anonymous ones too.
 */
export async function removeByForce(docker: Docker, id: string, signal: AbortSignal): Promise<void> {
  const container = docker.getContainer(id)
  const removed = await unlessStatus(
    [404, 409],
    container.remove({ force: true, v: false, abortSignal: signal }),
  )
  if (removed !== null) return
  await unlessStatus([404], container.wait({ condition: 'removed', abortSignal: signal }))
}

/**
 * A network with containers on it stays. The Engine would remove it under those that do not run, and they could never
 * start again, so they are asked for; under those that run it does not: it answers 403.
 */
export async function removeNetwork(
  engine: Engine,
  name: string,
  { owner, ...options }: RemovalOptions,
): Promise<void> {
  const subject = `network ${name}`
  await engine.call(
    `Removing ${subject}`,
    async (docker, signal) => {
      const network = docker.getNetwork(name)
      const found = await unlessStatus([404], network.inspect())
      // The Engine also finds a network by the start of its id.
      if (found === null || found.Name !== name) return
      refuseForeign(found.Labels, { owner, subject, host: engine.name })
      const users = await docker.listContainers({
        all: true,
        filters: { network: [name] },
        abortSignal: signal,
      })
      if (users.length > 0) return
      // By id: of two networks of one name, the one that was looked at.
      const removal = docker.getNetwork(found.Id).remove({ abortSignal: signal })
      await unlessStatus([404], removal).catch(async (error: unknown) => {
        // A proxy that does not let Towline remove anything says 403 too.
        const inUse =
          statusOf(error) === 403 && Object.keys((await network.inspect()).Containers ?? {}).length > 0
        if (!inUse) throw error
      })
    },
    options,
  )
}

/** A volume that a container uses, running or not, stays. */
export async function removeVolume(
  engine: Engine,
  name: string,
  { owner, ...options }: RemovalOptions,
): Promise<void> {
  const subject = `volume ${name}`
  await engine.call(
    `Removing ${subject}`,
    async (docker, signal) => {
      const volume = docker.getVolume(name)
      const found = await unlessStatus([404], volume.inspect({ abortSignal: signal }))
      if (found === null) return
      refuseForeign(found.Labels, { owner, subject, host: engine.name })
      await unlessStatus([404, 409], volume.remove({ abortSignal: signal }))
    },
    options,
  )
}

/** An image that a container uses, or that is known by more than one name, stays. */
export async function removeImage(
  engine: Engine,
  { id, name }: { id: string; name: string },
  { owner, ...options }: RemovalOptions,
): Promise<void> {
  const subject = `image ${name}`
  await engine.call(
    `Removing ${subject}`,
    async (docker, signal) => {
      const image = docker.getImage(id)
      const found = await unlessStatus([404], image.inspect())
      if (found === null) return
      refuseForeign(found.Config.Labels, { owner, subject, host: engine.name })
      await unlessStatus([404, 409], image.remove({ abortSignal: signal }))
    },
    options,
  )
}
