import type { ContainerInfo } from 'dockerode'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { expectCleanEnd } from '../support/clean-end.ts'
import type { CheckRunView } from '../support/github/server.ts'
import { eventually, startTown, type Town } from '../support/town.ts'

let town: Town

beforeAll(async () => {
  town = await startTown({ dockerSocket: inject('dockerSocket') })
})

afterAll(async () => {
  await town[Symbol.asyncDispose]()
})

test('Re-run of a run that succeeded deploys its app anew, as a new run of the same name', async () => {
  const commit = await town.push({ write: { ...service('again'), ...service('beside') } })
  const overall = await town.checkRun(commit, 'towline / deploy')
  const run = await town.checkRun(commit, 'towline / again@local')
  const before = await onlyContainer('again')
  const beside = await onlyContainer('beside')

  town.github.rerequestRun(run.id)

  const renewed = await nextRun(run)
  expect(renewed).toMatchObject({
    conclusion: 'success',
    text: expect.stringMatching(/\| attempt \| 2 \|\n\| asked for by \| rerun \|/),
  })
  expect(renewed.externalId).not.toBe(run.externalId)
  const after = await onlyContainer('again')
  expect(after.Id).not.toBe(before.Id)
  expect(after.Labels['towline.deployment']).toBe(renewed.externalId)
  expect((await onlyContainer('beside')).Id).toBe(beside.Id)
  expect(await nextRun(overall)).toMatchObject({ conclusion: 'success', title: '2 active' })
  expect(names(commit)).toEqual([
    'towline / again@local',
    'towline / again@local',
    'towline / beside@local',
    'towline / deploy',
    'towline / deploy',
  ])
  // What was complete stays as it was.
  expect(town.github.checkRuns(town.repo, commit)).toEqual(expect.arrayContaining([run, overall]))
})

test('Re-run of a run that failed deploys once its cause is mended, and the commit turns green', async () => {
  const tag = `late-${Date.now()}`
  const commit = await town.push({
    write: service('late', { image: `towline-demo/hello:${tag}`, pull_policy: 'never' }),
  })
  const overall = await town.checkRun(commit, 'towline / deploy')
  const run = await town.checkRun(commit, 'towline / late@local')
  expect([overall.conclusion, run.conclusion]).toEqual(['failure', 'failure'])
  await town.docker.getImage('towline-demo/hello:1').tag({ repo: 'towline-demo/hello', tag })

  town.github.rerequestRun(run.id)

  expect(await nextRun(run)).toMatchObject({ conclusion: 'success' })
  expect(await nextRun(overall)).toMatchObject({
    conclusion: 'success',
    title: expect.stringMatching(/^1 active/),
  })
  expect(await town.fetchApp('late')).toContain('version 1')
  await town.docker.getImage(`towline-demo/hello:${tag}`).remove()
})

test('Re-run of a run that fails again says so in the new run, and may be asked for once more', async () => {
  const commit = await town.push({ write: service('hopeless', { image: 'towline-demo/crash:1' }) })
  const first = await town.checkRun(commit, 'towline / hopeless@local')
  town.github.rerequestRun(first.id)
  const second = await nextRun(first)
  expect(second).toMatchObject({ conclusion: 'failure', text: expect.stringContaining('| attempt | 2 |') })
  town.github.rerequestRun(second.id)
  expect(await nextRun(second)).toMatchObject({
    conclusion: 'failure',
    text: expect.stringContaining('| attempt | 3 |'),
  })
  expect(await town.containers('hopeless')).toEqual([])
})

test('Re-run of a run whose commit is no longer the newest deploys what the repo still wants, on that commit', async () => {
  const commit = await town.push({ write: service('older') })
  const run = await town.checkRun(commit, 'towline / older@local')
  await settle()
  town.github.rerequestRun(run.id)
  expect(await nextRun(run)).toMatchObject({ conclusion: 'success', headSha: commit })
  expect((await onlyContainer('older')).Labels['towline.commit']).toBe(commit)
})

