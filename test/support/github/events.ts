import {
  type CheckRunRecord,
  type CheckSuiteRecord,
  ensureSuite,
  latestRuns,
  runsOfSuite,
} from './check-state.ts'
import { isForced, readCommit, readPushedCommits } from './git-reads.ts'
import {
  renderAccount,
  renderCheckRun,
  renderCheckSuite,
  renderInstallation,
  renderPushedCommit,
  renderRepo,
} from './render.ts'
import { type App, allows, type Installation, installationsOf, type Repo, type State } from './state.ts'
import { isoSeconds } from './time.ts'
import type { Webhooks } from './webhooks.ts'

/** The SHA that stands for "no commit" in a push. */
const zeroSha = '0'.repeat(40)

export type RefUpdate = { ref: string; before: string; after: string }

export type Outbox = { state: State; webhooks: Webhooks }

/** What GitHub sends when a ref moved: `push`, and for a branch `check_suite` to every App that may write checks. */
export async function announcePush(
  { state, webhooks }: Outbox,
  repo: Repo,
  { update, pusher }: { update: RefUpdate; pusher: string },
): Promise<void> {
  repo.pushedAt = isoSeconds()
  const payload = await pushPayload(state, repo, { update, pusher })
  for (const installation of installationsOf(state, repo)) {
    const { app } = installation
    if (!subscribes(app, 'push')) continue
    webhooks.send(app, envelope(state, { event: 'push', payload, installation, repo, sender: pusher }))
  }
  if (!update.ref.startsWith('refs/heads/') || update.after === zeroSha) return
  const push = { headBranch: update.ref.slice('refs/heads/'.length), before: update.before }
  for (const { app } of installationsOf(state, repo)) {
    if (!allows(app.permissions, 'checks', 'write')) continue
    const { suite, created } = ensureSuite(state, { app, repo, headSha: update.after }, push)
    if (created) await announceSuite({ state, webhooks }, suite, { action: 'requested', sender: pusher })
  }
}

/** `created` and `completed` go to every App that reads checks here; `rerequested` to the run's own App alone. */
export function announceRun(
  { state, webhooks }: Outbox,
  run: CheckRunRecord,
  { action, sender }: { action: 'created' | 'completed' | 'rerequested'; sender: string },
): void {
  const suite = { ...renderCheckRun(state, run).check_suite, ...briefSuite(run.suite) }
  const payload = { action, check_run: { ...renderCheckRun(state, run), check_suite: suite } }
  for (const installation of installationsOf(state, run.repo)) {
    const { app } = installation
    if (action === 'rerequested' ? app !== run.app : !subscribes(app, 'check_run')) continue
    webhooks.send(app, envelope(state, { event: 'check_run', payload, installation, repo: run.repo, sender }))
  }
}

/** A suite's events go to its own App alone. */
export async function announceSuite(
  { state, webhooks }: Outbox,
  suite: CheckSuiteRecord,
  { action, sender }: { action: 'requested' | 'completed' | 'rerequested'; sender: string },
): Promise<void> {
  const headCommit = await readCommit(suite.repo, suite.headSha)
  const runCount = latestRuns(runsOfSuite(state, suite)).length
  const payload = { action, check_suite: renderCheckSuite(state, suite, { headCommit, runCount }) }
  for (const installation of installationsOf(state, suite.repo)) {
    if (installation.app !== suite.app) continue
    const event = { event: 'check_suite', payload, installation, repo: suite.repo, sender }
    webhooks.send(suite.app, envelope(state, event))
  }
}

export function announceInstallation(
  { state, webhooks }: Outbox,
  installation: Installation,
  repos: Repo[],
): void {
  const payload = {
    action: 'created',
    installation: renderInstallation(state, installation),
    repositories: repos.map((repo) => {
      const { id, node_id, name, full_name, private: isPrivate } = renderRepo(state, repo)
      return { id, node_id, name, full_name, private: isPrivate }
    }),
    requester: null,
    sender: renderAccount(state, installation.account, 'User'),
  }
  const event = { event: 'installation', payload, installationId: installation.id, repositoryId: null }
  webhooks.send(installation.app, event)
}

/** Whether an App gets an event. Who may write checks gets the check events without asking. */
function subscribes(app: App, event: string): boolean {
  if (event === 'check_run' || event === 'check_suite') {
    return allows(app.permissions, 'checks', 'write') || app.events.includes(event)
  }
  return app.events.includes(event)
}

function envelope(
  state: State,
  {
    event,
    payload,
    installation,
    repo,
    sender,
  }: {
    event: string
    payload: object
    installation: Installation
    repo: Repo
    sender: string
  },
) {
  return {
    event,
    installationId: installation.id,
    repositoryId: repo.id,
    payload: {
      ...payload,
      repository: renderRepo(state, repo),
      sender: renderAccount(state, sender, sender.endsWith('[bot]') ? 'Bot' : 'User'),
      installation: {
        id: installation.id,
        node_id: Buffer.from(`Installation${installation.id}`).toString('base64url'),
      },
    },
  }
}

async function pushPayload(
  state: State,
  repo: Repo,
  { update, pusher }: { update: RefUpdate; pusher: string },
): Promise<object> {
  const { ref, before, after } = update
  const created = before === zeroSha
  const deleted = after === zeroSha
  const forced = !created && !deleted && (await isForced(repo, { before, after }))
  const pushed = deleted ? [] : await readPushedCommits(repo, { before: created ? null : before, after })
  const commits = pushed.map((commit) => renderPushedCommit(state, repo, commit))
  const [head] = deleted ? [] : await readPushedCommits(repo, { before: null, after })
  const html = `${state.baseUrl}/${repo.fullName}`
  return {
    ref,
    before,
    after,
    base_ref: null,
    created,
    deleted,
    forced,
    compare:
      created || deleted
        ? `${html}/commit/${(deleted ? before : after).slice(0, 12)}`
        : `${html}/compare/${before.slice(0, 12)}...${after.slice(0, 12)}`,
    commits,
    head_commit: head ? renderPushedCommit(state, repo, head) : null,
    pusher: { name: pusher, email: `${pusher}@example.com` },
  }
}

function briefSuite(suite: CheckSuiteRecord) {
  return {
    head_branch: suite.headBranch,
    head_sha: suite.headSha,
    status: suite.status,
    conclusion: suite.conclusion,
    before: suite.before,
    after: suite.headSha,
    pull_requests: [],
    created_at: suite.createdAt,
    updated_at: suite.updatedAt,
  }
}
