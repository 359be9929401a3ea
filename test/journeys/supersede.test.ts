import type { ContainerInfo } from 'dockerode'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { changes, expectForwardOnly, runNames } from '../support/check-run-text.ts'
import { expectCleanEnd } from '../support/clean-end.ts'
import { deploy, ids, onlyContainer } from '../support/deploy.ts'
import { service, slow } from '../support/specs.ts'
import { eventually, startTown, type Town } from '../support/town.ts'

let town: Town

beforeAll(async () => {
  town = await startTown({ dockerSocket: inject('dockerSocket') })
})

afterAll(async () => {
  await town[Symbol.asyncDispose]()
})

test('a push during a rollout takes over: the first run says by whom, and only the second is left', async () => {
  const first = await town.push({ write: service('hasty', slow) })
  await town.checkRun(
    first,
    'towline / hasty@local',
    ({ title }) => title?.startsWith('updating_routes') ?? false,
  )
  const { run } = await deploy(town, service('hasty', { image: 'towline-demo/hello:2' }))
  expect(run.conclusion).toBe('success')
  expect(await town.checkRun(first, 'towline / hasty@local')).toMatchObject({
    conclusion: 'cancelled',
    title: `superseded by ${run.externalId}`,
  })
  expect(await town.checkRun(first, 'towline / deploy')).toMatchObject({ conclusion: 'cancelled' })
  await onlyContainer(town, 'hasty')
  expect(await town.fetchApp('hasty')).toContain('version 2')
})

test('a force-push back during a rollout keeps what served, in the same container', async () => {
  const { commit } = await deploy(town, service('regret'))
  const before = await town.containers('regret')
  const second = await town.push({ write: service('regret', slow) })
  await town.checkRun(
    second,
    'towline / regret@local',
    ({ title }) => title?.startsWith('updating_routes') ?? false,
  )
  await town.work.reset(commit)
  await town.work.push({ force: true })
  expect(await town.checkRun(second, 'towline / regret@local')).toMatchObject({ conclusion: 'cancelled' })
  await town.checkRun(commit, 'towline / regret@local')
  await eventually('only the first container to be left', async () =>
    ids(await town.containers('regret')).join() === ids(before).join() ? true : null,
  )
  expect(await town.fetchApp('regret')).toContain('version 1')
})

test('a spec that comes back to what it said before is deployed again', async () => {
  await deploy(town, service('swing'))
  await deploy(town, service('swing', { image: 'towline-demo/hello:2' }))
  const between = await onlyContainer(town, 'swing')
  const { run } = await deploy(town, service('swing'))
  expect(run.conclusion).toBe('success')
  expect(await town.fetchApp('swing')).toContain('version 1')
  expect((await onlyContainer(town, 'swing')).Id).not.toBe(between.Id)
})

test('a revert of what failed proves the release that serves, and touches nothing', async () => {
  await deploy(town, service('mended'))
  const before = await town.containers('mended')
  const failed = await deploy(town, service('mended', { image: 'towline-demo/crash:1' }))
  expect(failed.run.conclusion).toBe('failure')
  const { run } = await deploy(town, service('mended'))
  expect(run.conclusion).toBe('success')
  expect(changes(run)).toEqual([])
  expect(ids(await town.containers('mended'))).toEqual(ids(before))
})

test('an app starts only after what it depends on is ready', async () => {
  const commit = await town.push({
    write: {
      ...service('a-front', { dependsOn: ['z-back'] }),
      ...service('z-back', slow),
    },
  })
  await town.checkRun(
    commit,
    'towline / a-front@local',
    ({ title }) => title?.includes('waiting for z-back') ?? false,
  )
  expect(await town.containers('a-front')).toEqual([])
  expect(await town.checkRun(commit, 'towline / deploy')).toMatchObject({ conclusion: 'success' })
  const [front] = await town.containers('a-front')
  const [back] = await town.containers('z-back')
  const { Created } = await town.docker.getContainer(front?.Id ?? '').inspect()
  expect(Date.parse(Created)).toBeGreaterThan(await listensSince(back))
})

test('a changed dependency is ready before the app that changed with it', async () => {
  await deploy(
    town,
    { ...service('b-back'), ...service('a-page', { dependsOn: ['b-back'] }) },
    { app: 'a-page' },
  )
  const commit = await town.push({
    write: {
      ...service('b-back', slow),
      ...service('a-page', { dependsOn: ['b-back'], image: 'towline-demo/hello:2' }),
    },
  })
  expect(await town.checkRun(commit, 'towline / deploy')).toMatchObject({ conclusion: 'success' })
  const [page] = await town.containers('a-page')
  const [back] = await town.containers('b-back')
  const { Created } = await town.docker.getContainer(page?.Id ?? '').inspect()
  expect(Date.parse(Created)).toBeGreaterThan(await listensSince(back))
})

test('a paused app is left as it is until it is resumed', async () => {
  await deploy(town, service('held'))
  const before = await town.containers('held')
  const next = { image: 'towline-demo/hello:2' }
  const commit = await town.push({ write: service('held', { ...next, paused: { reason: 'stock-taking' } }) })
  expect(await town.checkRun(commit, 'towline / deploy')).toMatchObject({
    conclusion: 'success',
    title: expect.stringMatching(/^1 paused, \d+ unchanged$/),
    summary: expect.stringContaining('`held@local` is paused: stock-taking'),
  })
  expect(runNames(town, commit)).toEqual(['towline / deploy'])
  expect(ids(await town.containers('held'))).toEqual(ids(before))
  const { run } = await deploy(town, service('held', next))
  expect(run.conclusion).toBe('success')
  expect(await town.fetchApp('held')).toContain('version 2')
})

test('an app that left the repo keeps running, and is taken up again as it is once it is back', async () => {
  await deploy(town, service('leaver'))
  const before = await town.containers('leaver')
  const gone = await town.push({ remove: ['apps/leaver.yaml'] })
  expect(await town.checkRun(gone, 'towline / deploy')).toMatchObject({ conclusion: 'success' })
  expect(runNames(town, gone)).toEqual(['towline / deploy'])
  expect(await town.fetchApp('leaver')).toContain('version 1')
  const { run } = await deploy(town, service('leaver'))
  expect(run.conclusion).toBe('success')
  expect(ids(await town.containers('leaver'))).toEqual(ids(before))
})

test('no check run ever goes backwards or takes more than 12 writes', () => expectForwardOnly(town))

test('nothing is left to do, and at the end GitHub was asked rightly and no secret shows', async () => {
  expect(await town.sweep()).toMatchObject({ hosts: [{ due: [] }], repos: [{ error: null }] })
  await expectCleanEnd(town)
})

/** When a container wrote that it listens, in milliseconds since the epoch. */
async function listensSince(container: ContainerInfo | undefined): Promise<number> {
  const log = await town.docker.getContainer(container?.Id ?? '').logs({ stdout: true, timestamps: true })
  const [, time = ''] = /(\d{4}-\S+Z) listening on 8080/.exec(log.toString()) ?? []
  return Date.parse(time)
}