test('a Re-run that is delivered twice, or clicked twice, happens once', async () => {
  const commit = await town.push({ write: service('twice') })
  const overall = await town.checkRun(commit, 'towline / deploy')
  const run = await town.checkRun(commit, 'towline / twice@local')
  town.github.rerequestRun(run.id)
  town.github.rerequestRun(run.id)
  const renewed = await nextRun(run)
  await nextRun(overall)
  const container = await onlyContainer('twice')

  const clicks = town.github.deliveries.filter(({ request }) => request.body.includes('"rerequested"'))
  for (const { guid } of clicks.slice(-2)) town.github.redeliver(guid)
  town.github.rerequestRun(run.id)
  await settle()

  expect(runsOf(commit, 'towline / twice@local').map(({ id }) => id)).toEqual([run.id, renewed.id])
  expect(runsOf(commit, 'towline / deploy')).toHaveLength(2)
  expect((await onlyContainer('twice')).Id).toBe(container.Id)
})

test('"Re-run all checks" deploys each app of the commit once', async () => {
  const commit = await town.push({ write: { ...service('all-one'), ...service('all-two') } })
  const runs = await completeRuns(commit)
  const before = await containersOf(['all-one', 'all-two'])
  await town.github.rerequestSuite(commit)
  for (const run of runs) expect(await nextRun(run)).toMatchObject({ conclusion: 'success' })
  await settle()
  expect(names(commit)).toEqual([...runs, ...runs].map(({ name }) => name).sort())
  const after = await containersOf(['all-one', 'all-two'])
  for (const id of after) expect(before).not.toContain(id)
})

test('Re-run of the run over all deploys each app of the commit once', async () => {
  const commit = await town.push({ write: { ...service('whole-one'), ...service('whole-two') } })
  const runs = await completeRuns(commit)
  const overall = await town.checkRun(commit, 'towline / deploy')
  const before = await containersOf(['whole-one', 'whole-two'])
  town.github.rerequestRun(overall.id)
  for (const run of runs) expect(await nextRun(run)).toMatchObject({ conclusion: 'success' })
  town.github.rerequestRun(overall.id)
  await settle()
  expect(names(commit)).toEqual([...runs, ...runs].map(({ name }) => name).sort())
  const after = await containersOf(['whole-one', 'whole-two'])
  for (const id of after) expect(before).not.toContain(id)
})

test('Re-run of the run over all reads the specs again, and shows what is still wrong with them', async () => {
  const commit = await town.push({ write: { 'apps/wrong.yaml': 'kind: Nothing\n' } })
  const overall = await town.checkRun(commit, 'towline / deploy')
  expect(overall.annotations).toHaveLength(1)
  town.github.rerequestRun(overall.id)
  expect(await nextRun(overall)).toMatchObject({
    conclusion: 'failure',
    title: overall.title,
    annotations: overall.annotations,
  })
  const mended = await town.push({ remove: ['apps/wrong.yaml'] })
  expect(await town.checkRun(mended, 'towline / deploy')).toMatchObject({ conclusion: 'success' })
})

test('a Re-run while another app of the commit still rolls out is told in the run over all, which goes on', async () => {
  const commit = await town.push({
    write: {
      ...service('slow', { image: 'towline-demo/slow:1', healthcheck: { ...healthcheck, retries: 20 } }),
      ...service('fast', { image: 'towline-demo/crash:1' }),
    },
  })
  const run = await town.checkRun(commit, 'towline / fast@local')
  town.github.rerequestRun(run.id)
  await nextRun(run)
  await town.checkRun(commit, 'towline / slow@local')
  await town.checkRun(commit, 'towline / deploy')
  await settle()
  const runs = town.github.checkRuns(town.repo, commit)
  expect(runs.filter(({ status }) => status !== 'completed')).toEqual([])
  expect(runsOf(commit, 'towline / deploy')).toMatchObject([
    { conclusion: 'failure', title: expect.stringMatching(/^1 active, 1 failed/) },
  ])
})

test('a Re-run while the run over all is being completed gets a run over all of its own', async () => {
  const commit = await town.push({ write: service('close', { image: 'towline-demo/crash:1' }) })
  await town.checkRun(commit, 'towline / close@local', ({ status }) => status === 'in_progress')
  town.github.setLatency(1_000)
  const run = await town.checkRun(commit, 'towline / close@local')
  town.github.rerequestRun(run.id)
  await nextRun(run)
  town.github.clearFaults()
  await settle()
  expect(runsOf(commit, 'towline / deploy')).toMatchObject([
    { status: 'completed', conclusion: 'failure' },
    { status: 'completed', conclusion: 'failure' },
  ])
})

