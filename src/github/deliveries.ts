import type { Probot } from 'probot'
import type { GitHub, MissedDelivery } from '../engine/ports.ts'
import { callGitHub, statusOf } from './error.ts'
import { heededEvent, hintsOf } from './hints.ts'

/**
 * GitHub's record of the App's webhooks, read as the App itself. GitHub keeps it for three days and sends nothing again by
 * itself. What it holds is processed here, for asking GitHub to send it again would need an address it reaches.
 */
export function createDeliveries(probot: Probot): Pick<GitHub, 'missedDeliveries' | 'readDelivery'> {
  async function listPage(cursor: string | null, signal: AbortSignal) {
    const app = await probot.auth()
    const { data, headers } = await callGitHub("list the App's deliveries", signal, (request) =>
      // Without the filter by status, which leaves out attempts that got no answer.
      app.rest.apps.listWebhookDeliveries({
        per_page: attemptsPerPage,
        ...(cursor !== null && { cursor }),
        request,
      }),
    )
    return { attempts: data, next: nextCursor(headers.link) }
  }

  return {
    async missedDeliveries({ sinceMs, signal }) {
      const found: Attempt[] = []
      let cursor: string | null = null
      for (let pageCount = 0; pageCount < pageLimit; pageCount += 1) {
        const { attempts, next } = await listPage(cursor, signal)
        const recent = attempts.filter(({ delivered_at: at }) => Date.parse(at) >= sinceMs)
        found.push(...recent)
        if (next === null || recent.length < attempts.length) return { missed: missedOf(found), whole: true }
        cursor = next
      }
      return { missed: missedOf(found), whole: false }
    },

    async readDelivery({ guid, attemptId }, { signal }) {
      const app = await probot.auth()
      // The id stands in the path as text: Octokit leaves out a bigint given for a placeholder (octokit/endpoint.js#546).
      const answer = await callGitHub(`give delivery ${guid}`, signal, (request) =>
        app.request(`GET /app/hook/deliveries/${attemptId}`, { request }).catch(nullIfGone),
      )
      const whole: WholeAttempt | undefined = answer?.data
      return whole?.request.payload
        ? hintsOf({ guid, event: whole.event, payload: whole.request.payload })
        : null
    },
  }
}

/** One try to deliver. Ids are beyond 2⁵³ since 2026, and then a bigint. */
type Attempt = {
  id: number | bigint
  guid: string
  status: string
  status_code: number
  event: string
  action: string | null
}

type WholeAttempt = { event: string; request: { payload: object | null } }

/** The deliveries that mean something and of which no attempt was acknowledged. Attempts come newest first. */
function missedOf(attempts: Attempt[]): MissedDelivery[] {
  const byGuid = Map.groupBy(attempts.toReversed(), ({ guid }) => guid)
  return [...byGuid.values()].flatMap((tries) => {
    const last = tries.at(-1)
    const event = last && heededEvent(last.event, last.action)
    if (!event || tries.some(wasAcknowledged)) return []
    return [{ guid: last.guid, attemptId: String(last.id), event }]
  })
}

function wasAcknowledged({ status, status_code: code }: Attempt): boolean {
  return status === 'OK' || (code >= 200 && code < 300)
}

/** The cursor of the page that `Link` calls the next one. */
function nextCursor(link: string | undefined): string | null {
  const url = /<([^>]+)>;\s*rel="next"/.exec(link ?? '')?.[1]
  return url === undefined ? null : new URL(url).searchParams.get('cursor')
}

function nullIfGone(error: unknown): null {
  if (statusOf(error) === 404) return null
  throw error
}

/** GitHub's maximum. */
const attemptsPerPage = 100
/** 3,000 attempts: three days of one event in 90 s, for well under a hundredth of the requests an App has an hour. */
const pageLimit = 30
