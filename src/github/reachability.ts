import type { GitHub } from '../engine/ports.ts'
import { explain, faultOf } from '../rollout/error.ts'

/** What was last heard of GitHub; null fields where it was not asked yet. */
export type Reachability = {
  unreachableSince: string | null
  reason: string | null
  lastAnswerAt: string | null
}

/**
 * The same port, remembering whether GitHub answers. A refusal is an answer too; only what may pass by itself (no answer,
 * 5xx, a rate limit) counts as none. Calls we ended ourselves say nothing. `listsRepos` is false where server.yaml names
 * all repos and branches, so that to list them asks nobody.
 */
export function watchReachability(
  github: GitHub,
  { listsRepos, nowMs = () => Date.now() }: { listsRepos: boolean; nowMs?: () => number },
): { github: GitHub; read(): Reachability } {
  let seen: Reachability = { unreachableSince: null, reason: null, lastAnswerAt: null }

  async function note<T>({ signal }: { signal: AbortSignal }, call: () => Promise<T>): Promise<T> {
    const now = () => new Date(nowMs()).toISOString()
    const answered = () => {
      seen = { unreachableSince: null, reason: null, lastAnswerAt: now() }
    }
    try {
      const answer = await call()
      answered()
      return answer
    } catch (error) {
      if (signal.aborted) throw error
      if (faultOf(error) !== 'temporary') answered()
      else {
        const unreachableSince = seen.unreachableSince ?? now()
        seen = { ...seen, unreachableSince, reason: explain(error).reason }
      }
      throw error
    }
  }

  return {
    github: {
      repos: (options) => (listsRepos ? note(options, () => github.repos(options)) : github.repos(options)),
      createCheckRun: (repo, check, options) =>
        note(options, () => github.createCheckRun(repo, check, options)),
      updateCheckRun: (repo, id, check, options) =>
        note(options, () => github.updateCheckRun(repo, id, check, options)),
      findCheckRun: (repo, query, options) => note(options, () => github.findCheckRun(repo, query, options)),
      missedDeliveries: (options) => note(options, () => github.missedDeliveries(options)),
      readDelivery: (missed, options) => note(options, () => github.readDelivery(missed, options)),
    },
    read: () => ({ ...seen }),
  }
}
