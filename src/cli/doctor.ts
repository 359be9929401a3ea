import type { Finding, HealthView, StuckList, TargetList, TargetView } from '../monitor/answers.ts'
import type { ServerCommandOptions } from './command.ts'
import { healthStyles, printDrift } from './get.ts'
import type { Print } from './print.ts'

/**
 * `towline doctor`: how the server and all it looks after are, each trouble with what to do. Exits 0 where all is well,
 * 2 where something was found, 1 where the server cannot be reached.
 */
export async function doctor({ server, print, signal }: ServerCommandOptions): Promise<number> {
  const [health, stuck, { targets }] = await Promise.all([
    server.get<HealthView>('/api/monitoring/health', { signal }),
    server.get<StuckList>('/api/monitoring/deployments/stuck', { signal }),
    server.get<TargetList>('/api/targets', { signal }),
  ])
  const troubled = targets.filter(({ health }) => health === 'degraded' || health === 'drifted')
  const details: TargetView[] = []
  for (const { key } of troubled.slice(0, detailLimit)) {
    details.push(await server.get<TargetView>(`/api/targets/${encodeURIComponent(key)}`, { signal }))
  }
  const findings = [...health.findings, ...findKeptOrphans(health)]
  print.value({ url: server.url, health, findings, stuck, targets: details })
  printServer(print, server.url, health)
  printHosts(print, health)
  printGitHub(print, health)
  printTargets(print, health)
  for (const finding of findings) {
    printFinding(
      print,
      finding,
      details.find(({ key }) => finding.kind === 'target' && key === finding.subject),
    )
  }
  printEnded(print, stuck)
  printOrphans(print, health)
  print.line(
    findings.length === 0
      ? print.style('green', 'All is well.')
      : `${findings.length} ${findings.length === 1 ? 'finding' : 'findings'}.`,
  )
  return findings.length === 0 ? 0 : 2
}

type Found = Omit<Finding, 'kind'> & { kind: Finding['kind'] | 'orphan' }

/** What waits for its grace goes by itself; what is only reported stays until somebody removes it. */
function findKeptOrphans({ orphans }: HealthView): Found[] {
  return orphans
    .filter(({ removeAfter }) => removeAfter === null)
    .map(({ host, kind, name, reason, firstSeenAt }) => ({
      kind: 'orphan',
      severity: 'degraded',
      subject: `${kind} ${name} on ${host}`,
      since: firstSeenAt,
      message: reason,
      hint: 'It is only reported. Remove it by hand once you are sure, or let `orphans` of server.yaml do it.',
    }))
}

function printServer(print: Print, url: string, { version, startedAt, status }: HealthView): void {
  const style = status === 'healthy' ? 'green' : status === 'degraded' ? 'red' : 'yellow'
  print.line(`Towline ${version} at ${url}, up since ${startedAt}: ${print.style(style, status)}`)
}

function printHosts(print: Print, { hosts }: HealthView): void {
  for (const { host, unknownSince, lastSeenAt } of hosts) {
    const state =
      unknownSince === null
        ? `${print.style('green', 'known')}${lastSeenAt === null ? '' : `, seen ${lastSeenAt}`}`
        : print.style('yellow', `unknown since ${unknownSince}`)
    print.line(`host ${print.style('bold', host)}: ${state}`)
  }
}

function printGitHub(print: Print, { github, lastSweep }: HealthView): void {
  const { unreachableSince, lastAnswerAt, untoldCount, lastCatchUp } = github
  const reached =
    unreachableSince !== null
      ? print.style('red', `no good answer since ${unreachableSince}`)
      : lastAnswerAt === null
        ? 'not asked yet'
        : `${print.style('green', 'reachable')}, last answer ${lastAnswerAt}`
  print.line(`GitHub: ${reached}; ${untoldCount} ends of deployments not told yet`)
  if (lastCatchUp) {
    const { at, recoveredCount, error } = lastCatchUp
    const rest = error === null ? '' : `; not whole: ${error}`
    print.line(`missed webhooks: last looked for ${at}, ${recoveredCount} taken in${rest}`)
  }
  if (lastSweep) print.line(`last sweep: ${lastSweep.at}, ${lastSweep.durationMs} ms`)
}

function printTargets(print: Print, { targets: { total, byHealth } }: HealthView): void {
  const counts = Object.entries(healthStyles).flatMap(([health, style]) => {
    const count = Object.entries(byHealth).find(([name]) => name === health)?.[1] ?? 0
    return count === 0 ? [] : [print.style(style, `${count} ${health}`)]
  })
  print.line(`targets: ${total}${counts.length > 0 ? `, ${counts.join(', ')}` : ''}`)
}

function printFinding(print: Print, finding: Found, detail: TargetView | undefined): void {
  const { kind, severity, subject, since, message, hint } = finding
  const style = severity === 'degraded' ? 'red' : 'yellow'
  print.line('')
  print.line(
    `${print.style(style, kind)} ${print.style('bold', subject)}${since === null ? '' : ` since ${since}`}: ${message}`,
  )
  if (detail) printDrift(print, detail)
  print.line(`  What to do: ${hint}`)
}

function printEnded(print: Print, { ended }: StuckList): void {
  for (const { id, target, phase, reason, endedAt } of ended) {
    print.line(`ended ${endedAt}: deployment ${id} of ${target} was stuck in ${phase} (${reason})`)
  }
}

function printOrphans(print: Print, { orphans }: HealthView): void {
  for (const orphan of orphans) if (orphan.removeAfter !== null) printOrphan(print, orphan)
}

/** A thing nothing explains, and when it goes. */
export function printOrphan(print: Print, orphan: HealthView['orphans'][number]): void {
  const { host, kind, name, reason, removeAfter } = orphan
  const fate = removeAfter === null ? 'only reported' : `removed after ${removeAfter}`
  print.line(`orphan ${kind} ${print.style('bold', name)} on ${host}: ${reason}; ${fate}`)
}

/** Each costs a request; who has more troubled targets than that looks for what they share. */
const detailLimit = 20
