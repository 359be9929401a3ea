import type { DockerHost } from '../engine/ports.ts'
import { applyStep } from './apply.ts'
import { inspectedHealthcheck, missingProbe, toProbe } from './containers.ts'
import { connectEngine, type Endpoint, type Engine, statusOf, unlessStatus } from './engine.ts'
import { followEvents } from './events.ts'
import { execInContainer } from './exec.ts'
import { siteFiles } from './files.ts'
import { frameDecoder } from './frames.ts'
import { resolveImage } from './images.ts'
import { takeInventory } from './inventory.ts'
import { networkMaker } from './networks.ts'
import { observeHost, surveyHost } from './observe.ts'
import { lastLines } from './text.ts'

/**
 * A Docker host as the engine sees it. Nothing is sent before the first call. `owner` is the id of this installation;
 * `images.helper` is an image with BusyBox or the like: `sh`, `find`, `stat`, `sha256sum`, `awk`, a `mv` that knows `-T`.
 */
export function openDockerHost(options: {
  name: string
  endpoint: Endpoint
  owner: string
  images: { helper: string }
}): DockerHost {
  const { name, endpoint, owner, images } = options
  const engine = connectEngine(endpoint, { name })
  const files = siteFiles(engine, { owner, image: images.helper })
  const ensureNetwork = networkMaker(engine, owner)
  return {
    name,
    observe: (observeOptions) => observeHost(engine, { owner, files }, observeOptions),
    inventory: ({ signal }) => takeInventory(engine, { owner, files, signal }),
    survey: ({ signal }) => surveyHost(engine, { owner, signal }),
    resolveImage: (reference, resolveOptions) => resolveImage(engine, reference, resolveOptions),
    apply: (step, applyOptions) =>
      applyStep(engine, step, { parts: { owner, files, ensureNetwork }, options: applyOptions }),
    probe: (container, { signal }) => probe(engine, container, signal),
    checkHealth: (container, { signal }) => checkHealth(engine, container, signal),
    logs: (container, logOptions) => readLogs(engine, container, logOptions),
    events: (eventOptions) => followEvents(engine, owner, eventOptions),
  }
}

async function inspectContainer(engine: Engine, container: string, signal: AbortSignal) {
  return engine.call(
    `Inspecting ${container}`,
    (docker, callSignal) =>
      unlessStatus([404], docker.getContainer(container).inspect({ abortSignal: callSignal })),
    { signal },
  )
}

async function probe(engine: Engine, container: string, signal: AbortSignal) {
  const found = await inspectContainer(engine, container, signal)
  return found === null ? missingProbe : toProbe(found)
}

/** Docker's own default, where a health check names no time-out. */
const defaultHealthTimeoutMs = 30_000

/** Runs the test now, as Docker would: same user, same environment. A container that cannot run it fails it. */
async function checkHealth(engine: Engine, container: string, signal: AbortSignal): Promise<boolean | null> {
  const found = await inspectContainer(engine, container, signal)
  if (found === null) return false
  const healthcheck = inspectedHealthcheck(found)
  if (healthcheck === null) return null
  if (found.State.Status !== 'running') return false
  const [kind, ...rest] = healthcheck.test
  const argv = kind === 'CMD-SHELL' ? ['/bin/sh', '-c', ...rest] : rest
  const deadline = AbortSignal.timeout(healthcheck.timeoutMs || defaultHealthTimeoutMs)
  try {
    const result = await execInContainer(
      engine,
      { container, argv },
      { signal: AbortSignal.any([signal, deadline]), maxBytes: healthOutputBytes },
    )
    return result.exitCode === 0
  } catch (error) {
    // The container stopped meanwhile, or has no such program.
    const refused = [400, 404, 409].includes(statusOf(causeOf(error)) ?? 0)
    if (!signal.aborted && (deadline.aborted || refused)) return false
    throw error
  }
}

function causeOf(error: unknown): unknown {
  return error instanceof Error ? error.cause : null
}

/** Only the exit code counts. */
const healthOutputBytes = 4_096

/**
 * Docker splits what a container writes into entries of at most 16 KiB, and `tail` counts entries: 500 of them are
 * 8 MiB at the most.
 */
const tailLimit = 500

async function readLogs(
  engine: Engine,
  container: string,
  { tail, signal }: { tail: number; signal: AbortSignal },
): Promise<string[]> {
  const output = await engine.call(
    `Reading the log of ${container}`,
    (docker, callSignal) =>
      unlessStatus(
        [404],
        docker.getContainer(container).logs({
          stdout: true,
          stderr: true,
          tail: Math.min(tail, tailLimit),
          abortSignal: callSignal,
        }),
      ),
    { signal },
  )
  if (output === null) return []
  const text = Buffer.concat(frameDecoder()(output).map(({ content }) => content)).toString()
  return lastLines(text, tail)
}
