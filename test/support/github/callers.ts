import { randomBytes } from 'node:crypto'
import { notFound, Refusal } from './answer.ts'
import { verifyAppJwt } from './jwt.ts'
import {
  type Access,
  type App,
  allows,
  covers,
  type Installation,
  type InstallationToken,
  type Permissions,
  type Repo,
  type State,
  type UserToken,
} from './state.ts'
import { isoSeconds } from './time.ts'

/** Who calls. */
export type Caller = { kind: 'anonymous' } | { kind: 'app'; app: App } | InstallationToken | UserToken

const tokenLifeMs = 60 * 60 * 1000

/** @throws Refusal 401 where the credentials are not good. */
export function identify(state: State, authorization: string | undefined): Caller {
  if (!authorization) return { kind: 'anonymous' }
  const [scheme = '', credentials = ''] = authorization.split(/\s+/, 2)
  if (!/^(bearer|token)$/i.test(scheme)) throw badCredentials()
  if (/^[\w-]+\.[\w-]+\.[\w-]+$/.test(credentials) && credentials.startsWith('eyJ')) {
    return { kind: 'app', app: verifyAppJwt(state, credentials) }
  }
  return callerOfToken(state, credentials) ?? refuse(badCredentials())
}

/** The caller a token stands for, or null where it is unknown or has expired. */
export function callerOfToken(state: State, token: string): InstallationToken | UserToken | null {
  const caller = state.tokens.get(token)
  if (!caller) return null
  return caller.kind === 'installation' && caller.expiresAtMs <= Date.now() ? null : caller
}

/** Words for the record of requests and the key of rate limits; never the credentials. */
export function describeCaller(caller: Caller): string {
  switch (caller.kind) {
    case 'anonymous':
      return 'anonymous'
    case 'app':
      return `app ${caller.app.id}`
    case 'installation':
      return `installation ${caller.installation.id}`
    case 'user':
      return `user ${caller.login}`
    default:
      return caller satisfies never
  }
}

/** @throws Refusal 401 for every caller that is not an App with its JWT. */
export function requireApp(caller: Caller): App {
  if (caller.kind === 'app') return caller.app
  throw new Refusal(401, 'A JSON web token could not be decoded')
}

/** @throws Refusal 403 for every caller without an installation token. */
export function requireInstallation(caller: Caller): InstallationToken {
  if (caller.kind === 'installation') return caller
  throw new Refusal(
    403,
    'You must authenticate with an installation access token in order to list repositories.',
  )
}

/**
 * The repository, where the caller may see it and has the permission. What a caller may not see is 404, what it may
 * see and not do is 403, as at GitHub.
 */
export function requireAccess(
  state: State,
  caller: Caller,
  { fullName, permission, level }: { fullName: string; permission: string; level: Access },
): Repo {
  const repo = state.repos.get(fullName)
  if (!repo || !canSee(caller, repo)) throw notFound()
  if (!may(caller, repo, { permission, level })) {
    throw new Refusal(403, 'Resource not accessible by integration')
  }
  return repo
}

/** Users of this GitHub may do everything a user can; the rest is up to permissions. */
function may(
  caller: Caller,
  repo: Repo,
  { permission, level }: { permission: string; level: Access },
): boolean {
  if (caller.kind === 'user') return true
  if (caller.kind === 'installation' && holds(caller, repo)) {
    return allows(caller.permissions, permission, level)
  }
  return !repo.private && level === 'read' && caller.kind !== 'app'
}

function canSee(caller: Caller, repo: Repo): boolean {
  if (!repo.private || caller.kind === 'user') return true
  return caller.kind === 'installation' && holds(caller, repo)
}

/** Whether a token reaches a repository, whatever it may do there. */
export function holds(token: InstallationToken, repo: Repo): boolean {
  return covers(token.installation, repo) && (token.repos === null || token.repos.has(repo.fullName))
}

/** A new installation token. Like GitHub's since 2026 it is long and holds dots, dashes and underscores. */
export function issueInstallationToken(
  state: State,
  installation: Installation,
  { repos, permissions }: { repos: Set<string> | null; permissions: Permissions },
): { token: string; expiresAt: string } {
  const part = (byteCount: number) => randomBytes(byteCount).toString('base64url')
  const token = `ghs_${installation.app.id}_${part(30)}.${part(120)}.${part(60)}`
  const expiresAtMs = Date.now() + tokenLifeMs
  state.tokens.set(token, { kind: 'installation', installation, repos, permissions, expiresAtMs })
  return { token, expiresAt: isoSeconds(expiresAtMs) }
}

export function issueUserToken(state: State, login: string): string {
  const token = `ghp_${randomBytes(27).toString('base64url').replaceAll(/[-_]/g, '0')}`
  state.tokens.set(token, { kind: 'user', login })
  return token
}

/** Replaces all that looks like a credential, so that a record of requests can be printed. */
export function redact(text: string): string {
  return text
    .replaceAll(/gh[psour]_[\w.-]+/g, '[redacted]')
    .replaceAll(/eyJ[\w-]+\.[\w-]+\.[\w-]+/g, '[redacted]')
    .replaceAll(/\/\/[^/@\s]+@/g, '//[redacted]@')
}

function badCredentials(): Refusal {
  return new Refusal(401, 'Bad credentials')
}

function refuse(refusal: Refusal): never {
  throw refusal
}
