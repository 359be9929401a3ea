import { createHmac, randomUUID } from 'node:crypto'
import PQueue from 'p-queue'
import type { App, State } from './state.ts'
import { isoSeconds } from './time.ts'

/** GitHub waits this long for an answer, then records the delivery as timed out and never tries again by itself. */
const answerTimeoutMs = 10_000

/** Deliveries under way at once. GitHub keeps no order either. */
const concurrency = 4

/** How many deliveries are remembered: far more than any test makes, small enough for a demo that runs for days. */
const recordLimit = 5_000

/** No answer to a webhook needs more; what comes after is not read. */
const answerByteLimit = 64 * 1024

export type Delivery = {
  id: bigint
  guid: string
  app: App
  event: string
  action: string | null
  installationId: number | null
  repositoryId: number | null
  deliveredAt: string
  redelivery: boolean
  durationSeconds: number
  /** `OK`, or what went wrong in words. */
  status: string
  /** 0 where no answer came. */
  statusCode: number
  request: { headers: Record<string, string>; body: string }
  response: { headers: Record<string, string>; body: string }
}

export type WebhookEvent = {
  event: string
  payload: object
  installationId: number | null
  repositoryId: number | null
}

export type Webhooks = ReturnType<typeof createWebhooks>

/** Signs, sends and remembers webhooks. `signal` ends all that is under way. */
export function createWebhooks(state: State, { signal }: { signal: AbortSignal }) {
  const deliveries: Delivery[] = []
  const queue = new PQueue({ concurrency })

  function enqueue(delivery: Delivery): void {
    void queue.add(async () => {
      await deliver(delivery, signal)
      deliveries.push(delivery)
      if (deliveries.length > recordLimit) deliveries.shift()
    })
  }

  return {
    /** Delivered so far, oldest first. */
    deliveries: deliveries as readonly Delivery[],
    /** Sends an event to an App that has a webhook. */
    send(app: App, event: WebhookEvent): void {
      if (!app.webhook || signal.aborted) return
      enqueue(newDelivery(state, app, event))
    },
    /** Sends a delivery's very bytes once more, under its GUID. */
    redeliver(delivery: Delivery): void {
      enqueue({
        ...delivery,
        id: nextDeliveryId(state),
        redelivery: true,
        response: { headers: {}, body: '' },
      })
    },
    pause: () => queue.pause(),
    resume: () => void queue.start(),
    /** Forgets what waits. Returns how many that were. */
    drop(): number {
      const count = queue.size
      queue.clear()
      return count
    },
  }
}

/** `sha256=` and the HMAC of the raw body, as `X-Hub-Signature-256` carries it. */
export function sign(body: string | Uint8Array, secret: string): string {
  return `sha256=${createHmac('sha256', secret).update(body).digest('hex')}`
}

/** Posts bytes to a webhook and gives back what it answered. */
export async function post(
  url: string,
  {
    headers,
    body,
    signal,
  }: { headers: Record<string, string>; body: string | Uint8Array; signal: AbortSignal },
): Promise<{ status: number; headers: Record<string, string>; body: string }> {
  const response = await fetch(url, {
    method: 'POST',
    headers,
    body: typeof body === 'string' ? body : Uint8Array.from(body),
    redirect: 'manual',
    signal: AbortSignal.any([signal, AbortSignal.timeout(answerTimeoutMs)]),
  })
  return {
    status: response.status,
    headers: Object.fromEntries(response.headers),
    body: await readSome(response),
  }
}

function newDelivery(state: State, app: App, event: WebhookEvent): Delivery {
  const guid = randomUUID()
  const body = JSON.stringify(event.payload)
  const secret = app.webhook?.secret ?? ''
  const action = Reflect.get(event.payload, 'action')
  return {
    id: nextDeliveryId(state),
    guid,
    app,
    event: event.event,
    action: typeof action === 'string' ? action : null,
    installationId: event.installationId,
    repositoryId: event.repositoryId,
    deliveredAt: isoSeconds(),
    redelivery: false,
    durationSeconds: 0,
    status: '',
    statusCode: 0,
    request: {
      headers: {
        Accept: '*/*',
        'Content-Type': 'application/json',
        'User-Agent': 'GitHub-Hookshot/70e1ab2',
        'X-GitHub-Delivery': guid,
        'X-GitHub-Event': event.event,
        'X-GitHub-Hook-ID': String(app.hookId),
        'X-GitHub-Hook-Installation-Target-ID': String(app.id),
        'X-GitHub-Hook-Installation-Target-Type': 'integration',
        'X-GitHub-Enterprise-Host': new URL(state.baseUrl).host,
        'X-Hub-Signature': `sha1=${createHmac('sha1', secret).update(body).digest('hex')}`,
        'X-Hub-Signature-256': sign(body, secret),
      },
      body,
    },
    response: { headers: {}, body: '' },
  }
}

/** Beyond 2⁵³, as GitHub's are since 2026: who rounds them asks for another delivery. */
function nextDeliveryId(state: State): bigint {
  return 3_804_004_623_172_239_367n + 2n * BigInt(state.nextId())
}

/** Fills in how a delivery went. Never throws: a receiver that is down is a recorded fact. */
async function deliver(delivery: Delivery, signal: AbortSignal): Promise<void> {
  const startedAtMs = Date.now()
  delivery.deliveredAt = isoSeconds(startedAtMs)
  try {
    const url = delivery.app.webhook?.url ?? ''
    const answer = await post(url, { ...delivery.request, signal })
    delivery.statusCode = answer.status
    delivery.status =
      answer.status >= 200 && answer.status < 300 ? 'OK' : `Invalid HTTP Response: ${answer.status}`
    delivery.response = { headers: answer.headers, body: answer.body }
  } catch (error) {
    const timedOut = error instanceof Error && error.name === 'TimeoutError'
    delivery.statusCode = 0
    delivery.status = timedOut ? 'timed out' : 'failed to connect to host'
  }
  delivery.durationSeconds = (Date.now() - startedAtMs) / 1000
}

async function readSome(response: Response): Promise<string> {
  const chunks: Uint8Array[] = []
  let byteCount = 0
  for await (const chunk of response.body ?? []) {
    chunks.push(chunk)
    byteCount += chunk.byteLength
    if (byteCount >= answerByteLimit) break
  }
  return Buffer.concat(chunks).subarray(0, answerByteLimit).toString('utf8')
}
