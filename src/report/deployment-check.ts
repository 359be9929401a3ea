import type { Deployment } from '../rollout/deployment.ts'
import { type Phase, phases } from '../rollout/phase.ts'
import { parseTarget } from '../rollout/target.ts'
import type { CheckRun } from './check-run.ts'
import { block, code, duration, plain, table, textLimit, titleOf, truncate } from './markdown.ts'

/** The check run of one target: `towline / <app>@<host>`. The same deployment always gives the same run. */
export function renderDeploymentCheck(deployment: Deployment): CheckRun {
  const ended = deployment.result !== null
  return {
    name: deploymentCheckName(deployment.target),
    headSha: deployment.commit,
    externalId: deployment.id,
    status: ended ? 'completed' : deployment.phase === 'queued' ? 'queued' : 'in_progress',
    conclusion: conclude(deployment),
    startedAt: deployment.startedAt ?? (ended ? deployment.createdAt : null),
    completedAt: deployment.endedAt,
    title: renderTitle(deployment),
    summary: truncate(renderSummary(deployment), textLimit),
    text: truncate(renderText(deployment), textLimit),
    annotations: [],
  }
}

function deploymentCheckName(targetKey: string): string {
  const target = parseTarget(targetKey)
  return target ? `towline / ${target.app}@${target.host}` : `towline / ${targetKey}`
}

function conclude({ result }: Deployment): CheckRun['conclusion'] {
  switch (result?.kind) {
    case undefined:
      return null
    case 'succeeded':
      return 'success'
    case 'failed':
      return 'failure'
    case 'superseded':
    case 'cancelled':
      return 'cancelled'
    default:
      return result satisfies never
  }
}

function renderTitle(deployment: Deployment): string {
  const { result } = deployment
  const title = (() => {
    switch (result?.kind) {
      case undefined:
        return `${deployment.phase} ${deployment.progress} %: ${deployment.message}`
      case 'succeeded':
        return `active: ${release(deployment)} is live`
      case 'failed':
        return `failed in ${result.phase}: ${result.reason}`
      case 'superseded':
        return `superseded by ${result.by}`
      case 'cancelled':
        return `cancelled: ${result.reason}`
      default:
        return result satisfies never
    }
  })()
  return titleOf(title)
}

function release(deployment: Deployment): string {
  return deployment.release ? `release ${deployment.release.id}` : 'the release'
}

function renderSummary(deployment: Deployment): string {
  const parts: string[] = []
  const { result } = deployment
  if (result?.kind === 'failed') {
    parts.push(`**Failed in ${code(result.phase)}:** ${plain(result.reason)}`)
    if (result.hint) parts.push(`**What to do:** ${plain(result.hint)}`)
    parts.push(`**The release before:** ${plain(result.previous)}`)
  }
  if (result?.kind === 'superseded') parts.push(`A newer revision took over: ${code(result.by)}.`)
  if (deployment.resumedCount > 0) parts.push(`Resumed after restart (${deployment.resumedCount}×).`)
  parts.push(renderPhases(deployment))
  return parts.join('\n\n')
}

function renderPhases(deployment: Deployment): string {
  const rows: string[][] = []
  for (const phase of phases.slice(0, -1)) {
    const entered = deployment.history.find((entry) => entry.phase === phase)
    const next = deployment.history.find((entry) => rank(entry.phase) > rank(phase))
    const took = entered && next ? duration(Date.parse(next.at) - Date.parse(entered.at)) : ''
    rows.push([
      mark(deployment, phase, entered !== undefined),
      code(phase),
      entered ? clock(entered.at) : '',
      took,
    ])
  }
  const total = deployment.endedAt
    ? `\n\nTook ${duration(Date.parse(deployment.endedAt) - Date.parse(deployment.createdAt))} in all.`
    : ''
  return table(['', 'phase', 'since (UTC)', 'took'], rows) + total
}

function rank(phase: Phase): number {
  return phases.indexOf(phase)
}

function mark(deployment: Deployment, phase: Phase, entered: boolean): string {
  const { result } = deployment
  const stoppedIn = result && result.kind !== 'succeeded' ? result.phase : null
  if (phase === stoppedIn) return result?.kind === 'failed' ? '❌' : '⏹️'
  if (phase === deployment.phase && !result) return '▶️'
  if (phase === 'active' && result?.kind === 'succeeded') return '✅'
  if (entered) return '✅'
  return result?.kind === 'succeeded' || rank(phase) < rank(deployment.phase) ? '➖' : '▫️'
}

function clock(iso: string): string {
  return iso.slice(11, 19)
}

function renderText(deployment: Deployment): string {
  const parts: string[] = []
  if (deployment.changes.length > 0) {
    parts.push('### What changes', deployment.changes.map((line) => `- ${plain(line)}`).join('\n'))
  }
  const { result } = deployment
  if (result?.kind === 'failed' && result.logTail.length > 0) {
    parts.push('### Last log lines', block(result.logTail))
  }
  const { release } = deployment
  parts.push(
    '### Details',
    table(
      ['', ''],
      [
        ['target', code(deployment.target)],
        ['deployment', code(deployment.id)],
        ['attempt', String(deployment.attempt)],
        ['asked for by', deployment.trigger],
        ...(release
          ? [
              ['image', code(release.image.pinned)],
              ['input hash', code(release.inputHash.slice(0, 12))],
            ]
          : []),
      ],
    ),
  )
  return parts.join('\n\n')
}
