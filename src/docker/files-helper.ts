import type { ContainerInspectInfo } from 'dockerode'
import { volumeName } from '../rollout/target.ts'
import { type CallOptions, createContainer, type Engine, unlessStatus } from './engine.ts'
import { ensureImage, resolveImage } from './images.ts'
import { ownerLabel, roleLabel } from './labels.ts'
import { refuseForeign } from './ownership.ts'

/** Where the helper sees Towline's volume. */
export const mountPath = '/towline'

/**
 * Returns a function that makes sure the helper container runs, and gives its name: a small container of ours that
 * mounts Towline's volume, since only a program on the host can rename a link. One that is stopped, was made from
 * another image or for another volume is replaced. It can do nothing but change files: no network, no capabilities,
 * a root file system that is read-only.
 */
export function filesHelper(
  engine: Engine,
  options: { owner: string; image: string },
): (options: CallOptions) => Promise<string> {
  const { owner, image } = options
  const name = `${volumeName(owner)}-files`
  const labels = { [ownerLabel]: owner, [roleLabel]: 'files' }
  let last: Promise<unknown> = Promise.resolve()

  async function ensure(callOptions: CallOptions): Promise<string> {
    const found = await inspect(callOptions)
    if (found !== null) {
      refuseForeign(found.Config.Labels, { owner, subject: `container ${name}`, host: engine.name })
      if (found.State.Status === 'running' && isAsMade(found, { owner, image })) return name
      await engine.call(
        `Removing ${name}`,
        (docker, signal) =>
          unlessStatus(
            [404, 409],
            docker.getContainer(found.Id).remove({ force: true, abortSignal: signal }),
          ),
        callOptions,
      )
    }
    await make(callOptions)
    return name
  }

  async function inspect(callOptions: CallOptions): Promise<ContainerInspectInfo | null> {
    return engine.call(
      `Looking for ${name}`,
      (docker, signal) => unlessStatus([404], docker.getContainer(name).inspect({ abortSignal: signal })),
      callOptions,
    )
  }

  async function make(callOptions: CallOptions): Promise<void> {
    const { signal } = callOptions
    await ensureImage(engine, await resolveImage(engine, image, { pullPolicy: 'missing', signal }), {
      signal,
    })
    await engine.call(
      `Starting ${name}`,
      async (docker, callSignal) => {
        await docker.createVolume({ Name: volumeName(owner), Labels: labels, abortSignal: callSignal })
        const container = await createContainer(
          docker,
          {
            name,
            Image: image,
            Cmd: ['sleep', '2147483647'],
            Labels: labels,
            HostConfig: {
              Init: true,
              ReadonlyRootfs: true,
              CapDrop: ['ALL'],
              SecurityOpt: ['no-new-privileges'],
              NetworkMode: 'none',
              RestartPolicy: { Name: 'unless-stopped' },
              Mounts: [{ Type: 'volume', Source: volumeName(owner), Target: mountPath }],
              LogConfig: { Type: 'json-file', Config: { 'max-size': '1m', 'max-file': '1' } },
            },
          },
          callSignal,
        )
        await container.start({ abortSignal: callSignal })
      },
      callOptions,
    )
  }

  // One at a time: two that find it missing must not both make it.
  return (callOptions) => {
    const ensured = last.then(() => ensure(callOptions))
    last = ensured.catch(() => {})
    return ensured
  }
}

function isAsMade(found: ContainerInspectInfo, wanted: { owner: string; image: string }): boolean {
  const mount = found.Mounts.find(({ Destination }) => Destination === mountPath)
  return found.Config.Image === wanted.image && mount?.Name === volumeName(wanted.owner) && mount.RW
}
