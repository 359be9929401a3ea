import { type Answer, notFound, perPageOf, Refusal } from './answer.ts'
import { requireApp } from './callers.ts'
import { type Call, param, type Route, route } from './route.ts'
import type { Delivery } from './webhooks.ts'

/** What became of an App's webhooks, and sending one again. With the App's JWT only. */
export const deliveryRoutes: Route[] = [
  route('GET', '/app/hook/deliveries', listDeliveries),
  route('GET', '/app/hook/deliveries/:id(\\d+)', (call) => ({
    status: 200,
    body: renderWhole(ownDelivery(call)),
  })),
  route('POST', '/app/hook/deliveries/:id(\\d+)/attempts', (call) => {
    call.webhooks.redeliver(ownDelivery(call))
    return { status: 202, body: {} }
  }),
]

/** Newest first. A cursor names the delivery a page starts behind, so that new deliveries do not move the pages. */
function listDeliveries(call: Call): Answer {
  const own = ownDeliveries(call)
  const start = startOf(own, call.url.searchParams.get('cursor'))
  const perPage = perPageOf(call.url)
  const page = own.slice(start, start + perPage)
  const last = page.at(-1)
  const headers = last && start + perPage < own.length ? { link: nextLink(call.url, last) } : {}
  return { status: 200, body: page.map(renderItem), headers }
}

function startOf(deliveries: Delivery[], cursor: string | null): number {
  if (cursor === null) return 0
  const index = deliveries.findIndex((delivery) => cursorOf(delivery) === cursor)
  if (index === -1) throw new Refusal(422, 'Invalid cursor')
  return index + 1
}

function nextLink(url: URL, last: Delivery): string {
  const next = new URL(url)
  next.searchParams.set('cursor', cursorOf(last))
  return `<${next.href}>; rel="next"`
}

function cursorOf(delivery: Delivery): string {
  return `v1_${delivery.id}`
}

function ownDeliveries(call: Call): Delivery[] {
  const app = requireApp(call.caller)
  return call.webhooks.deliveries.filter((delivery) => delivery.app === app).toReversed()
}

function ownDelivery(call: Call): Delivery {
  const id = param(call, 'id')
  const found = ownDeliveries(call).find((delivery) => String(delivery.id) === id)
  if (!found) throw notFound()
  return found
}

function renderItem(delivery: Delivery) {
  return {
    id: delivery.id,
    guid: delivery.guid,
    delivered_at: delivery.deliveredAt,
    redelivery: delivery.redelivery,
    duration: delivery.durationSeconds,
    status: delivery.status,
    status_code: delivery.statusCode,
    event: delivery.event,
    action: delivery.action,
    installation_id: delivery.installationId,
    repository_id: delivery.repositoryId,
    throttled_at: null,
  }
}

function renderWhole(delivery: Delivery) {
  return {
    ...renderItem(delivery),
    url: delivery.app.webhook?.url ?? '',
    request: { headers: delivery.request.headers, payload: JSON.parse(delivery.request.body) },
    response: { headers: delivery.response.headers, payload: delivery.response.body },
  }
}
