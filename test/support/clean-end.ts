import { expect } from 'vitest'
import { findWrongRequests } from './github/wrong-requests.ts'
import { findSecrets, type Place, placesOf } from './secrets.ts'
import type { Town } from './town.ts'

/**
 * What holds at the end of every journey: Towline asked GitHub for nothing GitHub does not have, sent nothing GitHub's
 * own description refuses, and gave no secret away. Reads GitHub's record, so it belongs before the town is closed.
 */
export async function expectCleanEnd(town: Town): Promise<void> {
  expect(findWrongRequests(town.github)).toEqual([])
  expect(findSecrets(town, [...(await placesOf(town)), ...(await readAnswers(town))])).toEqual([])
}

async function readAnswers({ url, environment }: Town): Promise<Place[]> {
  const headers = environment.TOWLINE_TOKEN ? { authorization: `Bearer ${environment.TOWLINE_TOKEN}` } : {}
  const asked: [string, string][] = [
    ['GET', '/healthz'],
    ['GET', '/readyz'],
    ['GET', '/nowhere'],
    ['POST', '/api/github/webhooks'],
    ['POST', '/api/monitoring/reconcile/trigger'],
    ['GET', '/api/monitoring/health'],
    ['GET', '/api/monitoring/stats'],
    ['GET', '/api/targets'],
    ['GET', '/api/deployments'],
    ['GET', '/metrics'],
  ]
  return Promise.all(
    asked.map(async ([method, path]): Promise<Place> => {
      const answer = await fetch(url + path, { method, headers })
      return [`answer of ${path}`, JSON.stringify([...answer.headers]) + (await answer.text())]
    }),
  )
}
