import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Town } from './town.ts'

/** A text and what it is, e.g. `['log', …]`. */
export type Place = [name: string, text: string]

/** What Towline wrote so far: its log, its check runs and every file of its data folder. */
export async function placesOf(town: Town): Promise<Place[]> {
  return [
    ['log', town.log()],
    ['check runs', JSON.stringify(town.github.checkRuns(town.repo))],
    ...(await readFiles(town.environment.TOWLINE_DATA ?? '')),
  ]
}

/** Where a secret shows, as `place: kind of secret`. Never the secret itself: this text ends up in test output. */
export function findSecrets(town: Town, places: readonly Place[]): string[] {
  const secrets = secretsOf(town)
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

async function readFiles(folder: string): Promise<Place[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true })
  const files = entries.filter((entry) => entry.isFile())
  return Promise.all(
    files.map(async (entry): Promise<Place> => {
      const path = join(entry.parentPath, entry.name)
      // A file that was replaced meanwhile is read under its new name.
      return [path, await readFile(path, 'latin1').catch(() => '')]
    }),
  )
}
