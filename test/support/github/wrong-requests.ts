import { validateAgainstOpenApi } from './openapi.ts'
import type { GitHubStandIn } from './server.ts'

/** Requests that GitHub does not know, refused for what they said, or describes otherwise; one line each. */
export function findWrongRequests({ requests, unknownRequests }: GitHubStandIn): string[] {
  const refused = requests.filter(({ status }) => status === 400 || status === 422)
  // Of a request that a fault met there is no body to look at.
  const taken = requests.filter(({ status }) => status !== null && status < 400)
  return [
    ...unknownRequests.map(({ method, path }) => `${method} ${path}: unknown`),
    ...refused.map(({ method, path, status }) => `${method} ${path}: ${status}`),
    ...validateAgainstOpenApi(taken).map(({ method, path, message }) => `${method} ${path}: ${message}`),
  ]
}
