/** GitHub's JSON for what this GitHub knows. Each fits its schema in GitHub's OpenAPI description. */

import type { Annotation, CheckRunRecord, CheckSuiteRecord } from './check-state.ts'
import type { Commit, PushedCommit } from './git-reads.ts'
import { type App, accountId, type Installation, type Repo, type State } from './state.ts'

export function renderAccount(
  state: State,
  login: string,
  type: 'User' | 'Organization' | 'Bot' = 'Organization',
) {
  const id = accountId(state, login)
  const url = `${state.baseUrl}/api/v3/users/${login}`
  return {
    login,
    id,
    node_id: nodeId(type, id),
    avatar_url: `${state.baseUrl}/avatars/u/${id}`,
    gravatar_id: '',
    url,
    html_url: `${state.baseUrl}/${login}`,
    followers_url: `${url}/followers`,
    following_url: `${url}/following{/other_user}`,
    gists_url: `${url}/gists{/gist_id}`,
    starred_url: `${url}/starred{/owner}{/repo}`,
    subscriptions_url: `${url}/subscriptions`,
    organizations_url: `${url}/orgs`,
    repos_url: `${url}/repos`,
    events_url: `${url}/events{/privacy}`,
    received_events_url: `${url}/received_events`,
    type,
    site_admin: false,
  }
}

export function renderRepo(state: State, repo: Repo) {
  const html = `${state.baseUrl}/${repo.fullName}`
  const url = repoUrl(state, repo)
  return {
    id: repo.id,
    node_id: nodeId('Repository', repo.id),
    name: repo.name,
    full_name: repo.fullName,
    private: repo.private,
    visibility: repo.private ? 'private' : 'public',
    owner: renderAccount(state, repo.owner),
    html_url: html,
    description: null,
    fork: false,
    url,
    ...renderRepoUrls(url),
    clone_url: `${html}.git`,
    git_url: `${html.replace(/^http/, 'git')}.git`,
    ssh_url: `git@${new URL(state.baseUrl).hostname}:${repo.fullName}.git`,
    svn_url: html,
    mirror_url: null,
    homepage: null,
    language: null,
    license: null,
    topics: [],
    default_branch: repo.defaultBranch,
    archived: false,
    disabled: false,
    has_issues: true,
    has_projects: true,
    has_downloads: true,
    has_wiki: true,
    has_pages: false,
    has_discussions: false,
    size: 0,
    forks: 0,
    forks_count: 0,
    open_issues: 0,
    open_issues_count: 0,
    stargazers_count: 0,
    watchers: 0,
    watchers_count: 0,
    network_count: 0,
    subscribers_count: 0,
    created_at: repo.createdAt,
    updated_at: repo.pushedAt,
    pushed_at: repo.pushedAt,
  }
}

/** GitHub names each of a repository's sub-resources. */
function renderRepoUrls(url: string) {
  return {
    archive_url: `${url}/{archive_format}{/ref}`,
    assignees_url: `${url}/assignees{/user}`,
    blobs_url: `${url}/git/blobs{/sha}`,
    branches_url: `${url}/branches{/branch}`,
    collaborators_url: `${url}/collaborators{/collaborator}`,
    comments_url: `${url}/comments{/number}`,
    commits_url: `${url}/commits{/sha}`,
    compare_url: `${url}/compare/{base}...{head}`,
    contents_url: `${url}/contents/{+path}`,
    contributors_url: `${url}/contributors`,
    deployments_url: `${url}/deployments`,
    downloads_url: `${url}/downloads`,
    events_url: `${url}/events`,
    forks_url: `${url}/forks`,
    git_commits_url: `${url}/git/commits{/sha}`,
    git_refs_url: `${url}/git/refs{/sha}`,
    git_tags_url: `${url}/git/tags{/sha}`,
    hooks_url: `${url}/hooks`,
    issue_comment_url: `${url}/issues/comments{/number}`,
    issue_events_url: `${url}/issues/events{/number}`,
    issues_url: `${url}/issues{/number}`,
    keys_url: `${url}/keys{/key_id}`,
    labels_url: `${url}/labels{/name}`,
    languages_url: `${url}/languages`,
    merges_url: `${url}/merges`,
    milestones_url: `${url}/milestones{/number}`,
    notifications_url: `${url}/notifications{?since,all,participating}`,
    pulls_url: `${url}/pulls{/number}`,
    releases_url: `${url}/releases{/id}`,
    stargazers_url: `${url}/stargazers`,
    statuses_url: `${url}/statuses/{sha}`,
    subscribers_url: `${url}/subscribers`,
    subscription_url: `${url}/subscription`,
    tags_url: `${url}/tags`,
    teams_url: `${url}/teams`,
    trees_url: `${url}/git/trees{/sha}`,
  }
}

export function renderApp(state: State, app: App) {
  return {
    id: app.id,
    slug: app.slug,
    node_id: nodeId('App', app.id),
    client_id: `Iv1.${app.id.toString(16).padStart(16, '0')}`,
    owner: renderAccount(state, 'towline-tests'),
    name: app.slug,
    description: '',
    external_url: `${state.baseUrl}/apps/${app.slug}`,
    html_url: `${state.baseUrl}/apps/${app.slug}`,
    created_at: app.createdAt,
    updated_at: app.createdAt,
    permissions: { metadata: 'read', ...app.permissions },
    events: app.events,
  }
}

