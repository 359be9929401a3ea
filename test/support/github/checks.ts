import { type Answer, invalidRequest, notFound, paginate, Refusal, validationFailed } from './answer.ts'
import { requireAccess } from './callers.ts'
import { type CheckRunFields, parseCheckRunCreate, parseCheckRunUpdate } from './check-rules.ts'
import {
  type CheckRunRecord,
  type CheckSuiteRecord,
  ensureSuite,
  latestRuns,
  newestFirst,
  runsOfSuite,
  settleSuite,
  statuses,
} from './check-state.ts'
import { announceRun, announceSuite, type Outbox } from './events.ts'
import { readCommit, resolveCommit } from './git-reads.ts'
import { renderAnnotation, renderCheckRun, renderCheckSuite, renderRepo } from './render.ts'
import { type Call, param, type Route, repoParam, route } from './route.ts'
import type { App, Repo } from './state.ts'
import { isoSeconds } from './time.ts'

/** GitHub's Checks API, with the rules GitHub enforces. */
export const checkRoutes: Route[] = [
  route('POST', '/repos/:owner/:repo/check-runs', createRun),
  route('GET', '/repos/:owner/:repo/check-runs/:id(\\d+)', getRun),
  route('PATCH', '/repos/:owner/:repo/check-runs/:id(\\d+)', updateRun),
  route('GET', '/repos/:owner/:repo/check-runs/:id(\\d+)/annotations', listAnnotations),
  route('POST', '/repos/:owner/:repo/check-runs/:id(\\d+)/rerequest', rerequestRunRoute),
  route('GET', '/repos/:owner/:repo/commits/:ref(.+)/check-runs', listRunsOfRef),
  route('GET', '/repos/:owner/:repo/commits/:ref(.+)/check-suites', listSuitesOfRef),
  route('GET', '/repos/:owner/:repo/check-suites/:id(\\d+)', getSuite),
  route('GET', '/repos/:owner/:repo/check-suites/:id(\\d+)/check-runs', listRunsOfSuite),
  route('POST', '/repos/:owner/:repo/check-suites/:id(\\d+)/rerequest', rerequestSuiteRoute),
]

async function createRun(call: Call): Promise<Answer> {
  const { app, repo } = writer(call)
  const fields = parseCheckRunCreate(call.body)
  if (!/^[0-9a-f]{40}$/.test(fields.head_sha) || (await resolveCommit(repo, fields.head_sha)) === null) {
    throw new Refusal(422, `No commit found for SHA: ${fields.head_sha}`)
  }
  const { suite } = ensureSuite(call.state, { app, repo, headSha: fields.head_sha })
  const run: CheckRunRecord = {
    id: call.state.nextId(),
    app,
    repo,
    suite,
    name: fields.name,
    headSha: fields.head_sha,
    externalId: '',
    detailsUrl: null,
    status: 'queued',
    conclusion: null,
    startedAt: null,
    completedAt: null,
    title: null,
    summary: null,
    text: null,
    annotations: [],
    actions: [],
    history: [],
  }
  call.state.runs.set(run.id, run)
  const body = await write(call, run, fields)
  return { status: 201, body }
}

async function updateRun(call: Call): Promise<Answer> {
  const { app, repo } = writer(call)
  const run = ownRun(call, repo)
  if (run.app !== app) {
    throw new Refusal(
      403,
      `Invalid app_id \`${app.id}\` - check run can only be modified by the GitHub App that created it.`,
    )
  }
  const fields = parseCheckRunUpdate(call.body)
  const reopens =
    fields.status !== undefined && fields.status !== 'completed' && fields.conclusion === undefined
  if (run.status === 'completed' && reopens) {
    throw validationFailed('CheckRun', 'status', 'a completed check run does not go back; create a new one')
  }
  if (fields.name !== undefined) run.name = fields.name
  return { status: 200, body: await write(call, run, fields) }
}

