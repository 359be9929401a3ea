import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { volumeName } from '../../src/rollout/target.ts'
import { expectCleanEnd } from '../support/clean-end.ts'
import { runInSite } from '../support/host-shell.ts'
import { service, site } from '../support/specs.ts'
import { eventually, startTown, type Town } from '../support/town.ts'

/** A town whose data folder, and whose host's volume for Sites, are file systems of a few hundred kilobytes. */
let town: Town
let dataFolder: string

const run = promisify(execFile)

beforeAll(async () => {
  dataFolder = await mkdtemp(join(tmpdir(), 'towline-small-'))
  await run('mount', ['-t', 'tmpfs', '-o', 'size=2m', 'tmpfs', dataFolder])
  town = await startTown({ dockerSocket: inject('dockerSocket'), environment: { TOWLINE_DATA: dataFolder } })
  await town.docker.createVolume({
    Name: volumeName(town.owner()),
    Driver: 'local',
    DriverOpts: { type: 'tmpfs', device: 'tmpfs', o: 'size=256k' },
    Labels: { 'towline.owner': town.owner() },
  })
  const commit = await town.push({ write: { ...service('shop'), ...page('the first page\n') } })
  expect(await town.checkRun(commit, 'towline / deploy')).toMatchObject({ conclusion: 'success' })
})

afterAll(async () => {
  await town[Symbol.asyncDispose]()
  await run('umount', [dataFolder])
  await rm(dataFolder, { recursive: true, force: true })
})

test('while the data folder is full a webhook is refused, what runs is healed, and nothing is lost', async () => {
  const ballast = join(dataFolder, 'ballast')
  await fill(ballast)
  const commit = await town.push({ write: service('shop', { environment: { GREETING: 'after the flood' } }) })
  await eventually('the webhook to be refused', async () =>
    town.github.deliveries.find(
      ({ request, statusCode }) => statusCode === 500 && request.body.includes(commit),
    ),
  )
  const [victim] = await town.containers('shop')
  await town.docker.getContainer(victim?.Id ?? '').remove({ force: true })
  await eventually('the container to be back', async () =>
    (await town.containers('shop')).some(({ Id, State }) => Id !== victim?.Id && State === 'running')
      ? true
      : null,
  )
  expect((await fetch(`${town.url}/healthz`)).status).toBe(200)
  await rm(ballast)
  await town.sweep()
  expect(await town.checkRun(commit, 'towline / deploy')).toMatchObject({ conclusion: 'success' })
  expect(await town.fetchApp('shop')).toContain('after the flood')
  const names = town.github.checkRuns(town.repo, commit).map(({ name }) => name)
  expect(new Set(names).size).toBe(names.length)
})

test('a release that does not fit on its host fails, says so, leaves nothing of itself, and the page before serves', async () => {
  const large = randomBytes(300 * 1024).toString('latin1')
  const commit = await town.push({ write: { ...page('the second page\n'), 'sites/page/large.bin': large } })
  const failed = await town.checkRun(commit, 'towline / page@local')
  expect(failed).toMatchObject({
    conclusion: 'failure',
    summary: expect.stringMatching(/disk|space/),
  })
  expect(await town.fetchApp('page')).toBe('the first page\n')
  const standing = await runInSite(town, 'page', 'echo $(ls -A releases) $(ls -A manifests)')
  expect(standing).toMatch(/^([0-9a-f]{12}) \1\.json$/)
  const next = await town.push({ write: page('the third page\n'), remove: ['sites/page/large.bin'] })
  expect(await town.checkRun(next, 'towline / deploy')).toMatchObject({ conclusion: 'success' })
  expect(await town.fetchApp('page')).toBe('the third page\n')
})

test('at the end GitHub was asked rightly and no secret shows', () => expectCleanEnd(town))

function page(text: string): Record<string, string> {
  return { ...site('page', { source: { files: 'sites/page' } }), 'sites/page/index.html': text }
}

/** Writes until nothing fits any more. */
async function fill(path: string): Promise<void> {
  for (const bytes of [64 * 1024, 1024, 1]) {
    for (let count = 0; count < 4_096; count += 1) {
      const outcome = await writeFile(`${path}`, Buffer.alloc(bytes), { flag: 'a' }).catch(
        (error: unknown) => error,
      )
      if (outcome !== undefined) break
    }
  }
}
