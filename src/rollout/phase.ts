/** The nine phases of a deployment, in the order they are passed. `failed` may follow any of them. */
export const phases = [
  'queued',
  'pulling_source',
  'building',
  'copying_files',
  'creating_symlinks',
  'updating_routes',
  'health_check',
  'active',
  'failed',
] as const

export type Phase = (typeof phases)[number]

/** A phase in which a worker acts on a host. */
export type WorkPhase = Exclude<Phase, 'queued' | 'active' | 'failed'>

/**
 * Progress (0–100) at which each phase starts. A phase may raise it up to the next phase's start.
 * Service containers are created at 50 although `copying_files` starts at 30 (see `containerProgress`).
 */
export const phaseProgress: Record<Phase, number> = {
  queued: 0,
  pulling_source: 10,
  building: 20,
  copying_files: 30,
  creating_symlinks: 60,
  updating_routes: 75,
  health_check: 90,
  active: 100,
  failed: 0,
}

/** Where a phase stands in the order; a deployment only ever moves to a higher rank. */
export function phaseRank(phase: Phase): number {
  return phases.indexOf(phase)
}

export function isTerminal(phase: Phase): boolean {
  return phase === 'active' || phase === 'failed'
}
