/**
 * What holds whenever Towline has come to rest, whatever happened to it before. Each function throws an AssertionError
 * that says what was found instead.
 */

import { deepEqual, equal, match, ok } from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { targetDigest } from '../../src/rollout/target.ts'
import type { CheckRunView } from '../support/github/server.ts'
import { runInSite } from '../support/host-shell.ts'
import { findSecrets, placesOf } from '../support/secrets.ts'
import { eventually, type Town } from '../support/town.ts'

/** All that may stand on the host of one app. */
export type Standing = { app: string; releases: Releases; text: string } & (
  | { kind: 'Service'; replicas: number; volumes: string[] }
  /** Files of the release that serves, by path. */
  | { kind: 'Site'; files: Record<string, string> }
)

/** Ids of the releases that stand, the one that serves first. A Service keeps only that one; none: the app is not there. */
type Releases = readonly string[]

const host = 'local'

/** Exactly the containers, networks, volumes, releases, links and files, all in use, and the app answers. */
export async function expectStanding(town: Town, standing: Standing): Promise<void> {
  deepEqual(await containersOf(town, standing.app), namesOf(town, standing))
  await expectNothingBeside(town, standing)
  if (standing.releases.length === 0) return
  if (standing.kind === 'Site') await expectSite(town, standing)
  await expectAnswers(town, standing)
}

/** Names and states, e.g. `towline-shop-0123abcd-…-1 running`. A site's server bears a hash of its settings. */
async function containersOf(town: Town, app: string): Promise<string[]> {
  const containers = await town.containers(app)
  return containers
    .map(({ Names, State }) => `${Names[0]?.slice(1).replace(/-site-[0-9a-f]{8}$/, '-site')} ${State}`)
    .sort()
}

function namesOf(town: Town, standing: Standing): string[] {
  const [serving] = standing.releases
  if (serving === undefined) return []
  const base = baseName(town, standing.app)
  if (standing.kind === 'Service') {
    return Array.from({ length: standing.replicas }, (_, index) => `${base}-${serving}-${index + 1} running`)
  }
  return [`${base}-site running`]
}

async function expectNothingBeside(town: Town, standing: Standing): Promise<void> {
  const owned = { label: [`towline.owner=${town.owner()}`] }
  const networks = await town.docker.listNetworks({ filters: owned })
  ok(networks.length <= 1, `one network serves the whole repo: ${networks.map(({ Name }) => Name)}`)
  const ofApp = { label: [...owned.label, `towline.app=${standing.app}`] }
  const { Volumes } = await town.docker.listVolumes({ filters: ofApp })
  const volumes = (Volumes ?? []).map(({ Name }) => Name)
  const expected = standing.kind === 'Service' ? standing.volumes : []
  const names = expected.map((name) => `${baseName(town, standing.app)}-${name}`)
  // Data is never removed, so a first release that failed may have left an empty volume.
  if (standing.releases.length > 0 || volumes.length > 0) deepEqual(volumes, names)
  const helpers = await town.docker.listContainers({
    all: true,
    filters: { label: [...owned.label, 'towline.role=files'] },
  })
  ok(helpers.length <= 1, `one helper serves the whole host: ${helpers.map(({ Names }) => Names[0])}`)
}

/** Both links, and every release with its manifest; the one that serves byte for byte. Nothing half-made beside them. */
async function expectSite(town: Town, site: Extract<Standing, { kind: 'Site' }>): Promise<void> {
  const [serving] = site.releases
  const seen = await runInSite(
    town,
    site.app,
    'echo $(ls -A); echo $(ls -A releases); echo $(ls -A manifests); readlink current; readlink webroot',
  )
  const releases = [...site.releases].sort()
  deepEqual(seen.split('\n'), [
    'current manifests releases webroot',
    releases.join(' '),
    releases.map((id) => `${id}.json`).join(' '),
    `releases/${serving}`,
    'current',
  ])
  const sums = await runInSite(town, site.app, 'cd current; find . -type f -exec sha256sum {} +')
  const expected = Object.entries(site.files).map(([path, content]) => `${sha256(content)}  ./${path}`)
  deepEqual(sums.split('\n').sort(), expected.sort())
  const manifest = JSON.parse(await runInSite(town, site.app, `cat manifests/${serving}.json`))
  const byteCount = Object.values(site.files).reduce((sum, content) => sum + Buffer.byteLength(content), 0)
  const { releaseId, fileCount, byteCount: found } = manifest
  deepEqual([releaseId, fileCount, found], [serving, expected.length, byteCount])
}

