#!/usr/bin/env node
import { parseArgs } from 'node:util'
import { pino } from 'pino'
import {
  checkNodeVersion,
  type LocalEnvironment,
  readClientEnvironment,
  readEnvironment,
  readLocalEnvironment,
} from '../environment.ts'
import { explain, TowlineError } from '../rollout/error.ts'
import { apply } from './apply.ts'
import { cancel } from './cancel.ts'
import type { CommandOptions, ServerCommandOptions } from './command.ts'
import { doctor } from './doctor.ts'
import { doctorRebuild, type RebuildOptions } from './doctor-rebuild.ts'
import { get } from './get.ts'
import { plan } from './plan.ts'
import { createPrint, type Output, type Print } from './print.ts'
import { reconcile } from './reconcile.ts'
import { retry } from './retry.ts'
import { createServerClient } from './server-client.ts'
import { validate } from './validate.ts'

/** A verb works on a folder, asks a server, or works on the server's own data folder while the server is stopped. `flags` are those it takes besides `--json`. */
type Verb = { operand: 'none' | 'optional' | 'required'; flags: Flag[] } & (
  | { on: 'folder'; run: (options: CommandOptions) => Promise<number> }
  | { on: 'server'; run: (options: ServerCommandOptions) => Promise<number> }
  | { on: 'data'; run: (options: RebuildOptions) => Promise<number> }
)
type Flag = 'config' | 'data' | 'repo' | 'dry-run' | 'rebuild' | 'owner'

const folderVerb = {
  on: 'folder',
  operand: 'required',
  flags: ['config', 'data', 'repo'],
} satisfies Partial<Verb>

const verbs: Record<string, Verb> = {
  validate: { ...folderVerb, run: validate },
  plan: { ...folderVerb, run: plan },
  apply: { ...folderVerb, run: apply },
  get: { on: 'server', operand: 'optional', flags: [], run: get },
  doctor: { on: 'server', operand: 'none', flags: [], run: doctor },
  reconcile: { on: 'server', operand: 'optional', flags: ['dry-run'], run: reconcile },
  cancel: { on: 'server', operand: 'required', flags: [], run: cancel },
  retry: { on: 'server', operand: 'required', flags: [], run: retry },
}

/** `doctor --rebuild` mends what the server itself could not start on. */
const rebuildVerb: Verb = {
  on: 'data',
  operand: 'none',
  flags: ['rebuild', 'owner', 'config', 'data'],
  run: doctorRebuild,
}

const usage = `towline <validate|plan|apply> <dir> [--json] [--config server.yaml] [--data folder] [--repo owner/name]

  validate  check every spec of a folder; needs no Docker host
  plan      show what apply would change (exit 0: nothing, 2: changes, 1: problems)
  apply     bring the Docker hosts to what the folder says, and show each phase

towline doctor --rebuild [--owner id] [--json] [--config server.yaml] [--data folder]

  with the data folder lost: rebuild it from what stands on the hosts and from git, and change nothing there.
  Takes the environment of the server, which must be stopped.

Hosts come from server.yaml (--config or TOWLINE_CONFIG), else from DOCKER_HOST or the default socket.
What was applied is remembered in --data or TOWLINE_DATA (default ./data).

towline <get|doctor|reconcile|cancel|retry> [--json]

  get [targets|deployments|<target>|<deployment>]   show what the server knows
  doctor                    say what is wrong and what to do (exit 0: all well, 2: findings, 1: no server)
  reconcile [<target>]      look at everything, or at one target, again now; --dry-run only says what would be done
  cancel <deployment>       end an open deployment and put the release before back
  retry <deployment>        a new attempt of one that ended

The server is that of TOWLINE_URL (default http://127.0.0.1:3000); TOWLINE_TOKEN is its token.`

