import { TowlineError } from '../rollout/error.ts'

/** The least memory limit the Docker Engine takes: 6 MiB. Source: `linuxMinMemory` in moby's daemon. */
const minMemoryBytes = 6 * 1024 ** 2

/**
 * Bytes of a memory limit in Compose's form (`256M`, `1.5g`, or a number of bytes); units count in steps of 1024.
 * @throws TowlineError `input` where it is none, below 6 MiB and above 2⁵³ bytes.
 */
export function parseMemory(value: string | number): number {
  const groups = /^(?<number>\d+(?:\.\d+)?)(?<unit>[bkmg]?)b?$/i.exec(String(value))?.groups
  const power = Math.max(0, 'bkmg'.indexOf(groups?.unit?.toLowerCase() ?? ''))
  const bytes = Math.floor(Number(groups?.number) * 1024 ** power)
  if (bytes >= minMemoryBytes && Number.isSafeInteger(bytes)) return bytes
  throw new TowlineError(`"${value}" is no memory limit the Docker Engine takes`, {
    fault: 'input',
    hint: 'Write at least 6M, such as 256M or 1G',
  })
}
