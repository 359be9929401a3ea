import type { HealthView } from '../monitor/answers.ts'
import { TowlineError } from '../rollout/error.ts'
import type { Drift } from '../rollout/observed.ts'
import type { ServerCommandOptions } from './command.ts'
import { printOrphan } from './doctor.ts'
import type { Print } from './print.ts'

type SweepAnswer = {
  hosts: ({ host: string; targetCount: number; due: Due[] } | { host: string; error: string; hint: string })[]
  repos: { repo: string; error: string | null }[]
  orphans: HealthView['orphans']
}
type Due = { target: string; reason: string; drift: Drift[] }

/**
 * `towline reconcile [<target>]`: look again now. Exits 0, or 1 where a host or repo could not be looked at; with
 * `--dry-run` nothing is changed, and it exits 2 where something would be.
 */
export async function reconcile(options: ServerCommandOptions): Promise<number> {
  const { subject, dryRun, server, print, signal } = options
  if (subject !== null && !dryRun) {
    const answer = await server.post(`/api/targets/${encodeURIComponent(subject)}/reconcile`, { signal })
    print.value(answer)
    print.line(`${print.style('bold', subject)} is looked at again; healing that had given up begins anew.`)
    return 0
  }
  const path = `/api/monitoring/reconcile/trigger${dryRun ? '?dryRun=true' : ''}`
  const whole = await server.post<SweepAnswer>(path, { signal, timeoutMs: sweepTimeoutMs })
  const answer = subject === null ? whole : narrow(whole, subject)
  print.value(answer)
  for (const host of answer.hosts) printHost(print, host)
  for (const { repo, error } of answer.repos) {
    if (error !== null) print.line(`${print.style('red', repo)} could not be read: ${error}`)
  }
  for (const orphan of answer.orphans) printOrphan(print, orphan)
  const dueCount = answer.hosts.reduce((sum, host) => sum + ('due' in host ? host.due.length : 0), 0)
  if (dueCount === 0) print.line('Nothing is due.')
  const isWhole =
    answer.hosts.every((host) => 'due' in host) && answer.repos.every(({ error }) => error === null)
  if (!isWhole) return 1
  return dryRun && dueCount > 0 ? 2 : 0
}

/** Of a look at everything only what is about one target. */
function narrow({ hosts }: SweepAnswer, key: string): SweepAnswer {
  const name = key.slice(key.indexOf('@') + 1).replace(/#\d+$/, '')
  const own = hosts.filter(({ host }) => host === name)
  if (own.length === 0) {
    throw new TowlineError(`no host of this server is that of ${key}`, {
      fault: 'operator',
      hint: 'towline get targets names all.',
    })
  }
  return {
    hosts: own.map((host) =>
      'due' in host ? { ...host, due: host.due.filter(({ target }) => target === key) } : host,
    ),
    repos: [],
    orphans: [],
  }
}

function printHost(print: Print, host: SweepAnswer['hosts'][number]): void {
  if ('error' in host) {
    print.line(`${print.style('red', host.host)} gives no answer: ${host.error}. ${host.hint}`)
    return
  }
  print.line(`${host.host}: ${host.targetCount} targets, ${host.due.length} due`)
  for (const { target, reason, drift } of host.due) {
    print.line(`  ${print.style('bold', target)}: ${reason}`)
    for (const { subject, field, expected, found } of drift) {
      print.line(`    ${subject}: ${field} is ${found}, should be ${expected}`)
    }
  }
}

/** A look waits at most a minute for a host and ten for a repo, and one under way comes first. */
const sweepTimeoutMs = 25 * 60_000
