import type { ReleaseFile } from '../engine/ports.ts'
import { TowlineError } from '../rollout/error.ts'
import type { ContainerSpec, VolumeSpec } from '../rollout/release.ts'
import type { HostStep } from '../rollout/step.ts'
import { createPayload } from './containers.ts'
import {
  type CallOptions,
  createContainer,
  type Engine,
  messageOf,
  statusOf,
  unlessStatus,
} from './engine.ts'
import type { SiteFiles } from './files.ts'
import { ensureImage } from './images.ts'
import { inputLabel } from './labels.ts'
import type { networkMaker } from './networks.ts'
import { refuseForeign } from './ownership.ts'
import { removeByForce, removeImage, removeNetwork, removeVolume } from './removal.ts'

export type ApplyOptions = {
  signal: AbortSignal
  files?: () => Promise<ReleaseFile[]>
  onProgress?: (fraction: number, message: string) => void
}

type Parts = { owner: string; files: SiteFiles; ensureNetwork: ReturnType<typeof networkMaker> }

/** What the Engine needs beyond a container's own grace time to kill it and to note its end. */
const stopMarginMs = 20_000

/** Carries out one step. Done twice, the second time changes nothing. */
export async function applyStep(
  engine: Engine,
  step: HostStep,
  { parts, options }: { parts: Parts; options: ApplyOptions },
): Promise<void> {
  const { owner, files } = parts
  const { signal } = options
  switch (step.do) {
    case 'ensureImage':
      return ensureImage(engine, step.image, options)
    case 'ensureNetwork':
      return parts.ensureNetwork(step.network, { signal })
    case 'ensureVolume':
      return ensureVolume(engine, step.volume, { owner, signal })
    case 'writeRelease':
      return files.writeRelease(
        { folder: step.site.folder, releaseId: step.releaseId },
        { ...options, files: options.files ?? noFiles },
      )
    case 'createContainer':
      return ensureContainer(engine, step.container, { owner, signal })
    case 'pointLinks':
      return files.pointLinks(step, { signal })
    case 'startContainer':
      return startContainer(engine, step.name, { owner, signal })
    case 'restartContainer':
      return restartContainer(engine, step.name, { graceMs: step.graceMs, signal })
    case 'stopContainer':
      return stopContainer(engine, step.name, { graceMs: step.graceMs, signal })
    case 'removeContainer':
      return removeContainer(engine, step, { owner, signal })
    case 'removeRelease':
      return files.removeRelease(step, { signal })
    case 'removeSite':
      return files.removeSite(step, { signal })
    case 'removeNetwork':
      return removeNetwork(engine, step.name, { owner, signal })
    case 'removeVolume':
      return removeVolume(engine, step.name, { owner, signal })
    case 'removeImage':
      return removeImage(engine, step, { owner, signal })
    default:
      return step satisfies never
  }
}

async function noFiles(): Promise<ReleaseFile[]> {
  throw new TowlineError('A release is to be written, but nobody said where its files are', { fault: 'bug' })
}

/** Making a volume that is there is no error; only whose it is has to be asked. */
async function ensureVolume(
  engine: Engine,
  volume: VolumeSpec,
  { owner, signal }: { owner: string; signal: AbortSignal },
): Promise<void> {
  const subject = `volume ${volume.name}`
  await engine.call(
    `Making ${subject}`,
    async (docker, callSignal) => {
      await docker.createVolume({ Name: volume.name, Labels: volume.labels, abortSignal: callSignal })
      const { Labels } = await docker.getVolume(volume.name).inspect({ abortSignal: callSignal })
      refuseForeign(Labels, { owner, subject, host: engine.name })
    },
    { signal },
  )
}

async function ensureContainer(
  engine: Engine,
  spec: ContainerSpec,
  { owner, signal }: { owner: string; signal: AbortSignal },
): Promise<void> {
  const created = await engine.call(
    `Creating ${spec.name}`,
    (docker, callSignal) =>
      unlessStatus([409], createContainer(docker, createPayload(spec), callSignal)).catch(
        (error: unknown) => {
          throw isMissingImage(error) ? missingImage(engine, spec, error) : error
        },
      ),
    { signal },
  )
  if (created !== null) return
  const found = await engine.call(
    `Looking at ${spec.name}`,
    (docker, callSignal) => docker.getContainer(spec.name).inspect({ abortSignal: callSignal }),
    { signal },
  )
  const labels = found.Config.Labels
  refuseForeign(labels, { owner, subject: `container ${spec.name}`, host: engine.name })
  if (labels[inputLabel] === spec.labels[inputLabel]) return
  throw new TowlineError(
    `${engine.name} has a container ${spec.name} with other settings: ` +
      `input ${labels[inputLabel] ?? 'unknown'} instead of ${spec.labels[inputLabel] ?? 'unknown'}`,
    { fault: 'bug' },
  )
}

/** Source: Engine API, `POST /containers/create`: 404 means the image, or what the network or volume needs. */
function isMissingImage(error: unknown): boolean {
  return statusOf(error) === 404 && /no such image/i.test(messageOf(error))
}

