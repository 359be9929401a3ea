import { createHash } from 'node:crypto'

/** One app of one config repo on one host, optionally as the preview of a pull request. */
export type Target = { repo: string; app: string; host: string; preview: number | null }

/** `owner/name:app@host`, or `owner/name:app@host#12` for the preview of pull request 12. */
export type TargetKey = string

const targetPattern = /^(?<repo>[^:@#\s]+):(?<app>[^:@#\s]+)@(?<host>[^:@#\s]+?)(?:#(?<preview>[1-9]\d*))?$/

export function formatTarget(target: Target): TargetKey {
  const preview = target.preview === null ? '' : `#${target.preview}`
  return `${target.repo}:${target.app}@${target.host}${preview}`
}

/** The target a key names, or `null` where the text is no key. */
export function parseTarget(key: TargetKey): Target | null {
  const groups = targetPattern.exec(key)?.groups
  if (!groups?.repo || !groups.app || !groups.host) return null
  return {
    repo: groups.repo,
    app: groups.app,
    host: groups.host,
    preview: groups.preview === undefined ? null : Number(groups.preview),
  }
}

/** Eight hex digits that stand for a target of an installation, so that names on a host never collide. */
export function targetDigest(owner: string, target: Target): string {
  return createHash('sha256')
    .update(`${owner}\n${formatTarget(target)}`)
    .digest('hex')
    .slice(0, 8)
}

/** Towline's own volume on a host: release directories and links of all its Sites. */
export function volumeName(owner: string): string {
  return `towline-${owner.slice(0, 8)}`
}

/**
 * The owner id a first start takes, in the form of a UUID. It follows from what an installation is, the App at its GitHub,
 * so that a start whose data folder was lost knows its own things on the hosts again. A random one would disown them.
 */
export function installationOwner({ apiUrl, appId }: { apiUrl: string; appId: number }): string {
  const hex = createHash('sha256').update(`towline ${apiUrl} ${appId}`).digest('hex')
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20, 32)].join(
    '-',
  )
}