/** Applies one request to a run, keeps it in the run's history and tells who listens. */
async function write(call: Call, run: CheckRunRecord, fields: CheckRunFields): Promise<object> {
  const isNew = run.history.length === 0
  const wasCompleted = run.status === 'completed'
  const now = isoSeconds()
  // GitHub: "Providing conclusion will automatically set the status parameter to completed."
  const status = fields.conclusion === undefined ? (fields.status ?? run.status) : 'completed'
  run.status = status
  run.conclusion = fields.conclusion ?? run.conclusion
  run.startedAt = fields.started_at ?? run.startedAt ?? (status === 'queued' ? null : now)
  if (status === 'completed') run.completedAt = fields.completed_at ?? run.completedAt ?? now
  run.externalId = fields.external_id ?? run.externalId
  run.detailsUrl = fields.details_url ?? run.detailsUrl
  run.actions = fields.actions ?? run.actions
  if (fields.output) {
    run.title = fields.output.title ?? run.title
    run.summary = fields.output.summary
    run.text = fields.output.text ?? run.text
    run.annotations.push(...(fields.output.annotations ?? []))
  }
  run.history.push({
    at: new Date().toISOString(),
    status: run.status,
    conclusion: run.conclusion,
    title: run.title,
    summary: run.summary,
    text: run.text,
    annotationCount: run.annotations.length,
  })
  const suiteCompleted = settleSuite(call.state, run.suite)
  const answer = renderCheckRun(call.state, run)
  const sender = `${run.app.slug}[bot]`
  if (isNew) announceRun(call, run, { action: 'created', sender })
  if (!wasCompleted && run.status === 'completed') announceRun(call, run, { action: 'completed', sender })
  if (suiteCompleted) await announceSuite(call, run.suite, { action: 'completed', sender })
  return answer
}

function getRun(call: Call): Answer {
  return { status: 200, body: renderCheckRun(call.state, ownRun(call, reader(call))) }
}

function listAnnotations(call: Call): Answer {
  const run = ownRun(call, reader(call))
  const { page, headers } = paginate(run.annotations, call.url)
  return { status: 200, body: page.map((one) => renderAnnotation(call.state, run, one)), headers }
}

async function listRunsOfRef(call: Call): Promise<Answer> {
  const repo = reader(call)
  const sha = await commitOf(repo, param(call, 'ref'))
  const runs = [...call.state.runs.values()].filter((run) => run.repo === repo && run.headSha === sha)
  const appId = call.url.searchParams.get('app_id')
  return listRuns(call, appId === null ? runs : runs.filter((run) => String(run.app.id) === appId))
}

function listRunsOfSuite(call: Call): Answer {
  const suite = ownSuite(call, reader(call))
  return listRuns(call, runsOfSuite(call.state, suite))
}

function listRuns(call: Call, runs: CheckRunRecord[]): Answer {
  const query = call.url.searchParams
  const name = query.get('check_name')
  const status = choice('status', query.get('status'), statuses)
  const filter = choice('filter', query.get('filter'), ['latest', 'all'])
  const named = name === null ? runs : runs.filter((run) => run.name === name)
  const chosen = filter === 'all' ? newestFirst(named) : latestRuns(named)
  const matching = status === null ? chosen : chosen.filter((run) => run.status === status)
  const { page, headers } = paginate(matching, call.url)
  const body = {
    total_count: matching.length,
    check_runs: page.map((run) => renderCheckRun(call.state, run)),
  }
  return { status: 200, body, headers }
}

async function getSuite(call: Call): Promise<Answer> {
  return { status: 200, body: await wholeSuite(call, ownSuite(call, reader(call))) }
}

async function listSuitesOfRef(call: Call): Promise<Answer> {
  const repo = reader(call)
  const sha = await commitOf(repo, param(call, 'ref'))
  const appId = call.url.searchParams.get('app_id')
  const suites = call.state.suites.filter(
    (suite) =>
      suite.repo === repo && suite.headSha === sha && (appId === null || String(suite.app.id) === appId),
  )
  const { page, headers } = paginate(suites, call.url)
  const check_suites = await Promise.all(page.map((suite) => wholeSuite(call, suite)))
  return { status: 200, body: { total_count: suites.length, check_suites }, headers }
}

