import type { Answer } from './answer.ts'
import type { Caller } from './callers.ts'
import type { Outbox } from './events.ts'

/** A request that reached its route. `url` is absolute, below `/api/v3`. */
export type Call = Outbox & { caller: Caller; params: Record<string, string>; url: URL; body: unknown }

export type Route = {
  method: string
  pattern: URLPattern
  handle(call: Call): Answer | Promise<Answer>
}

/** `path` as `URLPattern` takes it: `:name` is one segment, `:name(.+)` may hold slashes. */
export function route(method: string, path: string, handle: Route['handle']): Route {
  return { method, pattern: new URLPattern({ pathname: `/api/v3${path}` }), handle }
}

/** The named parts of a path, decoded, or null where the route is another. */
export function matchRoute(route: Route, method: string, url: URL): Record<string, string> | null {
  if (route.method !== method) return null
  const groups = route.pattern.exec({ pathname: url.pathname })?.pathname.groups
  if (!groups) return null
  return Object.fromEntries(
    Object.entries(groups).map(([name, value]) => [name, decodeURIComponent(value ?? '')]),
  )
}

/** One part of a path; a route that asks for a part it does not have is a mistake here. */
export function param(call: Call, name: string): string {
  const value = call.params[name]
  if (value === undefined) throw new Error(`the route has no :${name}`)
  return value
}

export function repoParam(call: Call): string {
  return `${param(call, 'owner')}/${param(call, 'repo')}`
}
