import { randomUUID } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { request } from 'node:http'
import { Readable } from 'node:stream'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { expectCleanEnd } from '../support/clean-end.ts'
import { eventually, startTown, type Town } from '../support/town.ts'

let town: Town
/** The first push: an older commit for the tests that follow. */
let firstCommit: string

beforeAll(async () => {
  town = await startTown({ dockerSocket: inject('dockerSocket'), ownProcess: true })
  firstCommit = await pushGreeting('first')
})

afterAll(async () => {
  await town[Symbol.asyncDispose]()
})

test('a push is deployed, and GitHub is told at once that its webhook was stored', async () => {
  await live(firstCommit, 'first')
  const push = lastPush()
  expect(push.statusCode).toBe(202)
})

test('a delivery that comes again under its GUID is answered and looked at once', async () => {
  const { guid } = lastPush()
  await settled()
  const before = looks()
  for (let time = 1; time <= 3; time += 1) town.github.redeliver(guid)
  await eventually('three redeliveries', async () => {
    const again = town.github.deliveries.filter((one) => one.guid === guid && one.redelivery)
    return again.length === 3 && again.every(({ statusCode }) => statusCode === 202) ? true : null
  })
  await settled()
  expect(looks() - before).toBe(looksOfOneDelivery)
})

test('a GUID that comes again with other content is not worked off a second time', async () => {
  const { guid } = lastPush()
  await settled()
  const before = looks()
  const body = lastPush().request.body.replace('"refs/heads/main"', '"refs/heads/other"')
  expect(await deliver(body, { 'X-GitHub-Delivery': guid })).toBe(202)
  await settled()
  expect(looks() - before).toBe(looksOfOneDelivery)
})

test.each([
  ['without a signature', { 'X-Hub-Signature-256': '' }, 401],
  ['with the signature of another secret', { 'X-Hub-Signature-256': `sha256=${'0'.repeat(64)}` }, 401],
  ['with half a signature', { 'X-Hub-Signature-256': 'sha256=' }, 401],
  ['without a GUID', { 'X-GitHub-Delivery': '' }, 400],
  ['with a GUID that is a path', { 'X-GitHub-Delivery': '../../etc/passwd' }, 400],
  ['without an event', { 'X-GitHub-Event': '' }, 400],
])(
  'a delivery %s is refused with a problem document, and nothing is looked at',
  async (_, headers, status) => {
    await settled()
    const before = looks()
    const answer = await deliverWhole(lastPush().request.body, headers)
    expect(answer.status).toBe(status)
    expect(JSON.parse(answer.body)).toMatchObject({ status, detail: expect.any(String) })
    await settled()
    expect(looks() - before).toBe(looksOfOneDelivery)
  },
)

test('a signed body that is no JSON object is refused', async () => {
  for (const body of ['not json', '"a text"', 'null', '{"ref":']) {
    expect(await deliver(body, {})).toBe(400)
  }
})

test('a signed event Towline does not know is accepted and does nothing', async () => {
  expect(await deliver('{"zen":"Design for failure.","hook_id":1}', { 'X-GitHub-Event': 'ping' })).toBe(202)
  expect(await deliver('{"anything":true}', { 'X-GitHub-Event': 'not_an_event' })).toBe(202)
})

test('a body larger than 25 MB is refused without being kept in memory, announced or not', async () => {
  const before = await residentBytes()
  for (let time = 1; time <= 4; time += 1) {
    expect(await postLarge({ announced: true })).toBe(413)
    expect(await postLarge({ announced: false })).toBe(413)
  }
  expect((await residentBytes()) - before).toBeLessThan(150 * 1024 * 1024)
  expect((await fetch(`${town.url}/healthz`)).status).toBe(200)
})

test('an older push delivered after a newer one changes nothing: the newest commit stays', async () => {
  const older = await pushGreeting('older')
  await live(older, 'older')
  const stale = lastPush().request.body
  const newer = await pushGreeting('newer')
  await live(newer, 'newer')
  expect(await deliver(stale, {})).toBe(202)
  await settled()
  expect(await town.fetchApp('hello')).toContain('newer')
  expect(runNames(older)).toEqual(['towline / deploy', 'towline / hello@local'])
  expect(runNames(newer)).toEqual(['towline / deploy', 'towline / hello@local'])
})

test('two pushes whose webhooks come in the wrong order end at the newest commit', async () => {
  town.github.pauseWebhooks()
  const skipped = await pushGreeting('skipped')
  const wanted = await pushGreeting('wanted')
  town.github.resumeWebhooks()
  await live(wanted, 'wanted')
  expect(town.github.checkRuns(town.repo, skipped)).toEqual([])
})

test('a push to another branch is ignored', async () => {
  const main = await town.work.git(['rev-parse', 'HEAD'])
  const commit = await town.work.commit({ write: { 'apps/hello.yaml': hello('on a branch') } })
  await town.work.push({ branch: 'feature' })
  await eventually('the webhook of the branch', async () =>
    town.github.deliveries.find(({ event, request }) => event === 'push' && request.body.includes(commit)),
  )
  await settled()
  expect(town.github.checkRuns(town.repo, commit)).toEqual([])
  expect(await town.fetchApp('hello')).toContain('wanted')
  await town.work.reset(main)
})

