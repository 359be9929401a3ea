import type { Deployment } from '../rollout/deployment.ts'
import { parseTarget } from '../rollout/target.ts'
import type { Problem } from '../spec/spec.ts'
import type { Annotation, CheckRun } from './check-run.ts'
import { code, plain, table, textLimit, truncate } from './markdown.ts'

/** What one commit asked for, as far as the check run over all needs it. */
export type RevisionView = {
  commit: string
  attempt: number
  seenAt: string
  problems: Problem[]
  deployments: Deployment[]
  /** False while a deployment it asked for is not stored yet: a kill came in between, and the next pass stores it. */
  isWhole: boolean
  unchangedCount: number
  pausedTargets: { target: string; reason: string }[]
  removals: { target: string; removeAfter: string; volumes: boolean }[]
  pruneRefused: string | null
  supersededBy: string | null
}

export const revisionCheckName = 'towline / deploy'

/** Identifies the run over all; a re-run has a higher attempt and so another id. */
export function revisionExternalId(revision: { commit: string; attempt: number }): string {
  return `revision-${revision.commit}-${revision.attempt}`
}

/** True once nothing of the revision can change any more. */
function revisionEnded(revision: RevisionView): boolean {
  return revision.isWhole && revision.deployments.every(({ result }) => result !== null)
}

/** The check run over all targets of a commit. The same revision always gives the same run. */
export function renderRevisionCheck(revision: RevisionView): CheckRun {
  const ended = revisionEnded(revision)
  const counts = count(revision)
  const ends = revision.deployments.flatMap(({ endedAt }) => (endedAt ? [endedAt] : []))
  return {
    name: revisionCheckName,
    headSha: revision.commit,
    externalId: revisionExternalId(revision),
    status: ended ? 'completed' : 'in_progress',
    conclusion: ended ? conclude(revision) : null,
    startedAt: revision.seenAt,
    completedAt: ended ? ([...ends, revision.seenAt].sort().at(-1) ?? null) : null,
    title: renderTitle(revision, counts),
    summary: truncate(renderSummary(revision), textLimit),
    text: truncate(renderProblems(revision.problems), textLimit),
    annotations: revision.problems.map(annotate),
  }
}

type Counts = { active: number; failed: number; stopped: number; open: number }

function count({ deployments }: RevisionView): Counts {
  const counts: Counts = { active: 0, failed: 0, stopped: 0, open: 0 }
  for (const { result } of deployments) {
    if (!result) counts.open += 1
    else if (result.kind === 'succeeded') counts.active += 1
    else if (result.kind === 'failed') counts.failed += 1
    else counts.stopped += 1
  }
  return counts
}

function conclude(revision: RevisionView): CheckRun['conclusion'] {
  const { failed, stopped } = count(revision)
  if (revision.problems.length > 0 || failed > 0 || revision.pruneRefused !== null) return 'failure'
  if (stopped > 0) return 'cancelled'
  return 'success'
}

function renderTitle(revision: RevisionView, counts: Counts): string {
  const parts: string[] = []
  if (revision.problems.length > 0) parts.push(plural(revision.problems.length, 'problem'))
  if (counts.open > 0) parts.push(`${counts.open} rolling out`)
  if (counts.active > 0) parts.push(`${counts.active} active`)
  if (counts.failed > 0) parts.push(`${counts.failed} failed`)
  if (counts.stopped > 0) parts.push(`${counts.stopped} superseded or cancelled`)
  if (revision.pausedTargets.length > 0) parts.push(`${revision.pausedTargets.length} paused`)
  if (revision.unchangedCount > 0) parts.push(`${revision.unchangedCount} unchanged`)
  if (revision.removals.length > 0) parts.push(`${revision.removals.length} to be removed`)
  if (revision.pruneRefused !== null) parts.push('removal refused')
  return parts.join(', ') || 'no specs found'
}

function renderSummary(revision: RevisionView): string {
  const parts: string[] = []
  if (revision.supersededBy) parts.push(`A newer commit took over: ${code(revision.supersededBy)}.`)
  if (revision.deployments.length > 0) {
    const rows = revision.deployments.map((deployment) => [
      code(shortTarget(deployment.target)),
      code(deployment.phase),
      plain(deployment.result?.kind === 'failed' ? deployment.result.reason : ''),
    ])
    parts.push(table(['target', 'phase', 'why'], rows))
  }
  for (const { target, reason } of revision.pausedTargets) {
    parts.push(`${code(shortTarget(target))} is paused: ${plain(reason)}`)
  }
  for (const removal of revision.removals) parts.push(renderRemoval(removal, revision))
  if (revision.pruneRefused !== null) parts.push(plain(revision.pruneRefused))
  if (revision.problems.length > 0) {
    const them = revision.problems.length === 1 ? 'it' : 'them'
    parts.push(
      `${plural(revision.problems.length, 'problem')} in the specs; see the annotations. ` +
        `The apps behind ${them} keep their release until ${them === 'it' ? 'it is' : 'they are'} mended.`,
    )
  }
  if (parts.length === 0) {
    parts.push(
      revision.unchangedCount > 0
        ? `Nothing to deploy: ${plural(revision.unchangedCount, 'target')} unchanged.`
        : 'No specs were found. Towline looks for `apps/**/*.{yaml,yml}` unless `towline.yaml` says otherwise.',
    )
  }
  return parts.join('\n\n')
}

/** When and what, before it happens: until then putting the spec back undoes it. */
function renderRemoval(
  { target, removeAfter, volumes }: RevisionView['removals'][number],
  { seenAt }: RevisionView,
): string {
  const isNow = Date.parse(removeAfter) <= Date.parse(seenAt)
  const when = isNow ? 'is removed now' : `is removed after ${removeAfter.slice(0, 19)}Z`
  const data = volumes ? 'with its volumes and the data in them' : 'its volumes stay'
  return `${code(shortTarget(target))} left the repo and ${when}; ${data}.`
}

function renderProblems(problems: Problem[]): string {
  return problems
    .map(
      ({ path, line, column, message, hint }) =>
        `- ${code(`${path}:${line}:${column}`)} ${plain(message)} ${plain(hint)}`,
    )
    .join('\n')
}

function annotate(problem: Problem): Annotation {
  // GitHub takes columns only where the range stays on one line.
  const oneLine = problem.line === problem.endLine
  return {
    path: problem.path,
    startLine: problem.line,
    endLine: problem.endLine,
    startColumn: oneLine ? problem.column : null,
    endColumn: oneLine ? problem.endColumn : null,
    level: 'failure',
    title: 'Towline cannot use this spec',
    message: problem.hint ? `${problem.message}\n${problem.hint}` : problem.message,
  }
}

function shortTarget(key: string): string {
  const target = parseTarget(key)
  return target ? `${target.app}@${target.host}` : key
}

function plural(count: number, noun: string): string {
  return count === 1 ? `1 ${noun}` : `${count} ${noun}s`
}
