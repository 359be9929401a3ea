import type { Logger } from 'pino'
import { Probot, ProbotOctokit } from 'probot'
import type { Delivery } from '../engine/records.ts'
import { requestTimeoutMs } from './error.ts'
import { heededEvents, hintsOf } from './hints.ts'

/** GitHub as an App is told to reach it. Urls have no slash at the end. */
export type GitHubAddress = { apiUrl: string; gitUrl: string }

/** github.com, or a GitHub Enterprise Server: its API is under `/api/v3`, its git beside it. */
export function gitHubAddress({ host, protocol }: { host: string | null; protocol: string }): GitHubAddress {
  if (host === null) return { apiUrl: 'https://api.github.com', gitUrl: 'https://github.com' }
  return { apiUrl: `${protocol}://${host}/api/v3`, gitUrl: `${protocol}://${host}` }
}

/** What became of a webhook request, as an HTTP answer. */
export type WebhookAnswer = { status: 202 | 400 | 401; message: string }

export type WebhookRequest = {
  body: Buffer
  /** GitHub's headers, or undefined where one is missing. */
  deliveryGuid: string | undefined
  event: string | undefined
  signature: string | undefined
}

export type App = {
  probot: Probot
  /** Verifies, reduces and stores a delivery, then answers. Never acts on it. */
  receive(request: WebhookRequest): Promise<WebhookAnswer>
}

/**
 * The GitHub App. Its handlers turn events into the hint "look again"; `accept` stores that durably before the
 * delivery is acknowledged. Throttling and retries of Octokit are off: the outbox paces and repeats writes, and a
 * blind repeat of a POST could make a check run twice.
 */
export function createApp(options: {
  appId: number
  privateKey: string
  webhookSecret: string
  address: GitHubAddress
  accept: (delivery: Pick<Delivery, 'guid' | 'hint'>) => Promise<'stored' | 'duplicate'>
  log: Logger
}): App {
  const probot = new Probot({
    appId: options.appId,
    privateKey: options.privateKey,
    secret: options.webhookSecret,
    baseUrl: options.address.apiUrl,
    log: options.log,
    request: { fetch: fetchInTime },
    // A function, because plain defaults lose against those Probot passes itself.
    Octokit: ProbotOctokit.defaults((given: GivenOptions) => ({
      ...given,
      // Probot tells its clients where the API is, but not the part that asks for tokens outside of a request.
      auth: { ...given.auth, request: given.auth.request.defaults({ baseUrl: options.address.apiUrl }) },
      throttle: { enabled: false },
      retry: { enabled: false },
    })),
  })
  const loaded = probot.load((app) => {
    app.on([...heededEvents], async ({ id, name, payload }) => {
      for (const delivery of hintsOf({ guid: id, event: name, payload })) await options.accept(delivery)
    })
  })

  return {
    probot,
    async receive({ body, deliveryGuid, event, signature }) {
      await loaded
      if (!deliveryGuid || !guidPattern.test(deliveryGuid))
        return refuse(400, 'X-GitHub-Delivery is missing or no id')
      if (!event) return refuse(400, 'X-GitHub-Event is missing')
      if (!signature) return refuse(401, 'X-Hub-Signature-256 is missing')
      const text = body.toString('utf8')
      const genuine = await probot.webhooks.verify(text, signature).catch(() => false)
      if (!genuine)
        return refuse(
          401,
          'the signature does not fit the body: is the webhook secret the same on both sides?',
        )
      const payload = parseObject(text)
      if (!payload) return refuse(400, 'the body is not a JSON object')
      await probot.receive({ id: deliveryGuid, name: event, payload } as Parameters<Probot['receive']>[0])
      return { status: 202, message: 'stored' }
    },
  }
}

/** What Probot gives an Octokit at its birth, as far as it is changed here. */
type GivenOptions = { auth: { request: { defaults(options: { baseUrl: string }): unknown } } }

/** Every request ends, also those for a token: Octokit makes them itself and passes no signal on. */
function fetchInTime(input: string, init: RequestInit = {}): Promise<Response> {
  const deadline = AbortSignal.timeout(requestTimeoutMs)
  const signal = init.signal ? AbortSignal.any([init.signal, deadline]) : deadline
  return fetch(input, { ...init, signal })
}

function refuse(status: 400 | 401, message: string): WebhookAnswer {
  return { status, message }
}

function parseObject(text: string): object | null {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? value : null
  } catch {
    return null
  }
}

/** GitHub sends a GUID; anything of that shape is a safe file name and log field. */
const guidPattern = /^[A-Za-z0-9-]{8,64}$/
