import { TowlineError } from '../rollout/error.ts'
import type { Release } from '../rollout/release.ts'
import { type CallOptions, type Engine, messageOf, statusOf, unlessStatus } from './engine.ts'
import { refuseForeign } from './ownership.ts'

/**
 * Returns a function that makes a network unless it is there. Calls for one host wait for one another: Docker itself
 * makes two networks of one name when it is asked twice at once, and then refuses to use either.
 *
 * @throws TowlineError `operator` where a network of that name is not ours, or the host has no addresses left.
 */
export function networkMaker(
  engine: Engine,
  owner: string,
): (network: Release['network'], options: CallOptions) => Promise<void> {
  let last: Promise<void> = Promise.resolve()
  return (network, options) => {
    const made = last.then(() => ensureNetwork(engine, owner, { network, options }))
    last = made.catch(() => {})
    return made
  }
}

async function ensureNetwork(
  engine: Engine,
  owner: string,
  { network, options }: { network: Release['network']; options: CallOptions },
): Promise<void> {
  const subject = `network ${network.name}`
  const found = await engine.call(
    `Looking for ${subject}`,
    (docker) => unlessStatus([404], docker.getNetwork(network.name).inspect()),
    options,
  )
  // The Engine also finds a network by the start of its id.
  if (found !== null && found.Name === network.name) {
    refuseForeign(found.Labels, { owner, subject, host: engine.name })
    return
  }
  await engine.call(
    `Making ${subject}`,
    (docker, signal) =>
      docker
        .createNetwork({
          Name: network.name,
          CheckDuplicate: true,
          Driver: 'bridge',
          Labels: network.labels,
          abortSignal: signal,
        })
        .catch((error: unknown) => {
          if (statusOf(error) === null) throw error
          throw networkError(error, { subject, host: engine.name })
        }),
    options,
  )
}

function networkError(error: unknown, context: { subject: string; host: string }): unknown {
  if (!/non-overlapping IPv4 address pool|address pools have been.*subnetted/.test(messageOf(error)))
    return error
  return new TowlineError(`${context.host} has no addresses left for ${context.subject}`, {
    fault: 'operator',
    hint: "Remove unused networks, or widen the Engine's default-address-pools.",
    cause: error,
  })
}
