/**
 * A GitHub for tests and the demo: the part of GitHub Enterprise Server that an App like Towline meets, with real git
 * over HTTP, real signatures and GitHub's refusals. It listens on loopback only. How it differs from GitHub is in
 * `docs/github-stand-in.md`.
 */

import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { gitHttpHandler } from '../git-server.ts'
import { answerApi, sendAnswer } from './api.ts'
import { issueUserToken } from './callers.ts'
import type { CheckRunRecord } from './check-state.ts'
import { rerequestRun, rerequestSuite } from './checks.ts'
import type { Outbox } from './events.ts'
import { type Cut, createFaults, type Failure } from './faults.ts'
import { createGitAccess, gitCaller } from './git-access.ts'
import { createRateLimit } from './rate-limit.ts'
import { createRequestLog, type RecordedRequest } from './requests.ts'
import { type AppOptions, addRepo, installApp, registerApp, type WebhookTarget } from './setup.ts'
import { type App, createState, type State } from './state.ts'
import { createWebhooks, type Delivery, post, sign } from './webhooks.ts'

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
  const gitAccess = createGitAccess(outbox)
  const git = gitHttpHandler({
    root: folder,
    authorize: (request) => gitAccess.authorize(request),
    onPush: ({ repo, ...update }) => gitAccess.announce(repo, update),
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
    await gitAccess.settled()
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
    installApp: (installOptions) => installApp(outbox, { app, ...installOptions }),
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
