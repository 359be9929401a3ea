import { afterAll, afterEach, beforeAll, expect, inject, test } from 'vitest'
import { expectCleanEnd } from '../support/clean-end.ts'
import { deploy, ids, onlyContainer } from '../support/deploy.ts'
import type { CheckRunView } from '../support/github/server.ts'
import { eventually, freePort, serverYaml, startTown, type Town } from '../support/town.ts'

let town: Town

beforeAll(async () => {
  town = await startTown({ dockerSocket: inject('dockerSocket') })
})

afterAll(async () => {
  await town[Symbol.asyncDispose]()
})

afterEach(() => town.github.clearFaults())

test('the installation nobody was there to hear of is taken in at the first start', async () => {
  await eventually(
    'the delivery to be recovered',
    async () => town.log().includes('"recovered 1 delivery"') || null,
  )
})

test('a push and a Re-run while Towline was stopped are both done once it starts, and once only', async () => {
  const { commit, run } = await deploy(town, service('again'))
  const before = await onlyContainer(town, 'again')
  await town.checkRun(commit, 'towline / deploy')
  await town.stopTowline()
  town.github.rerequestRun(run.id)
  const pushed = await town.push({ write: service('fresh') })
  await eventually('both deliveries to fail', async () => (missed().length === 2 ? true : null))

  await town.startTowline()

  expect(await nextRun(town, run)).toMatchObject({ conclusion: 'success' })
  expect(await town.checkRun(pushed, 'towline / deploy')).toMatchObject({ conclusion: 'success' })
  const [again, fresh] = [await onlyContainer(town, 'again'), await onlyContainer(town, 'fresh')]
  expect(again.Id).not.toBe(before.Id)
  await eventually('the log to say so', async () => town.log().includes('"recovered 2 deliveries"') || null)
  expect(town.log()).toContain('"events":{"check_run.rerequested":1,"push":1}')

  // Sent again by a person in GitHub's settings, found again by a look, and by the look of the next start.
  const guids = missed()
  expect(reads(guids)).toBe(2)
  for (const guid of guids) town.github.redeliver(guid)
  await eventually('both deliveries to be acknowledged', async () => (missed().length === 0 ? true : null))
  await lookAgain()
  await town.stopTowline()
  await town.startTowline()
  await lookAgain()
  await settle()
  expect(runsOf(commit, run.name)).toHaveLength(2)
  expect(runsOf(pushed, 'towline / fresh@local')).toHaveLength(1)
  expect(ids([await onlyContainer(town, 'again'), await onlyContainer(town, 'fresh')])).toEqual([
    again.Id,
    fresh.Id,
  ])
  expect(town.log().match(/"recovered /g)).toHaveLength(2)
  expect(reads(guids)).toBe(2)
})

test('a record of deliveries GitHub does not give delays nothing else, and is asked for again', async () => {
  const { commit, run } = await deploy(town, service('patient'))
  await town.checkRun(commit, 'towline / deploy')
  await town.stopTowline()
  town.github.rerequestRun(run.id)
  await eventually('the Re-run to fail', async () => (missed().length === 1 ? true : null))
  town.github.failNext({ pathPattern: record, status: 500 })
  town.github.failNext({ pathPattern: record, status: 429, headers: { 'retry-after': '1' } })
  await town.startTowline()
  await eventually(
    'a look to fail',
    async () => town.log().includes("did not list the App's deliveries: 500") || null,
  )

  // All else goes on by its webhook meanwhile.
  const meanwhile = await deploy(town, service('meanwhile'))
  expect(meanwhile.run).toMatchObject({ conclusion: 'success' })
  expect(runsOf(commit, run.name)).toHaveLength(1)

  await eventually('the Re-run to be found by a later sweep', async () => {
    await town.sweep()
    return runsOf(commit, run.name).length > 1 ? true : null
  })
  expect(await nextRun(town, run)).toMatchObject({ conclusion: 'success' })
  await settle()
  expect(runsOf(commit, run.name)).toHaveLength(2)
})

test('a delivery GitHub gives only at the third time of asking is taken in then', async () => {
  const { commit, run } = await deploy(town, service('third'))
  await town.checkRun(commit, 'towline / deploy')
  await town.stopTowline()
  town.github.rerequestRun(run.id)
  await eventually('the Re-run to fail', async () => (missed().length === 1 ? true : null))
  town.github.failNext({ pathPattern: /\/app\/hook\/deliveries\/\d+$/, status: 502 })
  town.github.cutNext({ pathPattern: /\/app\/hook\/deliveries\/\d+$/ })
  await town.startTowline()
  await eventually('the Re-run to be found by a later sweep', async () => {
    await town.sweep()
    return runsOf(commit, run.name).length > 1 ? true : null
  })
  expect(await nextRun(town, run)).toMatchObject({ conclusion: 'success' })
})

test('where webhooks cannot come, polling deploys a push and answers a Re-run', async () => {
  const socket = inject('dockerSocket')
  await using far = await startTown({
    dockerSocket: socket,
    serverYaml: serverYaml(socket).replace('poll: 2s', 'poll: 2s, repos: 300ms'),
  })
  far.github.pauseWebhooks()
  const commit = await far.push({ write: service('polled') })
  expect(await far.checkRun(commit, 'towline / deploy')).toMatchObject({ conclusion: 'success' })
  far.github.dropWebhooks()
  far.github.setWebhook({ url: `http://127.0.0.1:${await freePort()}/`, secret: 'nobody hears it' })
  far.github.resumeWebhooks()
  const run = await far.checkRun(commit, 'towline / polled@local')
  far.github.rerequestRun(run.id)
  expect(await nextRun(far, run)).toMatchObject({ conclusion: 'success' })
  const later = await far.push({ write: service('polled', { image: 'towline-demo/hello:2' }) })
  expect(await far.checkRun(later, 'towline / polled@local')).toMatchObject({ conclusion: 'success' })
  expect(far.github.checkRuns(far.repo, commit).filter(({ name }) => name === run.name)).toHaveLength(2)
  expect(far.github.deliveries.filter(({ status }) => status === 'OK')).toEqual([])
  await expectCleanEnd(far)
})

test('at the end GitHub was asked rightly and no secret shows', () => expectCleanEnd(town))

const record = /\/app\/hook\/deliveries$/

/** GUIDs of what Towline heeds and no attempt brought, without the installation, which came before the first start. */
function missed(): string[] {
  const heeded = town.github.deliveries.filter(
    ({ event, action }) => event === 'push' || action === 'rerequested',
  )
  const byGuid = Map.groupBy(heeded, ({ guid }) => guid)
  return [...byGuid].flatMap(([guid, attempts]) =>
    attempts.some(({ status }) => status === 'OK') ? [] : [guid],
  )
}

/** How often Towline has read the content of these deliveries. */
function reads(guids: string[]): number {
  const attempts = town.github.deliveries.filter(({ guid }) => guids.includes(guid))
  const paths = attempts.map(({ id }) => `/app/hook/deliveries/${id}`)
  return town.github.requests.filter(({ path }) => paths.some((end) => path.endsWith(end))).length
}

function looks(): number {
  return town.github.requests.filter(
    ({ path, status }) => path.includes('/app/hook/deliveries?') && status === 200,
  ).length
}

/** A look at GitHub's record that began after now. */
async function lookAgain(): Promise<void> {
  const before = looks()
  await town.sweep()
  await eventually('a look at the record', async () => (looks() > before ? true : null))
}

let settledCount = 0

/** Deliveries of a repo are worked off in order: once a commit pushed now is complete, all before it have been. */
async function settle(): Promise<void> {
  settledCount += 1
  const commit = await town.push({ write: { 'notes.txt': String(settledCount) } })
  await town.checkRun(commit, 'towline / deploy')
}

function runsOf(commit: string, name: string): CheckRunView[] {
  return town.github.checkRuns(town.repo, commit).filter((run) => run.name === name)
}

/** The newest run of the same name on the same commit, once it is another one and complete. */
function nextRun(of: Town, { id, name, headSha }: CheckRunView): Promise<CheckRunView> {
  return of.checkRun(headSha, name, (run) => run.id !== id && run.status === 'completed')
}

/** A spec as JSON, which is YAML too. */
function service(name: string, settings: object = {}): Record<string, string> {
  const spec = {
    apiVersion: 'towline/v1',
    kind: 'Service',
    name,
    image: 'towline-demo/hello:1',
    ports: ['8080'],
    stop_grace_period: '1s',
    deploy: { update_config: { monitor: '100ms' } },
    ...settings,
  }
  return { [`apps/${name}.yaml`]: `${JSON.stringify(spec, null, 2)}\n` }
}
