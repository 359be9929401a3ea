import type { DriftEpisode } from '../rollout/drift-episode.ts'
import { parseTarget } from '../rollout/target.ts'
import type { CheckRun } from './check-run.ts'
import { code, plain, table, textLimit, titleOf, truncate } from './markdown.ts'

/**
 * The check run of one stretch of drift: `towline / drift <app>@<host>`. It blocks nothing, so it is complete and neutral
 * from the start; while it lasts and when it ends its text changes.
 */
export function renderDriftCheck(episode: DriftEpisode): CheckRun {
  const lastSeenAt = episode.entries.at(-1)?.lastSeenAt ?? episode.openedAt
  return {
    name: driftCheckName(episode.target),
    headSha: episode.commit,
    externalId: episode.id,
    status: 'completed',
    conclusion: 'neutral',
    startedAt: episode.openedAt,
    completedAt: episode.endedAt ?? lastSeenAt,
    title: titleOf(renderTitle(episode)),
    summary: truncate(renderSummary(episode), textLimit),
    text: '',
    annotations: [],
  }
}

function driftCheckName(targetKey: string): string {
  const target = parseTarget(targetKey)
  return target ? `towline / drift ${target.app}@${target.host}` : `towline / drift ${targetKey}`
}

function renderTitle({ entries, endedAt, degradedReason }: DriftEpisode): string {
  const last = entries.at(-1)
  const what = last
    ? `${last.drift.subject}: ${last.drift.field} was ${last.drift.found}`
    : 'the host drifted'
  const more = entries.length > 1 ? ` and ${entries.length - 1} more` : ''
  if (degradedReason !== null) return `degraded: ${what}${more}`
  return endedAt === null ? `drift: ${what}${more}` : `resolved: ${what}${more}`
}

function renderSummary({ entries, endedAt, degradedReason }: DriftEpisode): string {
  const parts: string[] = []
  if (degradedReason !== null) {
    parts.push(
      `**Healing has given up for now:** ${plain(degradedReason)}.`,
      'A push, Re-run on the run of the deployment, or `towline reconcile` makes Towline try at once.',
    )
  } else if (endedAt !== null) {
    parts.push(`The host is as the release says again since ${clock(endedAt)}.`)
  } else {
    parts.push('The host is not as the release of this commit says. Towline is putting it right.')
  }
  const rows = entries.map(({ drift, action, lastSeenAt, count }) => [
    code(drift.subject),
    plain(drift.field),
    plain(drift.expected),
    plain(drift.found),
    plain(action),
    clock(lastSeenAt),
    String(count),
  ])
  parts.push(table(['what', 'field', 'expected', 'found', 'what was done', 'last seen (UTC)', 'times'], rows))
  return parts.join('\n\n')
}

function clock(iso: string): string {
  return `${iso.slice(0, 10)} ${iso.slice(11, 19)}`
}