function missingImage(engine: Engine, spec: ContainerSpec, cause: unknown): TowlineError {
  return new TowlineError(`${engine.name} no longer has image ${spec.image} for ${spec.name}`, {
    fault: 'temporary',
    hint: 'Something removed it since it was pulled; the next attempt pulls it again.',
    cause,
  })
}

/** 304, "already started", is success: dockerode takes it for an error. */
async function startContainer(
  engine: Engine,
  name: string,
  { owner, signal }: { owner: string; signal: AbortSignal },
): Promise<void> {
  let isStuckInStart = false
  await engine.call(
    `Starting ${name}`,
    (docker, callSignal) =>
      unlessStatus([304], docker.getContainer(name).start({ abortSignal: callSignal })).catch(
        (error: unknown) => {
          isStuckInStart = wasLeftInStart(error)
          if (!isStuckInStart) throw startError(error, { name, host: engine.name })
        },
      ),
    { signal },
  )
  if (!isStuckInStart) return
  // Nothing but another container gets past it: this one is removed, and the next look makes it anew.
  const found = await engine.call(
    `Looking at ${name}`,
    (docker, callSignal) => docker.getContainer(name).inspect({ abortSignal: callSignal }),
    { signal },
  )
  await removeContainer(engine, { name, id: found.Id, graceMs: 0 }, { owner, signal })
  throw new TowlineError(`${name} could not start: the Docker Engine of ${engine.name} ended while it did`, {
    fault: 'temporary',
    hint: 'It is made anew by the next attempt.',
  })
}

/**
 * An Engine that is killed in the middle of a start leaves its task with containerd, and refuses every later start of that
 * container. Measured on Engine 20.10: status 500, `task <id>: already exists`.
 */
function wasLeftInStart(error: unknown): boolean {
  return statusOf(error) === 500 && /task \S+ ?already exists/.test(messageOf(error))
}

/** The Engine answers 400, 409 or 500 with a text of libnetwork or runc; these two a person can act on. */
function startError(error: unknown, { name, host }: { name: string; host: string }): unknown {
  if (statusOf(error) === null) return error
  const message = messageOf(error)
  const port =
    /Bind for (\S+) failed: port is already allocated/.exec(message)?.[1] ??
    /listen (?:tcp|udp)[46]? (\S+): bind: address already in use/.exec(message)?.[1]
  if (port !== undefined) {
    return new TowlineError(`${name} cannot start on ${host}: port ${port} is taken`, {
      fault: 'operator',
      hint: `Stop what listens on ${port}, or publish another port in the spec.`,
      cause: error,
    })
  }
  if (/OCI runtime create failed|failed to create (shim )?task|unable to find (user|group)/.test(message)) {
    return new TowlineError(`${name} cannot start on ${host}: ${message.trim().slice(-500)}`, {
      fault: 'input',
      hint: "Check the spec's command, entrypoint, user and workingDir against what is in the image.",
      cause: error,
    })
  }
  return error
}

/** One that is gone cannot be what was asked for: 404 stays an error, and the next look finds it missing. */
async function restartContainer(
  engine: Engine,
  name: string,
  { graceMs, signal }: CallOptions & { graceMs: number },
): Promise<void> {
  await engine.call(
    `Restarting ${name}`,
    (docker, callSignal) =>
      docker
        .getContainer(name)
        .restart({ t: Math.ceil(graceMs / 1000), abortSignal: callSignal })
        .catch((error: unknown) => {
          throw startError(error, { name, host: engine.name })
        }),
    { signal, timeoutMs: graceMs + stopMarginMs },
  )
}

/** A container that is stopped or gone is as wanted. */
async function stopContainer(
  engine: Engine,
  name: string,
  { graceMs, signal }: CallOptions & { graceMs: number },
): Promise<void> {
  await engine.call(
    `Stopping ${name}`,
    (docker, callSignal) =>
      unlessStatus(
        [304, 404],
        docker.getContainer(name).stop({ t: Math.ceil(graceMs / 1000), abortSignal: callSignal }),
      ),
    { signal, timeoutMs: graceMs + stopMarginMs },
  )
}

/** Goes by id: the name may be another container's by now. Volumes stay, anonymous ones too. */
async function removeContainer(
  engine: Engine,
  step: { name: string; id: string; graceMs: number },
  { owner, signal }: { owner: string; signal: AbortSignal },
): Promise<void> {
  const { name, id, graceMs } = step
  const found = await engine.call(
    `Looking at ${name}`,
    (docker, callSignal) => unlessStatus([404], docker.getContainer(id).inspect({ abortSignal: callSignal })),
    { signal },
  )
  if (found === null) return
  refuseForeign(found.Config.Labels, { owner, subject: `container ${name}`, host: engine.name })
  await stopContainer(engine, id, { graceMs, signal })
  await engine.call(`Removing ${name}`, (docker, callSignal) => removeByForce(docker, id, callSignal), {
    signal,
  })
}
