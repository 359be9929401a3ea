import type { Delivery } from '../engine/records.ts'

/** The events that mean something; with a dot, only of that action. */
export const heededEvents = [
  'push',
  'pull_request',
  'check_run.rerequested',
  'check_suite.rerequested',
  'installation.created',
  'installation_repositories.added',
] as const

type HeededEvent = (typeof heededEvents)[number]

/** The fields of payloads that are read. GitHub signed the payload, or gave it over a connection of ours. */
type Payload = {
  action?: string
  repository?: { full_name: string }
  check_run?: { head_sha: string; name: string; external_id: string | null }
  check_suite?: { head_sha: string }
  repositories?: { full_name: string }[]
  repositories_added?: { full_name: string }[]
}

/** An event and its action as one of those that mean something, or null. */
export function heededEvent(event: string, action: string | null | undefined): HeededEvent | null {
  return heededEvents.find((heeded) => heeded === event || heeded === `${event}.${action}`) ?? null
}

/**
 * What a delivery asks to look at, each under the id it is to be stored by. It is the same whether it came as a webhook or
 * was read from GitHub's record later. Empty where it means nothing.
 */
export function hintsOf(delivery: {
  guid: string
  event: string
  payload: object
}): Pick<Delivery, 'guid' | 'hint'>[] {
  const { guid } = delivery
  const payload: Payload = delivery.payload
  const event = heededEvent(delivery.event, payload.action)
  if (event === 'installation.created' || event === 'installation_repositories.added') {
    const added = payload.repositories_added ?? payload.repositories ?? []
    return added.map(({ full_name: repo }) => ({ guid: `${guid}:${repo}`, hint: { kind: 'repo', repo } }))
  }
  const repo = payload.repository?.full_name
  if (event === null || repo === undefined) return []
  const { check_run: run, check_suite: suite } = payload
  switch (event) {
    case 'push':
    case 'pull_request':
      return [{ guid, hint: { kind: 'repo', repo } }]
    case 'check_run.rerequested': {
      if (!run) return []
      const { head_sha: headSha, name, external_id: externalId } = run
      return [{ guid, hint: { kind: 'rerunCheck', repo, headSha, name, externalId: externalId ?? '' } }]
    }
    case 'check_suite.rerequested':
      return suite ? [{ guid, hint: { kind: 'rerunSuite', repo, headSha: suite.head_sha } }] : []
    default:
      return event satisfies never
  }
}
