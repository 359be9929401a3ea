import type { Mount, PortBinding, RestartPolicy } from './release.ts'

export type ContainerState = 'created' | 'running' | 'paused' | 'restarting' | 'removing' | 'exited' | 'dead'

/** Docker's health, `none` where the container has no health check. */
export type Health = 'none' | 'starting' | 'healthy' | 'unhealthy'

/** Settings that `docker update` can change behind our back; known only when the host was observed deeply. */
export type InspectedSettings = {
  restart: RestartPolicy
  cpus: number | null
  memoryBytes: number | null
  environment: Record<string, string>
}

/** A container that carries this installation's owner label. */
export type ObservedContainer = {
  id: string
  name: string
  image: string
  state: ContainerState
  health: Health
  labels: Record<string, string>
  ports: PortBinding[]
  mounts: Mount[]
  networks: string[]
  createdAt: string
  settings: InspectedSettings | null
}

/** What stands where a link is expected. */
export type ObservedLink =
  | { kind: 'link'; to: string; dangling: boolean }
  | { kind: 'missing' }
  | { kind: 'other' }

/** One site's folder in Towline's volume. A release counts as complete when its manifest is there. */
export type ObservedSite = {
  folder: string
  current: ObservedLink
  webroot: ObservedLink
  releases: { id: string; complete: boolean }[]
}

/** All that is ours on one host, read in one go. */
export type ObservedHost = {
  host: string
  /** ISO time at which the reading began. */
  at: string
  /** True where every container was inspected, so that `settings` is known. */
  deep: boolean
  containers: ObservedContainer[]
  /** Sites by folder, or null where nobody asked for them. */
  sites: Record<string, ObservedSite> | null
}

/** A difference between the applied release and the host, in words a person can check. */
export type Drift = { subject: string; field: string; expected: string; found: string }
