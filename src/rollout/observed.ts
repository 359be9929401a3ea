import type { ContainerSpec, Mount, PortBinding, RestartPolicy } from './release.ts'

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

/**
 * A release directory. It counts as complete when its manifest is there; `damage` says what of its files is not as the
 * manifest has it, empty where all is, null where nobody read them.
 */
export type ObservedRelease = { id: string; complete: boolean; damage: string[] | null }

/** One site's folder in Towline's volume. */
export type ObservedSite = {
  folder: string
  current: ObservedLink
  webroot: ObservedLink
  releases: ObservedRelease[]
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
  /** Names of our networks and volumes, or null where nobody asked for them. */
  networks: string[] | null
  volumes: string[] | null
}

/** A difference between the applied release and the host, in words a person can check. */
export type Drift = { subject: string; field: string; expected: string; found: string }

/** A thing on a host that carries this installation's owner label, or a site's folder in its volume. */
export type OwnedThing = {
  kind: 'container' | 'network' | 'volume' | 'image' | 'site'
  /** Docker's id; the name where Docker knows none (volumes), the folder of a site. */
  id: string
  name: string
  labels: Record<string, string>
  /** By the host's own clock; null where it does not say. */
  createdAt: string | null
  /** Containers that use it, of anybody; null where that has no meaning. */
  userCount: number | null
}

/** All that is ours on one host, the helper and things of no target included: what the search for orphans looks at. */
export type Inventory = {
  host: string
  /** The Engine's own id: another one means another Engine answers under this endpoint. */
  engineId: string
  /** The host's clock when it answered. */
  at: string
  things: OwnedThing[]
}

/** A container as it stands, in the words it could be created from again; and what it is doing. */
export type StandingContainer = { spec: ContainerSpec; state: ContainerState; createdAt: string }
