import { type Answer, invalidRequest, notFound, paginate, Refusal } from './answer.ts'
import { holds, issueInstallationToken, requireApp, requireInstallation } from './callers.ts'
import { renderApp, renderInstallation, renderRepo } from './render.ts'
import { type Call, param, type Route, repoParam, route } from './route.ts'
import {
  type Access,
  allows,
  covers,
  type Installation,
  installationsOf,
  type Permissions,
  type Repo,
} from './state.ts'

/** GitHub Apps: who an App is, where it is installed, and its installation tokens. */
export const appRoutes: Route[] = [
  route('GET', '/app', (call) => ({ status: 200, body: renderApp(call.state, requireApp(call.caller)) })),
  route('GET', '/app/installations', listInstallations),
  route('GET', '/app/installations/:id', (call) => ({
    status: 200,
    body: renderInstallation(call.state, ownInstallation(call)),
  })),
  route('POST', '/app/installations/:id/access_tokens', createToken),
  route('GET', '/repos/:owner/:repo/installation', findInstallation),
  route('GET', '/installation/repositories', listRepositories),
]

function listInstallations(call: Call): Answer {
  const app = requireApp(call.caller)
  const own = [...call.state.installations.values()].filter((installation) => installation.app === app)
  const { page, headers } = paginate(own, call.url)
  return { status: 200, body: page.map((one) => renderInstallation(call.state, one)), headers }
}

function findInstallation(call: Call): Answer {
  const app = requireApp(call.caller)
  const repo = call.state.repos.get(repoParam(call))
  const found = repo && installationsOf(call.state, repo).find((installation) => installation.app === app)
  if (!found) throw notFound()
  return { status: 200, body: renderInstallation(call.state, found) }
}

function listRepositories(call: Call): Answer {
  const token = requireInstallation(call.caller)
  const repos = [...call.state.repos.values()].filter((repo) => holds(token, repo))
  const { page, headers } = paginate(repos, call.url)
  const body = {
    total_count: repos.length,
    repository_selection: selection(token.installation, token.repos),
    repositories: page.map((repo) => renderRepo(call.state, repo)),
  }
  return { status: 200, body, headers }
}

/** A token for all the installation may do, or for less. @throws Refusal 422 where more is asked than was granted. */
function createToken(call: Call): Answer {
  const installation = ownInstallation(call)
  const asked = parseTokenRequest(call.body)
  const permissions = narrowPermissions(installation, asked.permissions)
  const repos = narrowRepos(call, installation, asked)
  const fullNames = repos && new Set(repos.map((repo) => repo.fullName))
  const { token, expiresAt } = issueInstallationToken(call.state, installation, {
    repos: fullNames,
    permissions,
  })
  const body = {
    token,
    expires_at: expiresAt,
    permissions: { metadata: 'read', ...permissions },
    repository_selection: selection(installation, fullNames),
    ...(repos ? { repositories: repos.map((repo) => renderRepo(call.state, repo)) } : {}),
  }
  return { status: 201, body }
}

type TokenRequest = {
  repositories: string[] | null
  repositoryIds: number[] | null
  permissions: Permissions | null
}

function parseTokenRequest(body: unknown): TokenRequest {
  const given = new Map<string, unknown>(
    typeof body === 'object' && body !== null ? Object.entries(body) : [],
  )
  const [repositories, ids, permissions] = ['repositories', 'repository_ids', 'permissions'].map((key) => {
    const value = given.get(key)
    given.delete(key)
    return value
  })
  for (const key of given.keys()) throw invalidRequest(`"${key}" is not a permitted key.`)
  if (repositories !== undefined && !isArrayOf(repositories, isString)) {
    throw invalidRequest("For 'properties/repositories', the value is not an array of strings.")
  }
  if (ids !== undefined && !isArrayOf(ids, isNumber)) {
    throw invalidRequest("For 'properties/repository_ids', the value is not an array of integers.")
  }
  if (permissions !== undefined && !isPermissions(permissions)) {
    throw invalidRequest(
      'For \'properties/permissions\', a value is not a member of ["read", "write", "admin"].',
    )
  }
  return { repositories: repositories ?? null, repositoryIds: ids ?? null, permissions: permissions ?? null }
}

function narrowPermissions({ app }: Installation, asked: Permissions | null): Permissions {
  if (asked === null) return { ...app.permissions }
  for (const [name, level] of Object.entries(asked)) {
    if (!allows(app.permissions, name, level)) {
      throw new Refusal(422, 'The permissions requested are not granted to this installation.')
    }
  }
  return asked
}

function narrowRepos(call: Call, installation: Installation, asked: TokenRequest): Repo[] | null {
  if (asked.repositories === null && asked.repositoryIds === null) return null
  const own = [...call.state.repos.values()].filter((repo) => covers(installation, repo))
  const named = (asked.repositories ?? []).map((name) => own.find((repo) => repo.name === name))
  const numbered = (asked.repositoryIds ?? []).map((id) => own.find((repo) => repo.id === id))
  return [...named, ...numbered].map((repo) => {
    if (repo) return repo
    throw new Refusal(
      422,
      'There is at least one repository that does not exist or is not accessible to the parent installation.',
    )
  })
}

function ownInstallation(call: Call): Installation {
  const app = requireApp(call.caller)
  const installation = call.state.installations.get(Number(param(call, 'id')))
  if (installation?.app !== app) throw notFound()
  return installation
}

function selection(installation: Installation, repos: Set<string> | null): 'all' | 'selected' {
  return installation.repos === 'all' && repos === null ? 'all' : 'selected'
}

function isArrayOf<T>(value: unknown, is: (item: unknown) => item is T): value is T[] {
  return Array.isArray(value) && value.every(is)
}

function isString(value: unknown): value is string {
  return typeof value === 'string'
}

function isNumber(value: unknown): value is number {
  return Number.isInteger(value)
}

function isPermissions(value: unknown): value is Permissions {
  const levels: readonly unknown[] = ['read', 'write', 'admin'] satisfies Access[]
  return (
    typeof value === 'object' &&
    value !== null &&
    Object.values(value).every((level) => levels.includes(level))
  )
}
