import type { Drift } from './observed.ts'
import type { WorkPhase } from './phase.ts'
import type { ContainerSpec, PinnedImage, Release, SiteRelease, VolumeSpec } from './release.ts'

/**
 * One act on a host. Every step is idempotent: done twice, the second time changes nothing.
 * `reason` says why it is in the plan; `drift` says which field differed, where healing asked for it.
 */
export type Step = StepAct & { reason: string; drift?: Drift }

/** A step the host carries out. `awaitReady` and `monitor` wait and are carried out by the engine. */
export type HostStep = Exclude<StepAct, { do: 'awaitReady' | 'monitor' }>

export type StepAct =
  /** Make sure the pinned image is on the host; pull it if not. */
  | { do: 'ensureImage'; phase: 'building'; image: PinnedImage }
  | { do: 'ensureNetwork'; phase: 'copying_files'; network: Release['network'] }
  | { do: 'ensureVolume'; phase: 'copying_files'; volume: VolumeSpec }
  /** Write the release directory whole, its manifest last. A directory without a manifest is removed first. */
  | { do: 'writeRelease'; phase: 'copying_files'; releaseId: string; site: SiteRelease }
  /** Create, not start. A container of the same name and input that stands already is left as it is. */
  | { do: 'createContainer'; phase: 'copying_files'; container: ContainerSpec }
  /** Swap links in the site's folder by rename, in this order. Names are `current` or `webroot`. */
  | {
      do: 'pointLinks'
      phase: 'creating_symlinks'
      folder: string
      links: { name: 'current' | 'webroot'; to: string }[]
    }
  | { do: 'stopContainer'; phase: WorkPhase; name: string; graceMs: number }
  | { do: 'startContainer'; phase: 'updating_routes'; name: string }
  /** For one that runs and does not answer. */
  | { do: 'restartContainer'; phase: 'updating_routes'; name: string; graceMs: number }
  /**
   * Wait until each container is ready: healthy, or running without a restart for `settleMs`. `created` names those
   * made by this plan: every restart of theirs counts against them.
   */
  | { do: 'awaitReady'; phase: 'updating_routes'; names: string[]; created: string[]; settleMs: number }
  /** After the switch: each container must stay ready for `monitorMs`. `started` names those this plan starts. */
  | { do: 'monitor'; phase: 'health_check'; names: string[]; started: string[]; monitorMs: number }
  /** Stop and remove. Volumes stay. */
  | { do: 'removeContainer'; phase: WorkPhase | 'active'; name: string; id: string; graceMs: number }
  /** Refused where `current` leads to the release. */
  | { do: 'removeRelease'; phase: 'active'; folder: string; releaseId: string }
  /** Everything of a site: links, releases, manifests. Only for one that was never proven, or is wanted no more. */
  | { do: 'removeSite'; phase: 'active'; folder: string }
  /** Left as it is where containers are still on it. */
  | { do: 'removeNetwork'; phase: 'active'; name: string }
  /** Data and all. Left as it is where a container uses it. */
  | { do: 'removeVolume'; phase: 'active'; name: string }
  /** Left as it is where a container uses it. */
  | { do: 'removeImage'; phase: 'active'; id: string; name: string }