/** Every container that publishes a port answers with what it should serve. */
async function expectAnswers(town: Town, { app, text }: Standing): Promise<void> {
  for (const { Ports, Names } of await town.containers(app)) {
    const port = Ports.find(({ PublicPort }) => PublicPort !== undefined)?.PublicPort
    const answer = await fetch(`http://127.0.0.1:${port}/`, {
      headers: { connection: 'close' },
      signal: AbortSignal.timeout(5_000),
    })
    const body = await answer.text()
    ok(body.includes(text), `${Names[0]} answers ${answer.status} ${body} instead of "${text}"`)
  }
}

/** What was asked on one commit, and how it had to end. */
export type Asked = {
  app: string
  commit: string
  /** How often it was asked: once by the push, and once more by each re-run. */
  times: number
  conclusion: 'success' | 'failure'
}

/** One final run for each time it was asked: of the app, and over all. Resolves to the newest of the app. */
export function expectOneRunEach(town: Town, asked: Asked): CheckRunView {
  const runs = town.github
    .checkRuns(town.repo, asked.commit)
    .filter(({ name }) => name === appRun(asked.app) || name === 'towline / deploy')
  const ids = runs.map(({ externalId }) => externalId)
  deepEqual(ids, [...new Set(ids)], 'a check run was made twice')
  for (const name of [appRun(asked.app), 'towline / deploy']) {
    const named = runs.filter((run) => run.name === name)
    deepEqual(
      named.map(({ status }) => status),
      Array.from({ length: asked.times }, () => 'completed'),
      `runs of ${name}`,
    )
    equal(named.at(-1)?.conclusion, asked.conclusion, `${name}: ${named.at(-1)?.title}`)
  }
  const [newest] = runs.filter(({ name }) => name === appRun(asked.app)).slice(-1)
  ok(newest)
  return newest
}

export function appRun(app: string): string {
  return `towline / ${app}@${host}`
}

/** Id of the release that a run which succeeded says is live. */
export function releaseOf(run: CheckRunView): string {
  const id = /^active: release (\S+) is live$/.exec(run.title ?? '')?.[1]
  ok(id, `a run that succeeded says "${run.title}"`)
  return id
}

/** A failure says why, and what became of the release before. `before` is null where there was none. */
export function expectTruthfulFailure(run: CheckRunView, before: string | null): void {
  match(run.title ?? '', /^failed in \w+: ./)
  const summary = run.summary ?? ''
  match(summary, /\*\*Failed in `\w+`:\*\* ./)
  const truth =
    before === null
      ? 'there was none; nothing of this attempt was left on the host'
      : `release ${before} (was put back|was never touched) and serves`
  match(summary, new RegExp(`\\*\\*The release before:\\*\\* ${truth}`))
}

/** The trigger looks at everything anew: no target needs work and each repo could be read. */
export async function expectNothingDue(town: Town): Promise<void> {
  let found: unknown
  await eventually('nothing to be left to do', async () => {
    const { hosts, repos } = (await town.sweep()) as Sweep
    found = { hosts, repos }
    const right = hosts.every(({ due }) => due?.length === 0) && repos.every(({ error }) => error === null)
    return right && hosts.length > 0 && repos.length > 0 ? true : null
  }).catch((error: unknown) => {
    throw new Error(`${error}; found ${JSON.stringify(found)}`)
  })
}

type Sweep = { hosts: { due?: unknown[] }[]; repos: { error: string | null }[] }

/** No secret in the log, in a check run or in any file, and nothing half-written or damaged in the data folder. */
export async function expectCleanRecords(town: Town): Promise<void> {
  const places = await placesOf(town)
  deepEqual(findSecrets(town, places), [])
  const names = places.map(([name]) => name)
  deepEqual(
    names.filter((name) => /\.tmp$|\.new$|\.damaged-/.test(name)),
    [],
    'files that should not be there',
  )
  const errors = town
    .log()
    .split('\n')
    .filter((line) => /^\{"level":[56]0/.test(line))
  deepEqual(errors, [], 'errors in the log')
}

function baseName(town: Town, app: string): string {
  return `towline-${app}-${targetDigest(town.owner(), { repo: town.repo, app, host, preview: null })}`
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}