export function renderInstallation(state: State, installation: Installation) {
  const { app, id, account } = installation
  return {
    id,
    account: renderAccount(state, account),
    repository_selection: installation.repos === 'all' ? 'all' : 'selected',
    access_tokens_url: `${state.baseUrl}/api/v3/app/installations/${id}/access_tokens`,
    repositories_url: `${state.baseUrl}/api/v3/installation/repositories`,
    html_url: `${state.baseUrl}/organizations/${account}/settings/installations/${id}`,
    app_id: app.id,
    app_slug: app.slug,
    target_id: accountId(state, account),
    target_type: 'Organization',
    permissions: { metadata: 'read', ...app.permissions },
    events: app.events,
    created_at: installation.createdAt,
    updated_at: installation.createdAt,
    single_file_name: null,
    has_multiple_single_files: false,
    single_file_paths: [],
    suspended_by: null,
    suspended_at: null,
  }
}

export function renderCommit(state: State, repo: Repo, commit: Commit) {
  const url = repoUrl(state, repo)
  return {
    sha: commit.sha,
    node_id: nodeId('Commit', commit.sha),
    url: `${url}/commits/${commit.sha}`,
    html_url: `${state.baseUrl}/${repo.fullName}/commit/${commit.sha}`,
    comments_url: `${url}/commits/${commit.sha}/comments`,
    commit: {
      url: `${url}/git/commits/${commit.sha}`,
      author: commit.author,
      committer: commit.committer,
      message: commit.message,
      tree: { sha: commit.treeSha, url: `${url}/git/trees/${commit.treeSha}` },
      comment_count: 0,
      verification: {
        verified: false,
        reason: 'unsigned',
        signature: null,
        payload: null,
        verified_at: null,
      },
    },
    author: null,
    committer: null,
    parents: commit.parents.map((sha) => ({ sha, url: `${url}/commits/${sha}` })),
  }
}

export function renderCheckRun(state: State, run: CheckRunRecord) {
  const url = `${repoUrl(state, run.repo)}/check-runs/${run.id}`
  const html = `${state.baseUrl}/${run.repo.fullName}/runs/${run.id}`
  return {
    id: run.id,
    node_id: nodeId('CheckRun', run.id),
    name: run.name,
    head_sha: run.headSha,
    external_id: run.externalId,
    url,
    html_url: html,
    details_url: run.detailsUrl ?? `${state.baseUrl}/apps/${run.app.slug}`,
    status: run.status,
    conclusion: run.conclusion,
    started_at: run.startedAt,
    completed_at: run.completedAt,
    output: {
      title: run.title,
      summary: run.summary,
      text: run.text,
      annotations_count: run.annotations.length,
      annotations_url: `${url}/annotations`,
    },
    check_suite: { id: run.suite.id },
    app: renderApp(state, run.app),
    pull_requests: [],
  }
}

export function renderAnnotation(state: State, run: CheckRunRecord, annotation: Annotation) {
  return {
    path: annotation.path,
    blob_href: `${state.baseUrl}/${run.repo.fullName}/blob/${run.headSha}/${annotation.path}`,
    start_line: annotation.start_line,
    end_line: annotation.end_line,
    start_column: annotation.start_column ?? null,
    end_column: annotation.end_column ?? null,
    annotation_level: annotation.annotation_level,
    title: annotation.title ?? null,
    message: annotation.message,
    raw_details: annotation.raw_details ?? null,
  }
}

export function renderCheckSuite(
  state: State,
  suite: CheckSuiteRecord,
  { headCommit, runCount }: { headCommit: Commit; runCount: number },
) {
  const url = `${repoUrl(state, suite.repo)}/check-suites/${suite.id}`
  return {
    id: suite.id,
    node_id: nodeId('CheckSuite', suite.id),
    head_branch: suite.headBranch,
    head_sha: suite.headSha,
    status: suite.status,
    conclusion: suite.conclusion,
    url,
    before: suite.before,
    after: suite.headSha,
    pull_requests: [],
    app: renderApp(state, suite.app),
    created_at: suite.createdAt,
    updated_at: suite.updatedAt,
    rerequestable: true,
    runs_rerequestable: true,
    latest_check_runs_count: runCount,
    check_runs_url: `${url}/check-runs`,
    head_commit: {
      id: headCommit.sha,
      tree_id: headCommit.treeSha,
      message: headCommit.message,
      timestamp: headCommit.committer.date,
      author: { name: headCommit.author.name, email: headCommit.author.email },
      committer: { name: headCommit.committer.name, email: headCommit.committer.email },
    },
  }
}

/** A commit as a push webhook carries it. */
export function renderPushedCommit(state: State, repo: Repo, commit: PushedCommit) {
  return {
    id: commit.sha,
    tree_id: commit.treeSha,
    distinct: true,
    message: commit.message,
    timestamp: commit.committer.date,
    url: `${state.baseUrl}/${repo.fullName}/commit/${commit.sha}`,
    author: { name: commit.author.name, email: commit.author.email },
    committer: { name: commit.committer.name, email: commit.committer.email },
    added: commit.added,
    removed: commit.removed,
    modified: commit.modified,
  }
}

export function repoUrl(state: State, repo: Repo): string {
  return `${state.baseUrl}/api/v3/repos/${repo.fullName}`
}

function nodeId(kind: string, id: number | string): string {
  return Buffer.from(`${kind}${id}`).toString('base64url')
}
