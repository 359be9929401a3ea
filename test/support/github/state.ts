import type { KeyObject } from 'node:crypto'
import type { CheckRunRecord, CheckSuiteRecord } from './check-state.ts'

export type Access = 'read' | 'write' | 'admin'
export type Permissions = Record<string, Access>

export type App = {
  id: number
  slug: string
  /** PEM. Real GitHub never gives it back; a test needs it. */
  privateKey: string
  publicKey: KeyObject
  permissions: Permissions
  events: string[]
  webhook: { url: string; secret: string } | null
  hookId: number
  createdAt: string
}

export type Installation = {
  id: number
  app: App
  account: string
  /** Full names of the repositories, or all of the account. */
  repos: 'all' | Set<string>
  createdAt: string
}

export type Repo = {
  id: number
  fullName: string
  owner: string
  name: string
  private: boolean
  defaultBranch: string
  /** The bare repository on disk. */
  gitFolder: string
  createdAt: string
  pushedAt: string
}

export type InstallationToken = {
  kind: 'installation'
  installation: Installation
  /** null: all the installation has. */
  repos: Set<string> | null
  permissions: Permissions
  expiresAtMs: number
}

export type UserToken = { kind: 'user'; login: string }

/** All that this GitHub knows. It lives in memory; only the git repositories are on disk. */
export type State = {
  baseUrl: string
  apps: Map<number, App>
  installations: Map<number, Installation>
  /** By full name. */
  repos: Map<string, Repo>
  tokens: Map<string, InstallationToken | UserToken>
  suites: CheckSuiteRecord[]
  runs: Map<number, CheckRunRecord>
  accountIds: Map<string, number>
  nextId(): number
}

export function createState(): State {
  // One counter for all kinds of ids: an id of the wrong kind is never found by luck.
  let lastId = 1000
  return {
    baseUrl: '',
    apps: new Map(),
    installations: new Map(),
    repos: new Map(),
    tokens: new Map(),
    suites: [],
    runs: new Map(),
    accountIds: new Map(),
    nextId: () => ++lastId,
  }
}

export function covers(installation: Installation, repo: Repo): boolean {
  if (installation.repos === 'all') return installation.account === repo.owner
  return installation.repos.has(repo.fullName)
}

export function installationsOf(state: State, repo: Repo): Installation[] {
  return [...state.installations.values()].filter((installation) => covers(installation, repo))
}

export function accountId(state: State, login: string): number {
  const known = state.accountIds.get(login)
  if (known !== undefined) return known
  const id = state.nextId()
  state.accountIds.set(login, id)
  return id
}

const ranks: Access[] = ['read', 'write', 'admin']

/** Whether permissions reach a level; `write` includes `read`. Every App may read metadata. */
export function allows(permissions: Permissions, name: string, level: Access): boolean {
  if (name === 'metadata' && level === 'read') return true
  const granted = permissions[name]
  return granted !== undefined && ranks.indexOf(granted) >= ranks.indexOf(level)
}
