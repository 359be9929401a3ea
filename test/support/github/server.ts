/**
 * A GitHub for tests and the demo: the part of GitHub Enterprise Server that an App like Towline meets, with real git
 * over HTTP, real signatures and GitHub's refusals. It listens on loopback only. How it differs from GitHub is in
 * `docs/github-stand-in.md`.
 */

import { generateKeyPair } from 'node:crypto'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import { createBareRepo, type GitRequest, type GitVerdict, gitHttpHandler } from '../git-server.ts'
import { answerApi, sendAnswer } from './api.ts'
import { callerOfToken, describeCaller, holds, issueUserToken } from './callers.ts'
import type { CheckRunRecord } from './check-state.ts'
import { rerequestRun, rerequestSuite } from './checks.ts'
import { announceInstallation, announcePush, type Outbox, type RefUpdate } from './events.ts'
import { type Cut, createFaults, type Failure } from './faults.ts'
import { createRateLimit } from './rate-limit.ts'
import { createRequestLog, type RecordedRequest } from './requests.ts'
import { type App, allows, createState, installationsOf, type Permissions, type State } from './state.ts'
import { isoSeconds } from './time.ts'
import { createWebhooks, type Delivery, post, sign } from './webhooks.ts'

export type WebhookTarget = { url: string; secret: string }

export type AppOptions = {
  slug?: string
  permissions?: Permissions
  events?: string[]
  webhook?: WebhookTarget
}

export type GitHubOptions = AppOptions & {
  /** Default: a free one. */
  port?: number
  /** Where the git repositories lie. Default: a temporary folder that goes away with `close`. */
  folder?: string
  /** GitHub's primary rate limit for one caller. Default 5,000. */
  requestsPerHour?: number
}

/** A check run as it stands, with every write it got. */
export type CheckRunView = Omit<CheckRunRecord, 'app' | 'repo' | 'suite'> & {
  appId: number
  repo: string
  suiteId: number
}

export type GitHubStandIn = AsyncDisposable & {
  /** `127.0.0.1:<port>`: Towline's `GHE_HOST`, with `GHE_PROTOCOL=http`. */
  host: string
  port: number
  /** `http://127.0.0.1:<port>` */
  url: string
  /** The App registered at the start. */
  app: App
  registerApp(options?: AppOptions): Promise<App>
  /** Where an App's webhooks go from now on; null for nowhere. */
  setWebhook(webhook: WebhookTarget | null, app?: App): void
  addRepo(fullName: string, options?: { private?: boolean; defaultBranch?: string }): Promise<void>
  /** Installs an App on repositories of one account, and tells it. */
  installApp(options: { repos: string[] | 'all'; account?: string; app?: App }): number
  /** A token of a person who may see and push to every repository. */
  userToken(login?: string): string
  /** Makes every installation token invalid, as an hour's time does. */
  expireTokens(): void
  /** The repository's URL, without credentials. */
  gitUrl(fullName: string): string
  /** The bare repository on disk. What is pushed there directly tells nobody. */
  gitFolder(fullName: string): string
  /** Arguments to put before git's command so that it may push: `git <these> push …`. No token gets into a URL. */
  pushArgs(login?: string): string[]

  /** Everything asked of the API and of git, oldest first, without credentials. */
  requests: readonly RecordedRequest[]
  /** Requests to paths this GitHub does not know. */
  readonly unknownRequests: RecordedRequest[]
  /** Check runs of a repository, oldest first. */
  checkRuns(fullName: string, sha?: string): CheckRunView[]
  rerequestRun(id: number, options?: { sender?: string }): void
  /** "Re-run all checks" of every App that has runs on the commit. */
  rerequestSuite(sha: string, options?: { sender?: string }): Promise<void>

  /** Webhooks that were sent, oldest first. */
  deliveries: readonly Delivery[]
  /** Webhooks wait, as in an incident at GitHub. */
  pauseWebhooks(): void
  resumeWebhooks(): void
  /** Forgets the webhooks that wait: they never come. Returns how many. */
  dropWebhooks(): number
  /** Sends a delivery again under its GUID. */
  redeliver(guid: string): void
  /** Posts exactly these bytes and headers to an App's webhook: unsigned, too large, out of order, forged. */
  deliverRaw(
    request: { body: string | Uint8Array; headers?: Record<string, string> },
    app?: App,
  ): Promise<{ status: number; body: string }>
  /** The `X-Hub-Signature-256` of a body under an App's secret. */
  sign(body: string | Uint8Array, app?: App): string

  failNext(failure: Failure): void
  cutNext(cut: Cut): void
  /** How long every answer waits from now on. */
  setLatency(ms: number): void
  clearFaults(): void
  close(): Promise<void>
}

