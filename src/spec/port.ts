import { isIP } from 'node:net'
import { TowlineError } from '../rollout/error.ts'
import type { PortBinding } from '../rollout/release.ts'

const hint = 'Write [[ip:]host:]container[/tcp|/udp], such as "8080:80", "80" or "127.0.0.1:9100:9100"'

/**
 * A port in Compose's short form. Without a host port, Docker chooses one.
 * @throws TowlineError `input` where it is none.
 */
export function parsePort(value: string | number): PortBinding {
  const text = String(value)
  const [address = '', protocol = 'tcp', ...rest] = text.split('/')
  if (rest.length > 0 || (protocol !== 'tcp' && protocol !== 'udp')) {
    throw refuse(`"${text}" has a protocol that is not tcp or udp`)
  }
  const groups = portPattern.exec(address)?.groups
  if (!groups?.container) {
    throw refuse(
      /\d-\d/.test(address)
        ? `"${text}" is a range of ports, which is not supported`
        : `"${text}" is not a port`,
      /\d-\d/.test(address) ? 'Write one entry for each port' : hint,
    )
  }
  const hostIp = (groups.ip6 ?? groups.ip4) || null
  if (hostIp !== null && isIP(hostIp) === 0) throw refuse(`"${text}" does not start with an IP address`)
  return {
    hostIp: hostIp === null ? null : canonicalIp(hostIp),
    hostPort: groups.host ? portNumber(groups.host, text) : null,
    containerPort: portNumber(groups.container, text),
    protocol,
  }
}

/** An address has many spellings in IPv6; Docker lists it in the shortest. */
function canonicalIp(ip: string): string {
  return isIP(ip) === 6 ? new URL(`http://[${ip}]`).hostname.slice(1, -1) : ip
}

const portPattern =
  /^(?:(?:\[(?<ip6>[^\]]+)\]|(?<ip4>[^:[\]]+)):(?=\d*:))?(?:(?<host>\d*):)?(?<container>\d+)$/

function portNumber(digits: string, text: string): number {
  const number = Number(digits)
  if (number < 1 || number > 65_535) throw refuse(`"${text}" has a port outside 1 to 65535`)
  return number
}

function refuse(message: string, why = hint): TowlineError {
  return new TowlineError(message, { fault: 'input', hint: why })
}
