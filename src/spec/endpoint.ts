import { TowlineError } from '../rollout/error.ts'
import { isPlainAbsolute } from './paths.ts'

/** Where a Docker Engine listens, without its certificates. */
export type Address = { kind: 'unix'; socketPath: string } | { kind: 'tcp'; host: string; port: number }

const hint = 'Write unix:///var/run/docker.sock or tcp://10.0.0.6:2376'

/**
 * The address of a Docker Engine, in the form of DOCKER_HOST. The message of an error does not repeat the value:
 * it may hold a password.
 * @throws TowlineError `operator` where it is none.
 */
export function parseEndpoint(text: string): Address {
  const [, scheme = '', rest = ''] = /^([a-z]+):\/\/(.*)$/s.exec(text) ?? []
  if (scheme === 'unix' && rest !== '/' && isPlainAbsolute(rest)) return { kind: 'unix', socketPath: rest }
  if (scheme === 'tcp') {
    const groups = /^(?:\[(?<ip6>[0-9a-fA-F:.]+)\]|(?<name>[A-Za-z0-9._-]+)):(?<port>\d{1,5})\/?$/.exec(
      rest,
    )?.groups
    const host = groups?.ip6 ?? groups?.name
    const port = Number(groups?.port)
    if (host && port >= 1 && port <= 65_535) return { kind: 'tcp', host, port }
    throw refuse('the tcp endpoint is not a host and a port from 1 to 65535')
  }
  throw refuse(
    ['ssh', 'npipe', 'fd', 'http', 'https'].includes(scheme)
      ? `\`${scheme}://\` endpoints are not supported yet`
      : 'the endpoint is neither unix:// with an absolute path nor tcp://',
  )
}

function refuse(message: string): TowlineError {
  return new TowlineError(message, { fault: 'operator', hint })
}
