import type { Log } from '../engine/ports.ts'
import type { LocalEnvironment } from '../environment.ts'
import type { Print } from './print.ts'
import type { ServerClient } from './server-client.ts'

/** What each verb gets that works on a folder, without a server. */
export type CommandOptions = {
  dir: string
  environment: LocalEnvironment
  /** `owner/name` the targets are recorded under; null takes the folder's name. */
  repo: string | null
  print: Print
  signal: AbortSignal
  log: Log
}

/** What each verb gets that talks to a server. */
export type ServerCommandOptions = {
  /** What it is about: a target, a deployment, a list. null where the command line names nothing. */
  subject: string | null
  dryRun: boolean
  server: ServerClient
  print: Print
  signal: AbortSignal
}
