import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect } from 'vitest'
import { validateAgainstOpenApi } from './github/openapi.ts'
import type { Town } from './town.ts'

/**
 * What holds at the end of every journey: Towline asked GitHub for nothing GitHub does not have, sent nothing GitHub's
 * own description refuses, and gave no secret away. Reads GitHub's record, so it belongs before the town is closed.
 */
export async function expectCleanEnd(town: Town): Promise<void> {
  const { requests, unknownRequests } = town.github
  expect(unknownRequests).toEqual([])
  expect(requests.filter(({ status }) => status === 400 || status === 422)).toEqual([])
  // Of a request that a fault met there is no body to look at.
  const taken = requests.filter(({ status }) => status !== null && status < 400)
  expect(validateAgainstOpenApi(taken)).toEqual([])
  expect(await findSecrets(town)).toEqual([])
}

/** Where a secret shows, as `place: kind of secret`. Never the secret itself: this text ends up in test output. */
async function findSecrets(town: Town): Promise<string[]> {
  const secrets = secretsOf(town)
  const places: [string, string][] = [
    ['log', town.log()],
    ['check runs', JSON.stringify(town.github.checkRuns(town.repo))],
    ...(await readAnswers(town)),
    ...(await readFiles(town.environment.TOWLINE_DATA ?? '')),
  ]
  return places.flatMap(([place, text]) =>
    secrets.filter(({ isIn }) => isIn(text)).map(({ kind }) => `${place}: ${kind}`),
  )
}

function secretsOf({ environment, github }: Town): Secret[] {
  return [
    exactly('webhook secret', environment.WEBHOOK_SECRET),
    exactly('private key', github.app.privateKey.split('\n')[1]),
    exactly('API token', environment.TOWLINE_TOKEN),
    exactly('token in Basic credentials', btoa('x-access-token:')),
    { kind: 'installation token', isIn: (text) => /ghs_\w{10}/.test(text) },
    { kind: 'JSON Web Token', isIn: (text) => /eyJ[\w-]+\.eyJ[\w-]+\.[\w-]+/.test(text) },
  ]
}

type Secret = { kind: string; isIn: (text: string) => boolean }

function exactly(kind: string, secret: string | undefined): Secret {
  if (secret === undefined) return { kind, isIn: () => false }
  if (secret.length < 8) throw new Error(`the ${kind} is so short that it would be found by chance`)
  return { kind, isIn: (text) => text.includes(secret) }
}

async function readAnswers({ url, environment }: Town): Promise<[string, string][]> {
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
    asked.map(async ([method, path]): Promise<[string, string]> => {
      const answer = await fetch(url + path, { method, headers })
      return [`answer of ${path}`, JSON.stringify([...answer.headers]) + (await answer.text())]
    }),
  )
}

async function readFiles(folder: string): Promise<[string, string][]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true })
  const files = entries.filter((entry) => entry.isFile())
  return Promise.all(
    files.map(async (entry): Promise<[string, string]> => {
      const path = join(entry.parentPath, entry.name)
      // A file that was replaced meanwhile is read under its new name.
      return [path, await readFile(path, 'latin1').catch(() => '')]
    }),
  )
}
