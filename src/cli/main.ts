#!/usr/bin/env node
import { parseArgs } from 'node:util'
import { pino } from 'pino'
import {
  checkNodeVersion,
  type LocalEnvironment,
  readEnvironment,
  readLocalEnvironment,
} from '../environment.ts'
import { explain, TowlineError } from '../rollout/error.ts'
import { apply } from './apply.ts'
import type { CommandOptions } from './command.ts'
import { doctorRebuild } from './doctor-rebuild.ts'
import { plan } from './plan.ts'
import { createPrint, type Output } from './print.ts'
import { validate } from './validate.ts'

const verbs: Record<string, (options: CommandOptions) => Promise<number>> = { validate, plan, apply }

const usage = `towline <validate|plan|apply> <dir> [--json] [--config server.yaml] [--data folder] [--repo owner/name]

  validate  check every spec of a folder; needs no Docker host
  plan      show what apply would change (exit 0: nothing, 2: changes, 1: problems)
  apply     bring the Docker hosts to what the folder says, and show each phase

towline doctor --rebuild [--owner id] [--json] [--config server.yaml] [--data folder]

  with the data folder lost: rebuild it from what stands on the hosts and from git, and change nothing there.
  Takes the environment of the server, which must be stopped.

Hosts come from server.yaml (--config or TOWLINE_CONFIG), else from DOCKER_HOST or the default socket.
What was applied is remembered in --data or TOWLINE_DATA (default ./data).`

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
    const [verb, dir, ...more] = positionals
    if (values.help) {
      stdout.write(`${usage}\n`)
      return 0
    }
    const print = createPrint({ json: values.json ?? false, output: stdout, errors: stderr })
    // What went wrong is printed by the command; the log is for those who ask for it.
    const log = pino({ level: options.variables.LOG_LEVEL ?? 'silent' }, stderr)
    const places = (environment: LocalEnvironment) => ({
      configPath: values.config ?? environment.configPath,
      dataFolder: values.data ?? environment.dataFolder,
    })
    if (verb === 'doctor' && values.rebuild && dir === undefined) {
      const environment = readEnvironment(options.variables)
      const owner = values.owner ?? null
      const all = { ...environment, ...places(environment) }
      return await doctorRebuild({ environment: all, owner, print, signal: options.signal, log })
    }
    const command = verb === undefined ? undefined : verbs[verb]
    if (!command || dir === undefined || more.length > 0) {
      stderr.write(`${verb !== undefined && !command ? `There is no command "${verb}".\n\n` : ''}${usage}\n`)
      return 1
    }
    const environment = readLocalEnvironment(options.variables)
    return await command({
      dir,
      repo: values.repo ?? null,
      environment: { ...environment, ...places(environment) },
      print,
      signal: options.signal,
      log,
    })
  } catch (error) {
    const { reason, hint } = explain(error)
    stderr.write(`${reason}\n${hint && `${hint}\n`}`)
    return 1
  }
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