const defaultPermissions: Permissions = {
  contents: 'read',
  checks: 'write',
  deployments: 'write',
  pull_requests: 'write',
}
const defaultEvents = ['push', 'pull_request', 'check_run', 'check_suite']

/** Starts a GitHub with one App registered and nothing else. */
export async function startGitHub(options: GitHubOptions = {}): Promise<GitHubStandIn> {
  const folder = options.folder ?? (await mkdtemp(join(tmpdir(), 'towline-github-')))
  await mkdir(folder, { recursive: true })
  const state = createState()
  const closing = new AbortController()
  const webhooks = createWebhooks(state, { signal: closing.signal })
  const outbox: Outbox = { state, webhooks }
  const faults = createFaults()
  const log = createRequestLog()
  const rateLimit = createRateLimit(options.requestsPerHour ?? 5_000)
  const pushes = createPushes(outbox)
  const git = gitHttpHandler({
    root: folder,
    authorize: (request) => pushes.authorize(request),
    onPush: ({ repo, ...update }) => pushes.announce(repo, update),
  })

  async function serve(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const method = req.method ?? 'GET'
    const url = new URL(req.url ?? '/', state.baseUrl)
    const entry = log.add(method, url.pathname + url.search)
    res.once('finish', () => {
      entry.status = res.statusCode
    })
    if (faults.latencyMs() > 0) await delay(faults.latencyMs(), undefined, { signal: closing.signal })
    const fault = faults.take(method, url.pathname)
    if (fault?.kind === 'fail') return sendAnswer(res, fault)
    if (fault?.kind === 'cut' && fault.moment === 'before') return void req.socket.destroy()
    if (url.pathname.startsWith('/api/v3/')) {
      const answer = await answerApi(outbox, req, { url, rateLimit, entry })
      if (fault?.kind === 'cut') return void req.socket.destroy()
      return sendAnswer(res, answer)
    }
    if (fault?.kind === 'cut') return void req.socket.destroy()
    entry.caller = gitCaller(state, req)
    if (git(req, res)) return
    entry.unknown = true
    sendAnswer(res, { status: 404, body: { message: 'Not Found' } })
  }

  const server = createServer((req, res) => {
    serve(req, res).catch((error: unknown) => {
      if (closing.signal.aborted) return void res.destroy()
      sendAnswer(res, { status: 500, body: { message: `The stand-in failed: ${String(error)}` } })
    })
  })
  const port = await listen(server, options.port ?? 0)
  state.baseUrl = `http://127.0.0.1:${port}`
  const app = await registerApp(state, options)

  const userTokens = new Map<string, string>()
  function userToken(login = 'dev'): string {
    const token = userTokens.get(login) ?? issueUserToken(state, login)
    userTokens.set(login, token)
    return token
  }

  async function close(): Promise<void> {
    closing.abort()
    webhooks.drop()
    const closed = new Promise((resolve) => server.close(resolve))
    server.closeAllConnections()
    await closed
    await pushes.settled()
    if (options.folder === undefined) await rm(folder, { recursive: true, force: true })
  }

  return {
    host: `127.0.0.1:${port}`,
    port,
    url: state.baseUrl,
    app,
    registerApp: (appOptions = {}) => registerApp(state, appOptions),
    setWebhook(webhook, of = app) {
      of.webhook = webhook
    },
    addRepo: (fullName, repoOptions = {}) => addRepo(state, fullName, { folder, ...repoOptions }),
    installApp: (installOptions) => install(outbox, { app, ...installOptions }),
    userToken,
    expireTokens() {
      for (const token of state.tokens.values()) if (token.kind === 'installation') token.expiresAtMs = 0
    },
    gitUrl: (fullName) => `${state.baseUrl}/${fullName}.git`,
    gitFolder(fullName) {
      const repo = state.repos.get(fullName)
      if (!repo) throw new Error(`there is no repository ${fullName}`)
      return repo.gitFolder
    },
    pushArgs(login = 'dev') {
      const credentials = Buffer.from(`${login}:${userToken(login)}`).toString('base64')
      return ['-c', `http.${state.baseUrl}/.extraHeader=Authorization: Basic ${credentials}`]
    },
    requests: log.requests,
    get unknownRequests() {
      return log.requests.filter((request) => request.unknown)
    },
    checkRuns: (fullName, sha) => checkRuns(state, fullName, sha),
    rerequestRun(id, { sender = 'dev' } = {}) {
      const run = state.runs.get(id)
      if (!run) throw new Error(`there is no check run ${id}`)
      rerequestRun(outbox, run, { sender })
    },
    async rerequestSuite(sha, { sender = 'dev' } = {}) {
      const withRuns = new Set([...state.runs.values()].map((run) => run.suite))
      const suites = [...withRuns].filter((suite) => suite.headSha === sha)
      if (suites.length === 0) throw new Error(`no check suite of ${sha} has runs`)
      for (const suite of suites) await rerequestSuite(outbox, suite, { sender })
    },
    deliveries: webhooks.deliveries,
    pauseWebhooks: webhooks.pause,
    resumeWebhooks: webhooks.resume,
    dropWebhooks: webhooks.drop,
    redeliver(guid) {
      const delivery = webhooks.deliveries.find((one) => one.guid === guid)
      if (!delivery) throw new Error(`there is no delivery ${guid}`)
      webhooks.redeliver(delivery)
    },
    async deliverRaw({ body, headers = {} }, to = app) {
      if (!to.webhook) throw new Error(`the App ${to.slug} has no webhook`)
      return await post(to.webhook.url, { body, headers, signal: closing.signal })
    },
    sign: (body, of = app) => sign(body, of.webhook?.secret ?? ''),
    failNext: faults.failNext,
    cutNext: faults.cutNext,
    setLatency: faults.setLatency,
    clearFaults: faults.clear,
    close,
    [Symbol.asyncDispose]: close,
  }
}