async function wholeSuite(call: Call, suite: CheckSuiteRecord): Promise<object> {
  const headCommit = await readCommit(suite.repo, suite.headSha)
  const runCount = latestRuns(runsOfSuite(call.state, suite)).length
  return {
    ...renderCheckSuite(call.state, suite, { headCommit, runCount }),
    repository: renderRepo(call.state, suite.repo),
  }
}

/** "Re-run" on one check: the suite goes back to queued, the run stays as it is, its App hears of it. */
export function rerequestRun(outbox: Outbox, run: CheckRunRecord, { sender }: { sender: string }): void {
  if (run.status !== 'completed') throw new Refusal(422, 'This check run is not rerequestable')
  requeue(run.suite)
  announceRun(outbox, run, { action: 'rerequested', sender })
}

/** "Re-run all checks": the suite goes back to queued, its runs stay as they are, its App hears of it. */
export async function rerequestSuite(
  outbox: Outbox,
  suite: CheckSuiteRecord,
  { sender }: { sender: string },
): Promise<void> {
  requeue(suite)
  await announceSuite(outbox, suite, { action: 'rerequested', sender })
}

function requeue(suite: CheckSuiteRecord): void {
  suite.status = 'queued'
  suite.conclusion = null
  suite.updatedAt = isoSeconds()
}

function rerequestRunRoute(call: Call): Answer {
  const { repo, sender } = rerequester(call)
  rerequestRun(call, ownRun(call, repo), { sender })
  return { status: 201, body: {} }
}

async function rerequestSuiteRoute(call: Call): Promise<Answer> {
  const { repo, sender } = rerequester(call)
  await rerequestSuite(call, ownSuite(call, repo), { sender })
  return { status: 201, body: {} }
}

/** People and Apps that may write checks. */
function rerequester(call: Call): { repo: Repo; sender: string } {
  const access = { fullName: repoParam(call), permission: 'checks', level: 'write' } as const
  const repo = requireAccess(call.state, call.caller, access)
  if (call.caller.kind === 'user') return { repo, sender: call.caller.login }
  return { repo, sender: `${writer(call).app.slug}[bot]` }
}

/** Only Apps write checks, and only with `checks: write`. */
function writer(call: Call): { app: App; repo: Repo } {
  const access = { fullName: repoParam(call), permission: 'checks', level: 'write' } as const
  const repo = requireAccess(call.state, call.caller, access)
  if (call.caller.kind !== 'installation') throw new Refusal(403, 'You must authenticate via a GitHub App.')
  return { app: call.caller.installation.app, repo }
}

function reader(call: Call): Repo {
  const access = { fullName: repoParam(call), permission: 'checks', level: 'read' } as const
  return requireAccess(call.state, call.caller, access)
}

function ownRun(call: Call, repo: Repo): CheckRunRecord {
  const run = call.state.runs.get(Number(param(call, 'id')))
  if (run?.repo !== repo) throw notFound()
  return run
}

function ownSuite(call: Call, repo: Repo): CheckSuiteRecord {
  const id = Number(param(call, 'id'))
  const suite = call.state.suites.find((one) => one.id === id)
  if (suite?.repo !== repo) throw notFound()
  return suite
}

async function commitOf(repo: Repo, ref: string): Promise<string> {
  const sha = await resolveCommit(repo, ref)
  if (sha === null) throw new Refusal(422, `No commit found for SHA: ${ref}`)
  return sha
}

function choice<T extends string>(name: string, value: string | null, allowed: readonly T[]): T | null {
  if (value === null) return null
  const found = allowed.find((one) => one === value)
  if (found) return found
  throw invalidRequest(
    `For '${name}', ${JSON.stringify(value)} is not a member of ${JSON.stringify(allowed)}.`,
  )
}
