import { TowlineError } from '../rollout/error.ts'
import type { PinnedImage } from '../rollout/release.ts'
import type { PullPolicy } from '../spec/spec.ts'
import { type CallOptions, type Engine, messageOf, statusOf, unlessStatus } from './engine.ts'
import { readJsonLines } from './lines.ts'
import { pullProgress } from './pull-progress.ts'

/** A registry across the world answers in a few seconds; the Engine itself gives up after some 30. */
const registryTimeoutMs = 45_000
/** A deployment's own deadline is shorter as a rule; this one bounds a pull nobody waits for any more. */
const pullTimeoutMs = 30 * 60_000
/** Downloading and unpacking both report several times a second. */
const pullIdleTimeoutMs = 120_000

/**
 * What a reference means now, without downloading layers. A reference that is a digest or an image id already means
 * one thing.
 *
 * @throws TowlineError `input` where no registry has it, or where it is not on the host and must not be pulled;
 *   `temporary` where the registry does not answer.
 */
export async function resolveImage(
  engine: Engine,
  reference: string,
  options: { pullPolicy: PullPolicy; signal: AbortSignal },
): Promise<PinnedImage> {
  const { pullPolicy, signal } = options
  if (reference.includes('@')) return { reference, pinned: reference }
  const local = pullPolicy === 'always' ? null : await localPin(engine, reference, { signal })
  if (local !== null) return { reference, pinned: local }
  if (pullPolicy === 'never' || isImageId(reference)) {
    throw new TowlineError(`${engine.name} has no image ${reference}, and it must not be pulled`, {
      fault: 'input',
      hint: 'Build or load the image on the host, or choose another pull policy.',
    })
  }
  return { reference, pinned: await registryPin(engine, reference, { signal }) }
}

/**
 * Pulls a pinned image unless the host has it. A stream that ended well proves nothing, so the image is looked at
 * afterwards. `onProgress` gets 0–1, by bytes.
 *
 * @throws TowlineError `input` where the registry does not have it (any more), `operator` where only this host could
 *   have had it, `temporary` where the pull broke off.
 */
export async function ensureImage(
  engine: Engine,
  image: PinnedImage,
  options: { signal: AbortSignal; onProgress?: (fraction: number, message: string) => void },
): Promise<void> {
  const { signal, onProgress } = options
  if (await isPresent(engine, image.pinned, { signal })) return
  const [repository, digest] = image.pinned.split('@')
  if (repository === undefined || digest === undefined) {
    throw new TowlineError(`${engine.name} no longer has image ${image.reference} (${image.pinned})`, {
      fault: 'operator',
      hint: 'Build or load the image on the host again: no registry knows it.',
    })
  }
  await engine.call(
    `Pulling ${image.reference}`,
    async (docker, callSignal) => {
      const stream = await docker
        .createImage({ fromImage: repository, tag: digest, abortSignal: callSignal })
        .catch((error: unknown) => {
          if (statusOf(error) === null) throw error
          throw pullError(image.reference, messageOf(error))
        })
      const progress = pullProgress()
      for await (const line of readJsonLines(stream, {
        signal: callSignal,
        idleTimeoutMs: pullIdleTimeoutMs,
      })) {
        const message = errorIn(line)
        if (message !== null) throw pullError(image.reference, message)
        const { fraction, text } = progress(line)
        onProgress?.(fraction, text)
      }
    },
    { signal, timeoutMs: pullTimeoutMs },
  )
  if (await isPresent(engine, image.pinned, { signal })) return
  throw new TowlineError(`The pull of ${image.reference} ended, but ${engine.name} does not have the image`, {
    fault: 'temporary',
    hint: 'The connection to the registry may have been cut.',
  })
}

/** `nginx` is `nginx:latest`, as everywhere in Docker. */
export function withTag(reference: string): string {
  const lastPart = reference.slice(reference.lastIndexOf('/') + 1)
  return /[:@]/.test(lastPart) || isImageId(reference) ? reference : `${reference}:latest`
}

/** The name without its tag, in the short form Docker lists it in: `docker.io/library/nginx:1` is `nginx`. */
export function repositoryOf(reference: string): string {
  return withTag(reference)
    .replace(/:[^:/]*$/, '')
    .replace(/^(index\.)?docker\.io\//, '')
    .replace(/^library\//, '')
}

function isImageId(reference: string): boolean {
  return /^(sha256:)?[0-9a-f]{64}$/.test(reference)
}

async function localPin(engine: Engine, reference: string, options: CallOptions): Promise<string | null> {
  const image = await inspectImage(engine, withTag(reference), options)
  if (image === null) return null
  const repository = repositoryOf(reference)
  return image.RepoDigests?.find((digest) => digest.startsWith(`${repository}@`)) ?? image.Id
}

async function registryPin(engine: Engine, reference: string, options: CallOptions): Promise<string> {
  const found = await engine.call(
    `Asking the registry for ${reference}`,
    (docker) =>
      docker
        .getImage(withTag(reference))
        .distribution()
        .catch((error: unknown) => {
          if (statusOf(error) === null) throw error
          throw pullError(reference, messageOf(error))
        }),
    { ...options, timeoutMs: registryTimeoutMs },
  )
  return `${repositoryOf(reference)}@${found.Descriptor.digest}`
}

async function isPresent(engine: Engine, reference: string, options: CallOptions): Promise<boolean> {
  return (await inspectImage(engine, reference, options)) !== null
}

async function inspectImage(engine: Engine, reference: string, options: CallOptions) {
  return engine.call(
    `Looking for image ${reference}`,
    (docker) => unlessStatus([404], docker.getImage(reference).inspect()),
    options,
  )
}

/** A pull that fails says so in a line of a stream that began with status 200. */
function errorIn(line: unknown): string | null {
  const { error, errorDetail } = line as { error?: unknown; errorDetail?: { message?: unknown } }
  if (typeof errorDetail?.message === 'string') return errorDetail.message
  return typeof error === 'string' ? error : null
}

/**
 * The Engine passes on in plain text what the registry said. Only what says that the image is not there, or not for
 * us, is the config repo's to change; anything else may pass.
 */
function pullError(reference: string, message: string): TowlineError {
  const unknown =
    /manifest unknown|manifest for .* not found|not found: manifest|does not exist|access.* denied|unauthorized|no matching manifest|invalid reference/i
  const isInput = unknown.test(message)
  return new TowlineError(`No registry gave image ${reference}: ${message.slice(0, 500)}`, {
    fault: isInput ? 'input' : 'temporary',
    hint: isInput
      ? 'Push the image, correct its name or tag, or give the host access to the registry.'
      : 'Check that the host reaches the registry.',
  })
}