async function registerApp(state: State, options: AppOptions): Promise<App> {
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

async function addRepo(
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

function install(
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

function checkRuns(state: State, fullName: string, sha?: string): CheckRunView[] {
  return [...state.runs.values()]
    .filter((run) => run.repo.fullName === fullName && (sha === undefined || run.headSha === sha))
    .map(({ app, repo, suite, ...run }) => ({
      ...structuredClone(run),
      appId: app.id,
      repo: repo.fullName,
      suiteId: suite.id,
    }))
}

/** Who may use git, and what the Apps hear of a push. */
function createPushes(outbox: Outbox) {
  const { state } = outbox
  const pushers = new Map<string, string>()
  const pending = new Set<Promise<void>>()

  return {
    authorize({ repo: fullName, service, password }: GitRequest): GitVerdict {
      const repo = state.repos.get(fullName)
      const isPush = service === 'receive-pack'
      if (password === null) return repo && !repo.private && !isPush ? 'ok' : 'unauthorized'
      const caller = callerOfToken(state, password)
      if (!caller) return 'unauthorized'
      if (!repo) return 'not-found'
      if (caller.kind === 'user') {
        if (isPush) pushers.set(fullName, caller.login)
        return 'ok'
      }
      if (!holds(caller, repo)) return 'not-found'
      if (isPush) pushers.set(fullName, `${caller.installation.app.slug}[bot]`)
      return allows(caller.permissions, 'contents', isPush ? 'write' : 'read') ? 'ok' : 'forbidden'
    },
    announce(fullName: string, update: RefUpdate): void {
      const repo = state.repos.get(fullName)
      if (!repo) return
      const work = announcePush(outbox, repo, { update, pusher: pushers.get(fullName) ?? 'ghost' })
      pending.add(work)
      void work.finally(() => pending.delete(work))
    },
    async settled(): Promise<void> {
      await Promise.allSettled(pending)
    },
  }
}

/** The caller behind git's Basic credentials, in words. */
function gitCaller(state: State, req: IncomingMessage): string {
  const encoded = req.headers.authorization?.replace(/^basic /i, '') ?? ''
  const password = Buffer.from(encoded, 'base64')
    .toString('utf8')
    .replace(/^[^:]*:/, '')
  return describeCaller(callerOfToken(state, password) ?? { kind: 'anonymous' })
}

/** Loopback only: this server gives away private keys. */
async function listen(server: Server, port: number): Promise<number> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, '127.0.0.1', resolve)
  })
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('the server has no port')
  return address.port
}
