import type {
  DeploymentList,
  DeploymentSummary,
  DeploymentView,
  TargetList,
  TargetSummary,
  TargetView,
} from '../monitor/answers.ts'
import { parseTarget } from '../rollout/target.ts'
import type { ServerCommandOptions } from './command.ts'
import type { Print } from './print.ts'

/** `towline get [targets|deployments|<target>|<deployment>]`: what the server knows. Exits 0. */
export async function get({ subject, server, print, signal }: ServerCommandOptions): Promise<number> {
  if (subject === null || subject === 'targets') {
    const answer = await server.get<TargetList>('/api/targets', { signal })
    print.value(answer)
    for (const target of answer.targets) printTarget(print, target)
    if (answer.targets.length === 0) print.line('There are no targets yet.')
    return 0
  }
  if (subject === 'deployments') {
    const answer = await server.get<DeploymentList>(`/api/deployments?limit=${shownDeployments}`, { signal })
    print.value(answer)
    for (const deployment of answer.deployments) printDeployment(print, deployment)
    if (answer.deployments.length === 0) print.line('There are no deployments yet.')
    return 0
  }
  const name = encodeURIComponent(subject)
  if (parseTarget(subject)) {
    const target = await server.get<TargetView>(`/api/targets/${name}`, { signal })
    print.value(target)
    printTargetWhole(print, target)
    return 0
  }
  const deployment = await server.get<DeploymentView>(`/api/deployments/${name}`, { signal })
  print.value(deployment)
  printDeploymentWhole(print, deployment)
  return 0
}

type Style = Parameters<Print['style']>[0]

export const healthStyles: Record<TargetSummary['health'], Style> = {
  unknown: 'yellow',
  deploying: 'yellow',
  degraded: 'red',
  drifted: 'yellow',
  failed: 'red',
  removing: 'dim',
  unwanted: 'dim',
  paused: 'dim',
  healthy: 'green',
  pending: 'yellow',
}

const stateStyles: Record<DeploymentSummary['state'], Style> = {
  open: 'yellow',
  succeeded: 'green',
  failed: 'red',
  superseded: 'dim',
  cancelled: 'dim',
}

function printTarget(print: Print, { key, health, reason }: TargetSummary): void {
  print.line(`${print.style(healthStyles[health], health.padEnd(9))} ${print.style('bold', key)} ${reason}`)
}

function printDeployment(print: Print, deployment: DeploymentSummary): void {
  const { id, target, commit, state, message, createdAt } = deployment
  const said = state === 'open' ? `${deployment.phase} ${deployment.progress} %: ${message}` : message
  print.line(
    `${createdAt} ${print.style(stateStyles[state], state.padEnd(10))} ${id} ${print.style('bold', target)} ${commit.slice(0, 12)} ${said}`,
  )
}

function printTargetWhole(print: Print, target: TargetView): void {
  printTarget(print, target)
  const { desired, attempted, applied, spec } = target
  print.line(
    `  wanted   ${desired ? `commit ${desired.commit.slice(0, 12)}, ${spec?.path}:${spec?.line}` : 'no'}`,
  )
  print.line(`  tried    ${attempted ? `${attempted.deploymentId}, attempt ${attempted.attempt}` : 'never'}`)
  print.line(
    `  applied  ${applied ? `release ${applied.releaseId} of commit ${applied.commit.slice(0, 12)} since ${applied.at}` : 'nothing'}`,
  )
  if (spec?.environmentNames.length) print.line(`  environment  ${spec.environmentNames.join(', ')}`)
  printDrift(print, target)
  for (const { id, commit, image, provenAt } of target.releases) {
    print.line(`  release ${id} of commit ${commit.slice(0, 12)}, ${image.reference}, proven ${provenAt}`)
  }
  for (const deployment of target.history) printDeployment(print, deployment)
}

/** How the host differed: field, what should be, what was found, what was done. */
export function printDrift(print: Print, { drift, driftEntries }: TargetView): void {
  if (!drift) return
  const span = drift.endedAt === null ? `since ${drift.openedAt}` : `${drift.openedAt} to ${drift.endedAt}`
  print.line(`  drift ${span}${drift.degradedReason ? `: ${drift.degradedReason}` : ''}`)
  for (const { subject, field, expected, found, action, count, lastSeenAt } of driftEntries) {
    const times = count === 1 ? '' : ` (${count} times, last ${lastSeenAt})`
    print.line(`    ${subject}: ${field} was ${found}, should be ${expected}; ${action}${times}`)
  }
}

function printDeploymentWhole(print: Print, deployment: DeploymentView): void {
  printDeployment(print, deployment)
  const { result } = deployment
  if (result?.kind === 'failed') {
    print.line(`  ${print.style('red', `failed in ${result.phase}: ${result.reason}`)}`)
    if (result.hint) print.line(`  ${result.hint}`)
    print.line(`  The release before: ${result.previous}`)
    for (const line of result.logTail) print.line(`    ${line}`)
  }
  for (const line of deployment.changes) print.line(`  ${line}`)
  for (const { at, phase, progress, message } of deployment.history) {
    print.line(`  ${at} ${phase} ${progress} % ${message}`)
  }
}

/** A screen full. */
const shownDeployments = 30