test('a force-push back to an older commit deploys that commit again', async () => {
  await town.work.reset(firstCommit)
  await town.work.push({ force: true })
  await eventually('the first greeting', async () =>
    (await town.fetchApp('hello')).includes('first') ? true : null,
  )
  const onto = await pushGreeting('after the force-push')
  await live(onto, 'after the force-push')
})

test('a history of its own, force-pushed, is deployed', async () => {
  await town.work.startOver()
  const commit = await town.work.commit({ write: { 'apps/hello.yaml': hello('started over') } })
  await town.work.push({ force: true })
  await live(commit, 'started over')
})

test('a branch that is deleted takes nothing down, and is followed again once it is back', async () => {
  // As in GitHub's settings, for git refuses to delete the default branch by a push.
  const folder = town.github.gitFolder(town.repo)
  await town.work.git([`--git-dir=${folder}`, 'update-ref', '-d', 'refs/heads/main'])
  await settled()
  expect(await town.sweep()).toMatchObject({ repos: [{ repo: town.repo, error: null }] })
  expect(await town.fetchApp('hello')).toContain('started over')
  const back = await pushGreeting('back again')
  await live(back, 'back again')
})

test('a push whose webhook was lost is found by the trigger', async () => {
  town.github.pauseWebhooks()
  const commit = await pushGreeting('lost and found')
  await eventually('a webhook to lose', async () => (town.github.dropWebhooks() > 0 ? true : null))
  town.github.resumeWebhooks()
  await town.sweep()
  await live(commit, 'lost and found')
})

test('at the end GitHub was asked rightly and no secret shows', () => expectCleanEnd(town))

/** `settled` delivers once itself. */
const looksOfOneDelivery = 1

function hello(greeting: string): string {
  return `apiVersion: towline/v1
kind: Service
name: hello
image: towline-demo/hello:1
ports: ["8080"]
environment: { GREETING: "${greeting}" }
deploy: { update_config: { monitor: 100ms } }
stop_grace_period: 1s
`
}

function pushGreeting(greeting: string): Promise<string> {
  return town.push({ write: { 'apps/hello.yaml': hello(greeting) } })
}

async function live(commit: string, greeting: string): Promise<void> {
  expect(await town.checkRun(commit, 'towline / deploy')).toMatchObject({ conclusion: 'success' })
  expect(await town.fetchApp('hello')).toContain(greeting)
}

function lastPush() {
  const push = town.github.deliveries.findLast(({ event, redelivery }) => event === 'push' && !redelivery)
  if (!push) throw new Error('GitHub has sent no push yet')
  return push
}

/** How often Towline has asked git for the head of the branch. */
function looks(): number {
  return town.github.requests.filter(
    ({ path, caller }) => path.endsWith('/info/refs?service=git-upload-pack') && caller.startsWith('install'),
  ).length
}

/** Deliveries of a repo are worked off in order: once one sent now has led to a look, all before it have. */
async function settled(): Promise<void> {
  const before = looks()
  expect(await deliver(lastPush().request.body, {})).toBe(202)
  await eventually('a look at the repo', async () => (looks() > before ? true : null))
}

async function deliver(body: string, headers: Record<string, string>): Promise<number> {
  return (await deliverWhole(body, headers)).status
}

/** Like GitHub, but for the given headers; an empty one is left out. */
async function deliverWhole(body: string, headers: Record<string, string>) {
  const all = {
    'Content-Type': 'application/json',
    'X-GitHub-Delivery': randomUUID(),
    'X-GitHub-Event': 'push',
    'X-Hub-Signature-256': town.github.sign(body),
    ...headers,
  }
  const sent = Object.fromEntries(Object.entries(all).filter(([, value]) => value !== ''))
  return town.github.deliverRaw({ body, headers: sent })
}

function runNames(commit: string): string[] {
  return town.github
    .checkRuns(town.repo, commit)
    .map(({ name }) => name)
    .sort()
}

/** What Towline's process holds in memory. Source: proc_pid_status(5), `VmRSS` in kB. */
async function residentBytes(): Promise<number> {
  const status = await readFile(`/proc/${town.pid()}/status`, 'utf8')
  return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1]) * 1024
}

/** One byte more than GitHub ever sends: announced by `Content-Length` alone, or sent in chunks without a word. */
function postLarge({ announced }: { announced: boolean }): Promise<number> {
  const byteCount = 25 * 1024 * 1024 + 1
  return new Promise((resolve, reject) => {
    const sending = request(`${town.url}/api/github/webhooks`, {
      method: 'POST',
      headers: {
        'Content-Type': 'application/json',
        'X-GitHub-Delivery': randomUUID(),
        'X-GitHub-Event': 'push',
        'X-Hub-Signature-256': `sha256=${'0'.repeat(64)}`,
        ...(announced && { 'Content-Length': byteCount }),
      },
    })
    sending.on('error', reject)
    sending.on('response', (answer) => {
      resolve(answer.statusCode ?? 0)
      sending.destroy()
    })
    if (announced) sending.flushHeaders()
    else Readable.from(pieces(byteCount)).pipe(sending)
  })
}

function* pieces(byteCount: number): Generator<Buffer> {
  const piece = Buffer.alloc(256 * 1024)
  for (let sent = 0; sent < byteCount; sent += piece.byteLength) yield piece.subarray(0, byteCount - sent)
}
