import type { App, Repo, State } from './state.ts'
import { isoSeconds } from './time.ts'

export const conclusions = [
  'action_required',
  'cancelled',
  'failure',
  'neutral',
  'success',
  'skipped',
  'timed_out',
] as const
export type Conclusion = (typeof conclusions)[number]

export const statuses = ['queued', 'in_progress', 'completed'] as const
export type Status = (typeof statuses)[number]

export type Annotation = {
  path: string
  start_line: number
  end_line: number
  start_column?: number
  end_column?: number
  annotation_level: 'notice' | 'warning' | 'failure'
  message: string
  title?: string
  raw_details?: string
}

export type Output = { title?: string; summary: string; text?: string; annotations?: Annotation[] }

export type Action = { label: string; description: string; identifier: string }

/** How a check run stood after one write. */
type CheckRunWrite = {
  at: string
  status: Status
  conclusion: Conclusion | null
  title: string | null
  summary: string | null
  text: string | null
  annotationCount: number
}

export type CheckRunRecord = {
  id: number
  app: App
  repo: Repo
  suite: CheckSuiteRecord
  name: string
  headSha: string
  externalId: string
  detailsUrl: string | null
  status: Status
  conclusion: Conclusion | null
  startedAt: string | null
  completedAt: string | null
  title: string | null
  summary: string | null
  text: string | null
  annotations: Annotation[]
  actions: Action[]
  /** Every write, oldest first. */
  history: CheckRunWrite[]
}

export type CheckSuiteRecord = {
  id: number
  app: App
  repo: Repo
  headSha: string
  headBranch: string | null
  before: string | null
  status: Status
  conclusion: Conclusion | null
  createdAt: string
  updatedAt: string
}

/** The one suite of an App for a commit, made when first asked for. */
export function ensureSuite(
  state: State,
  key: { app: App; repo: Repo; headSha: string },
  push: { headBranch: string; before: string } | null = null,
): { suite: CheckSuiteRecord; created: boolean } {
  const known = state.suites.find(
    (suite) => suite.app === key.app && suite.repo === key.repo && suite.headSha === key.headSha,
  )
  if (known) return { suite: known, created: false }
  const now = isoSeconds()
  const suite: CheckSuiteRecord = {
    id: state.nextId(),
    ...key,
    headBranch: push?.headBranch ?? null,
    before: push?.before ?? null,
    status: 'queued',
    conclusion: null,
    createdAt: now,
    updatedAt: now,
  }
  state.suites.push(suite)
  return { suite, created: true }
}

export function runsOfSuite(state: State, suite: CheckSuiteRecord): CheckRunRecord[] {
  return [...state.runs.values()].filter((run) => run.suite === suite)
}

/** The newest run of each name, as `filter=latest` shows them. Newest first. */
export function latestRuns(runs: readonly CheckRunRecord[]): CheckRunRecord[] {
  const newest = new Map<string, CheckRunRecord>()
  for (const run of runs) {
    const key = `${run.suite.id}\n${run.name}`
    const other = newest.get(key)
    if (!other || run.id > other.id) newest.set(key, run)
  }
  return newestFirst([...newest.values()])
}

export function newestFirst(runs: CheckRunRecord[]): CheckRunRecord[] {
  return runs.toSorted((a, b) => b.id - a.id)
}

/** What counts for a whole suite: the first of these that any run has. */
const severity: Conclusion[] = [
  'failure',
  'timed_out',
  'cancelled',
  'action_required',
  'success',
  'neutral',
  'skipped',
]

/** Settles a suite from its latest runs. Returns true when this completed it. */
export function settleSuite(state: State, suite: CheckSuiteRecord): boolean {
  const runs = latestRuns(runsOfSuite(state, suite))
  const open = runs.filter((run) => run.status !== 'completed')
  const wasCompleted = suite.status === 'completed'
  suite.updatedAt = isoSeconds()
  if (open.length > 0) {
    suite.status = runs.some((run) => run.status !== 'queued') ? 'in_progress' : 'queued'
    suite.conclusion = null
    return false
  }
  suite.status = 'completed'
  suite.conclusion = severity.find((one) => runs.some((run) => run.conclusion === one)) ?? null
  return !wasCompleted
}
