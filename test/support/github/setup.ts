/** What an owner does by hand at GitHub: register an App, make a repository, install the App. */

import { generateKeyPair } from 'node:crypto'
import { promisify } from 'node:util'
import { createBareRepo } from '../git-server.ts'
import { announceInstallation, type Outbox } from './events.ts'
import { type App, installationsOf, type Permissions, type State } from './state.ts'
import { isoSeconds } from './time.ts'

export type WebhookTarget = { url: string; secret: string }

export type AppOptions = {
  slug?: string
  permissions?: Permissions
  events?: string[]
  webhook?: WebhookTarget
}

const defaultPermissions: Permissions = {
  contents: 'read',
  checks: 'write',
  deployments: 'write',
  pull_requests: 'write',
}
const defaultEvents = ['push', 'pull_request', 'check_run', 'check_suite']

export async function registerApp(state: State, options: AppOptions): Promise<App> {
  const { privateKey, publicKey } = await promisify(generateKeyPair)('rsa', { modulusLength: 2048 })
  const id = state.nextId()
  const app: App = {
    id,
    slug: options.slug ?? 'towline',
    privateKey: privateKey.export({ type: 'pkcs1', format: 'pem' }).toString(),
    publicKey,
    permissions: options.permissions ?? defaultPermissions,
    events: options.events ?? defaultEvents,
    webhook: options.webhook ?? null,
    hookId: state.nextId(),
    createdAt: isoSeconds(),
  }
  state.apps.set(id, app)
  return app
}

export async function addRepo(
  state: State,
  fullName: string,
  options: { folder: string; private?: boolean; defaultBranch?: string },
): Promise<void> {
  const [owner, name] = fullName.split('/')
  if (!owner || !name) throw new Error(`${fullName} is not owner/name`)
  const defaultBranch = options.defaultBranch ?? 'main'
  const gitFolder = await createBareRepo(options.folder, fullName, { defaultBranch })
  const now = isoSeconds()
  state.repos.set(fullName, {
    id: state.nextId(),
    fullName,
    owner,
    name,
    private: options.private ?? true,
    defaultBranch,
    gitFolder,
    createdAt: now,
    pushedAt: now,
  })
}

export function installApp(
  outbox: Outbox,
  { app, repos, account }: { app: App; repos: string[] | 'all'; account?: string },
): number {
  const { state } = outbox
  const [first] = repos === 'all' ? state.repos.keys() : repos
  const owner = account ?? first?.split('/')[0]
  if (owner === undefined) throw new Error('say which account the App is installed on')
  const installation = {
    id: state.nextId(),
    app,
    account: owner,
    repos: repos === 'all' ? repos : new Set(repos),
    createdAt: isoSeconds(),
  }
  state.installations.set(installation.id, installation)
  const covered = [...state.repos.values()].filter((repo) =>
    installationsOf(state, repo).includes(installation),
  )
  announceInstallation(outbox, installation, covered)
  return installation.id
}
