import { afterAll, afterEach, beforeAll, expect, inject, test } from 'vitest'
import { expectCleanEnd } from '../support/clean-end.ts'
import { eventually, startTown, type Town } from '../support/town.ts'

let town: Town

beforeAll(async () => {
  town = await startTown({ dockerSocket: inject('dockerSocket') })
  await expectShown(await pushGreeting('at first'))
})

afterAll(async () => {
  await town[Symbol.asyncDispose]()
})

afterEach(() => town.github.clearFaults())

const api = /^\/api\/v3\//
const checkRuns = /\/check-runs/
const often = 1_000

type Outage = [name: string, begin: (github: Town['github']) => void]

const outages: Outage[] = [
  ['answers 502', (github) => github.failNext({ pathPattern: api, status: 502, times: often })],
  [
    'limits the rate and names the seconds to wait',
    (github) =>
      github.failNext({ pathPattern: checkRuns, status: 429, headers: { 'retry-after': '1' }, times: 2 }),
  ],
  [
    'has its secondary limit met',
    (github) =>
      github.failNext({ pathPattern: checkRuns, status: 403, headers: { 'retry-after': '1' }, times: 2 }),
  ],
  ['cuts connections before it acts', (github) => github.cutNext({ pathPattern: api, times: often })],
  [
    'does what it is asked and cuts the connection before it says so',
    (github) => github.cutNext({ pathPattern: checkRuns, moment: 'after', times: 4 }),
  ],
  ['forgets every token it gave', (github) => github.expireTokens()],
]

test.each(outages)(
  'while GitHub %s, the deployment goes on, and is shown rightly later',
  async (name, begin) => {
    // The config repo is read first: what is out is only what GitHub shows.
    const commit = await pushGreeting(name)
    await eventually('the deployment to begin', async () =>
      town.github.checkRuns(town.repo, commit).length > 0 ? true : null,
    )
    begin(town.github)
    await expectServed(name)
    town.github.clearFaults()
    await expectShown(commit)
  },
)

test('a Towline that is restarted while GitHub is away goes on, and tells all once it is back', async () => {
  const commit = await pushGreeting('restarted')
  await eventually('the deployment to begin', async () =>
    town.github.checkRuns(town.repo, commit).length > 0 ? true : null,
  )
  town.github.failNext({ status: 503, times: often })
  await town.stopTowline()
  await town.startTowline()
  await expectServed('restarted')
  expect((await fetch(`${town.url}/readyz`)).status).toBe(200)
  expect(await town.sweep()).toMatchObject({ hosts: [{ host: 'local', targetCount: 1 }] })
  town.github.clearFaults()
  await expectShown(commit)
})

test('a host that drifts while GitHub is away is healed', async () => {
  town.github.failNext({ status: 503, times: often })
  const [container] = await town.containers('hello')
  await town.docker.getContainer(container?.Id ?? '').remove({ force: true })
  await eventually('the container to be back', async () => {
    const [now] = await town.containers('hello')
    return now && now.Id !== container?.Id && now.State === 'running' ? true : null
  })
})

test('a push whose commit git would not give at first is deployed by the same webhook', async () => {
  town.github.failNext({ pathPattern: /git-upload-pack$/, status: 500, times: 2 })
  const commit = await pushGreeting('git failed')
  await expectShown(commit)
  await expectServed('git failed')
})

test('a push whose transfer was cut is deployed by the same webhook', async () => {
  town.github.cutNext({ pathPattern: /git-upload-pack$/, times: 2 })
  const commit = await pushGreeting('git was cut')
  await expectShown(commit)
  await expectServed('git was cut')
})

test('tokens that end between two pushes are replaced, for git and for the API', async () => {
  town.github.expireTokens()
  const commit = await pushGreeting('new tokens')
  await expectShown(commit)
  await expectServed('new tokens')
})

test('at the end GitHub was asked rightly and no secret shows', () => expectCleanEnd(town))

function pushGreeting(greeting: string): Promise<string> {
  return town.push({
    write: {
      'apps/hello.yaml': `apiVersion: towline/v1
kind: Service
name: hello
image: towline-demo/hello:1
ports: ["8080"]
environment: { GREETING: "${greeting}" }
stop_grace_period: 1s
deploy: { update_config: { monitor: 500ms } }
`,
    },
  })
}

async function expectServed(greeting: string): Promise<void> {
  await eventually(`"${greeting}" to be served`, async () => {
    const page = await town.fetchApp('hello').catch(() => '')
    return page.includes(greeting) ? true : null
  })
}

/** Each run is there once, and complete. */
async function expectShown(commit: string): Promise<void> {
  expect(await town.checkRun(commit, 'towline / deploy')).toMatchObject({ conclusion: 'success' })
  expect(await town.checkRun(commit, 'towline / hello@local')).toMatchObject({ conclusion: 'success' })
  expect(
    town.github
      .checkRuns(town.repo, commit)
      .map(({ name }) => name)
      .sort(),
  ).toEqual(['towline / deploy', 'towline / hello@local'])
}