/** Runs one command line and returns its exit code. */
export async function runCommand(
  argv: string[],
  options: {
    variables: Record<string, string | undefined>
    signal: AbortSignal
    streams: { stdout: Output; stderr: Output }
  },
): Promise<number> {
  const { stdout, stderr } = options.streams
  try {
    const { values, positionals } = readArguments(argv)
    const [name, operand, ...more] = positionals
    if (values.help) {
      stdout.write(`${usage}\n`)
      return 0
    }
    const verb =
      name === 'doctor' && values.rebuild ? rebuildVerb : name === undefined ? undefined : verbs[name]
    const mistake = verb
      ? mistakeOf(verb, { values, operand, more })
      : name && `There is no command "${name}".`
    if (!verb || mistake !== null) {
      stderr.write(`${mistake ? `${mistake}\n\n` : ''}${usage}\n`)
      return 1
    }
    const print = createPrint({ json: values.json ?? false, output: stdout, errors: stderr })
    return await runVerb(verb, { values, operand: operand ?? null, print, ...options })
  } catch (error) {
    const { reason, hint } = explain(error)
    stderr.write(`${reason}\n${hint && `${hint}\n`}`)
    return 1
  }
}

type Values = ReturnType<typeof readArguments>['values']

/** What is wrong with how a verb was called; null where nothing, '' where the usage says it. */
function mistakeOf(
  { operand: wanted, flags }: Verb,
  given: { values: Values; operand: string | undefined; more: string[] },
): string | null {
  const { json: _json, help: _help, ...others } = given.values
  const foreign = Object.keys(others).find((flag) => !flags.some((known) => known === flag))
  if (foreign !== undefined) return `This command takes no --${foreign}.`
  const tooMany = given.more.length > 0 || (wanted === 'none' && given.operand !== undefined)
  const tooFew = wanted === 'required' && given.operand === undefined
  return tooMany || tooFew ? '' : null
}

async function runVerb(
  verb: Verb,
  given: {
    values: Values
    operand: string | null
    print: Print
    variables: Record<string, string | undefined>
    signal: AbortSignal
    streams: { stderr: Output }
  },
): Promise<number> {
  const { values, operand, print, variables, signal } = given
  if (verb.on === 'server') {
    const server = createServerClient(readClientEnvironment(variables))
    return verb.run({ subject: operand, dryRun: values['dry-run'] ?? false, server, print, signal })
  }
  // What went wrong is printed by the command; the log is for those who ask for it.
  const log = pino({ level: variables.LOG_LEVEL ?? 'silent' }, given.streams.stderr)
  const placed = <T extends LocalEnvironment>(environment: T): T => ({
    ...environment,
    configPath: values.config ?? environment.configPath,
    dataFolder: values.data ?? environment.dataFolder,
  })
  if (verb.on === 'data') {
    const environment = placed(readEnvironment(variables))
    return verb.run({ environment, owner: values.owner ?? null, print, signal, log })
  }
  const environment = placed(readLocalEnvironment(variables))
  return verb.run({ dir: operand ?? '', repo: values.repo ?? null, environment, print, signal, log })
}

function readArguments(argv: string[]) {
  try {
    return parseArgs({
      args: argv,
      allowPositionals: true,
      options: {
        json: { type: 'boolean' },
        help: { type: 'boolean', short: 'h' },
        config: { type: 'string' },
        data: { type: 'string' },
        repo: { type: 'string' },
        'dry-run': { type: 'boolean' },
        rebuild: { type: 'boolean' },
        owner: { type: 'string' },
      },
    })
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    throw new TowlineError(message, { fault: 'operator', hint: usage, cause: error })
  }
}

if (import.meta.main) {
  checkNodeVersion(process.versions.node)
  const stop = new AbortController()
  process.once('SIGINT', () =>
    stop.abort(new TowlineError('stopped; run it again to go on', { fault: 'cancelled' })),
  )
  process.exitCode = await runCommand(process.argv.slice(2), {
    variables: process.env,
    signal: stop.signal,
    streams: process,
  })
}
