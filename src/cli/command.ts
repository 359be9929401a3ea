import type { Log } from '../engine/ports.ts'
import type { LocalEnvironment } from '../environment.ts'
import type { Print } from './print.ts'

/** What each verb gets. */
export type CommandOptions = {
  dir: string
  environment: LocalEnvironment
  /** `owner/name` the targets are recorded under; null takes the folder's name. */
  repo: string | null
  print: Print
  signal: AbortSignal
  log: Log
}
