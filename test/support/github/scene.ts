import { createSign } from 'node:crypto'
import { Octokit } from '@octokit/rest'
import { vi } from 'vitest'
import type { WorkTree } from '../git-server.ts'
import { type GitHubOptions, type GitHubStandIn, startGitHub } from './server.ts'
import type { App } from './state.ts'
import { startWebhookSink, type WebhookSink } from './webhook-sink.ts'
import { openGitHubWorkTree } from './work-tree.ts'

export type Scene = AsyncDisposable & {
  github: GitHubStandIn
  sink: WebhookSink
  tree: WorkTree
  /** The first commit of `acme/config`. */
  sha: string
  installationId: number
}

/** What most tests begin with: the App installed on the private `acme/config`, one commit pushed, webhooks to a sink. */
export async function startScene(options: GitHubOptions = {}): Promise<Scene> {
  const sink = await startWebhookSink()
  const github = await startGitHub({ webhook: { url: sink.url, secret: 'a webhook secret' }, ...options })
  await github.addRepo('acme/config')
  const installationId = github.installApp({ repos: ['acme/config'] })
  const tree = await openGitHubWorkTree(github, 'acme/config')
  const sha = await tree.commit({ write: { 'apps/hello.yaml': 'name: hello\n' }, message: 'Add hello' })
  await tree.push()
  return {
    github,
    sink,
    tree,
    sha,
    installationId,
    async [Symbol.asyncDispose]() {
      await tree[Symbol.asyncDispose]()
      await github.close()
      await sink[Symbol.asyncDispose]()
    },
  }
}

/** Waits for what comes by webhook. The bound is for a busy machine; it normally takes milliseconds. */
export async function eventually(check: () => void): Promise<void> {
  await vi.waitFor(check, { timeout: 15_000, interval: 20 })
}

/** A JWT as an App signs it, with any claim replaced. */
export function appJwt(app: App, claims: Record<string, unknown> = {}, key = app.privateKey): string {
  const now = Math.floor(Date.now() / 1000)
  const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const signed = `${encode({ alg: 'RS256', typ: 'JWT' })}.${encode({ iat: now - 30, exp: now + 540, iss: app.id, ...claims })}`
  return `${signed}.${createSign('RSA-SHA256').update(signed).sign(key, 'base64url')}`
}

/** GitHub's own client, with a JWT, a token or nothing. */
export function octokit(github: GitHubStandIn, auth?: string): Octokit {
  const quiet = { debug() {}, info() {}, warn() {}, error() {} }
  return new Octokit({ baseUrl: `${github.url}/api/v3`, log: quiet, ...(auth === undefined ? {} : { auth }) })
}

/** A client with an installation token of an App, narrowed by `body` where given. */
export async function installationClient(
  github: GitHubStandIn,
  { app = github.app, ...body }: { app?: App; permissions?: Record<string, 'read' | 'write'> } = {},
): Promise<Octokit> {
  return octokit(github, await installationToken(github, { app, ...body }))
}

export async function installationToken(
  github: GitHubStandIn,
  { app = github.app, ...body }: { app?: App; permissions?: Record<string, 'read' | 'write'> } = {},
): Promise<string> {
  const client = octokit(github, appJwt(app))
  const { data } = await client.rest.apps.getRepoInstallation({ owner: 'acme', repo: 'config' })
  const created = await client.rest.apps.createInstallationAccessToken({ installation_id: data.id, ...body })
  return created.data.token
}
