import type { ContainerCreateOptions, ContainerInspectInfo } from 'dockerode'
import { volumeName } from '../rollout/target.ts'
import { hostTime } from './containers.ts'
import { type CallOptions, createContainer, type Engine, unlessStatus } from './engine.ts'
import { ensureImage, resolveImage } from './images.ts'
import { ownerLabel, roleLabel } from './labels.ts'
import { refuseForeign } from './ownership.ts'
import { removeByForce, removeVolume } from './removal.ts'

/** Where the helper sees Towline's volume. */
export const mountPath = '/towline'

export type FilesHelper = {
  /** Makes sure that the helper runs as it was made, and gives its id. */
  ensure(options: CallOptions): Promise<string>
  /**
   * For a volume whose folder was deleted on the host's disk, though the Engine lists it: makes it and the helper
   * anew, unless that was done since the helper of this id saw it.
   *
   * @throws TowlineError `temporary` while another container mounts what is left of it.
   */
  replaceVolume(seenBy: string, options: CallOptions): Promise<void>
}

/**
 * The helper is a small container of ours that mounts Towline's volume, since only a program on the host can rename a
 * link. One that does not run, or is not as it would be made now, is replaced. It can do nothing but change files: no
 * network, a root file system that is read-only, and no capability but to pass over the owner and mode of a file.
 */
export function filesHelper(engine: Engine, options: { owner: string; image: string }): FilesHelper {
  const { owner, image } = options
  const volume = volumeName(owner)
  const name = `${volume}-files`
  const labels = { [ownerLabel]: owner, [roleLabel]: 'files' }
  const wanted = helperPayload({ name, image, volume, labels })
  let last: Promise<unknown> = Promise.resolve()

  async function ensure(callOptions: CallOptions): Promise<string> {
    const found = await inspect(callOptions)
    if (found?.State.Status === 'running' && isAsMade(found, wanted)) return found.Id
    if (found !== null) await remove(found, callOptions)
    return make(callOptions)
  }

  async function replaceVolume(seenBy: string, callOptions: CallOptions): Promise<void> {
    const found = await inspect(callOptions)
    if (found?.Id !== seenBy) return
    await remove(found, callOptions)
    await removeVolume(engine, volume, { owner, ...callOptions })
    await make(callOptions)
  }

  /** Never somebody else's. */
  async function inspect(callOptions: CallOptions): Promise<ContainerInspectInfo | null> {
    const found = await engine.call(
      `Looking for ${name}`,
      (docker, signal) => unlessStatus([404], docker.getContainer(name).inspect({ abortSignal: signal })),
      callOptions,
    )
    if (found !== null) {
      refuseForeign(found.Config.Labels, { owner, subject: `container ${name}`, host: engine.name })
    }
    return found
  }

  async function remove({ Id }: ContainerInspectInfo, callOptions: CallOptions): Promise<void> {
    await engine.call(`Removing ${name}`, (docker, signal) => removeByForce(docker, Id, signal), callOptions)
  }

  async function make(callOptions: CallOptions): Promise<string> {
    const { signal } = callOptions
    await ensureImage(engine, await resolveImage(engine, image, { pullPolicy: 'missing', signal }), {
      signal,
    })
    if ((await makeVolume(callOptions)) === 'gone') {
      await removeVolume(engine, volume, { owner, ...callOptions })
      await makeVolume(callOptions)
    }
    return engine.call(
      `Starting ${name}`,
      async (docker, callSignal) => {
        const container = await createContainer(docker, wanted, callSignal)
        await container.start({ abortSignal: callSignal })
        return container.id
      },
      callOptions,
    )
  }

  /** `gone` where the Engine lists a volume that is no longer on its disk: then it says that it was made in the year 1. */
  async function makeVolume(callOptions: CallOptions): Promise<'stands' | 'gone'> {
    const subject = `volume ${volume}`
    const found = await engine.call(
      `Making ${subject}`,
      async (docker, signal) => {
        await docker.createVolume({ Name: volume, Labels: labels, abortSignal: signal })
        return docker.getVolume(volume).inspect({ abortSignal: signal })
      },
      callOptions,
    )
    refuseForeign(found.Labels, { owner, subject, host: engine.name })
    const { CreatedAt } = found as { CreatedAt?: string }
    return CreatedAt !== undefined && hostTime(CreatedAt) === null ? 'gone' : 'stands'
  }

  /** One at a time: two that find it missing must not both make it. */
  function inTurn<T>(act: () => Promise<T>): Promise<T> {
    const done = last.then(act)
    last = done.catch(() => {})
    return done
  }

  return {
    ensure: (callOptions) => inTurn(() => ensure(callOptions)),
    replaceVolume: (seenBy, callOptions) => inTurn(() => replaceVolume(seenBy, callOptions)),
  }
}

function helperPayload(parts: {
  name: string
  image: string
  volume: string
  labels: Record<string, string>
}) {
  return {
    name: parts.name,
    Image: parts.image,
    Cmd: ['sleep', '2147483647'],
    Labels: parts.labels,
    HostConfig: {
      Init: true,
      ReadonlyRootfs: true,
      CapDrop: ['ALL'],
      // Somebody may have given a release to another user, or closed it to everybody: that has to be put right too.
      CapAdd: ['DAC_OVERRIDE', 'FOWNER'],
      SecurityOpt: ['no-new-privileges'],
      NetworkMode: 'none',
      RestartPolicy: { Name: 'unless-stopped' },
      Mounts: [{ Type: 'volume', Source: parts.volume, Target: mountPath }],
      LogConfig: { Type: 'json-file', Config: { 'max-size': '1m', 'max-file': '1' } },
    },
  } satisfies ContainerCreateOptions
}

/** Its image, its volume, and what it may do. */
function isAsMade(found: ContainerInspectInfo, wanted: ReturnType<typeof helperPayload>): boolean {
  const mount = found.Mounts.find(({ Destination }) => Destination === mountPath)
  const { HostConfig, NetworkSettings } = found
  return (
    found.Config.Image === wanted.Image &&
    mount?.Name === wanted.HostConfig.Mounts[0]?.Source &&
    mount?.RW === true &&
    HostConfig.NetworkMode === wanted.HostConfig.NetworkMode &&
    Object.keys(NetworkSettings.Networks).every((network) => network === wanted.HostConfig.NetworkMode) &&
    HostConfig.ReadonlyRootfs === true &&
    capabilities(HostConfig.CapAdd) === capabilities(wanted.HostConfig.CapAdd) &&
    capabilities(HostConfig.CapDrop) === capabilities(wanted.HostConfig.CapDrop)
  )
}

/** An Engine may give `DAC_OVERRIDE` back as `CAP_DAC_OVERRIDE`. */
function capabilities(names: readonly string[] | null | undefined): string {
  return (names ?? [])
    .map((name) => name.replace(/^CAP_/, ''))
    .sort()
    .join(' ')
}