test('Re-run of what a newer commit changed is answered with a run that is cancelled and names that commit', async () => {
  const older = await town.push({ write: service('moved-on') })
  const run = await town.checkRun(older, 'towline / moved-on@local')
  const overall = await town.checkRun(older, 'towline / deploy')
  const newer = await town.push({ write: service('moved-on', { image: 'towline-demo/hello:2' }) })
  await town.checkRun(newer, 'towline / deploy')
  const before = await onlyContainer('moved-on')

  town.github.rerequestRun(run.id)

  expect(await nextRun(run)).toMatchObject({
    conclusion: 'cancelled',
    title: `superseded by what commit ${newer.slice(0, 12)} says`,
  })
  expect(await nextRun(overall)).toMatchObject({ conclusion: 'cancelled' })
  await settle()
  expect((await onlyContainer('moved-on')).Id).toBe(before.Id)
  expect(await town.fetchApp('moved-on')).toContain('version 2')
})

test('Re-run of an app that left the repo is answered with a run that is cancelled and says so', async () => {
  const commit = await town.push({ write: service('gone') })
  const run = await town.checkRun(commit, 'towline / gone@local')
  const removal = await town.push({ remove: ['apps/gone.yaml'] })
  await town.checkRun(removal, 'towline / deploy')
  const before = await onlyContainer('gone')
  town.github.rerequestRun(run.id)
  expect(await nextRun(run)).toMatchObject({
    conclusion: 'cancelled',
    title: 'superseded by the removal of the app',
  })
  await settle()
  expect((await onlyContainer('gone')).Id).toBe(before.Id)
})

test('nothing is left to do, and at the end GitHub was asked rightly and no secret shows', async () => {
  expect(await town.sweep()).toMatchObject({ hosts: [{ due: [] }], repos: [{ error: null }] })
  await expectCleanEnd(town)
})

const healthcheck = {
  test: ['CMD', 'wget', '-q', '-O', '/dev/null', 'http://127.0.0.1:8080/healthz'],
  interval: '500ms',
}

/** A spec as JSON, which is YAML too. It counts as soon as it answers. */
function service(name: string, settings: object = {}): Record<string, string> {
  const spec = {
    apiVersion: 'towline/v1',
    kind: 'Service',
    name,
    image: 'towline-demo/hello:1',
    ports: ['8080'],
    healthcheck,
    stop_grace_period: '1s',
    deploy: { update_config: { monitor: '0s' } },
    ...settings,
  }
  return { [`apps/${name}.yaml`]: `${JSON.stringify(spec, null, 2)}\n` }
}

/** The newest run of the same name on the same commit, once it is another one and complete. */
function nextRun({ id, name, headSha }: CheckRunView): Promise<CheckRunView> {
  return town.checkRun(headSha, name, (run) => run.id !== id && run.status === 'completed')
}

/** All runs of a commit, once the one over all is complete: it ends last. */
async function completeRuns(commit: string): Promise<CheckRunView[]> {
  await town.checkRun(commit, 'towline / deploy')
  return town.github.checkRuns(town.repo, commit)
}

function runsOf(commit: string, name: string): CheckRunView[] {
  return town.github.checkRuns(town.repo, commit).filter((run) => run.name === name)
}

function names(commit: string): string[] {
  return town.github
    .checkRuns(town.repo, commit)
    .map(({ name }) => name)
    .sort()
}

let settledCount = 0

/** Deliveries of a repo are worked off in order: once a commit pushed now is complete, all before it have been. */
async function settle(): Promise<void> {
  settledCount += 1
  const commit = await town.push({ write: { 'notes.txt': String(settledCount) } })
  await town.checkRun(commit, 'towline / deploy')
}

/** What is left of an app once the containers of its release before are removed. */
function onlyContainer(app: string): Promise<ContainerInfo> {
  return eventually(`only one container of ${app} to be left`, async () => {
    const [container, ...others] = await town.containers(app)
    return others.length === 0 ? container : null
  })
}

async function containersOf(apps: string[]): Promise<string[]> {
  return Promise.all(apps.map(async (app) => (await onlyContainer(app)).Id))
}
