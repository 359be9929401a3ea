import { createServer } from 'node:http'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { appJwt, eventually, installationClient, octokit, type Scene, startScene } from './scene.ts'
import { startWebhookSink } from './webhook-sink.ts'

// Real git and real HTTP on a busy machine.
vi.setConfig({ testTimeout: 30_000, hookTimeout: 30_000 })

let scene: Scene
beforeEach(async () => {
  scene = await startScene()
  await eventually(() => expect(scene.github.deliveries).toHaveLength(3))
})
afterEach(() => scene[Symbol.asyncDispose]())

const acme = { owner: 'acme', repo: 'config' }
const guidPattern = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/

test('an installation, a push and the suite it asks for are told, signed, in that shape', async () => {
  const { github, sink, sha, installationId } = scene
  const events = sink.received.map((one) => one.headers['x-github-event'])
  expect(events.toSorted()).toEqual(['check_suite', 'installation', 'push'])
  for (const { headers, body } of sink.received) {
    expect(headers['x-hub-signature-256']).toBe(github.sign(body))
    expect(headers['x-github-delivery']).toMatch(guidPattern)
    expect(headers['x-github-hook-id']).toBe(String(github.app.hookId))
    expect(headers['user-agent']).toMatch(/^GitHub-Hookshot\//)
  }
  expect(sink.payloads('push')).toMatchObject([
    {
      ref: 'refs/heads/main',
      before: '0'.repeat(40),
      after: sha,
      created: true,
      deleted: false,
      forced: false,
      head_commit: { id: sha, message: 'Add hello', added: ['apps/hello.yaml'], removed: [], modified: [] },
      pusher: { name: 'dev' },
      repository: { full_name: 'acme/config', private: true, default_branch: 'main' },
      installation: { id: installationId },
      sender: { login: 'dev' },
    },
  ])
  expect(sink.payloads('check_suite')).toMatchObject([
    {
      action: 'requested',
      check_suite: { head_sha: sha, head_branch: 'main' },
      installation: { id: installationId },
    },
  ])
})

test('a push says what it changed, whether it was forced, and when a branch went', async () => {
  const { sink, sha, tree } = scene
  const second = await tree.commit({
    write: { 'apps/b.yaml': 'b' },
    remove: ['apps/hello.yaml'],
    message: 'two',
  })
  await tree.push()
  await eventually(() => expect(sink.payloads('push')).toHaveLength(2))
  expect(sink.payloads('push')[1]).toMatchObject({
    before: sha,
    after: second,
    created: false,
    forced: false,
    commits: [{ id: second, added: ['apps/b.yaml'], removed: ['apps/hello.yaml'], modified: [] }],
  })

  await tree.reset(sha)
  const third = await tree.commit({ message: 'instead' })
  await tree.push({ force: true })
  await eventually(() => expect(sink.payloads('push')).toHaveLength(3))
  expect(sink.payloads('push')[2]).toMatchObject({ before: second, after: third, forced: true })

  await tree.push({ branch: 'preview' })
  await tree.deleteRemoteBranch('preview')
  await eventually(() => expect(sink.payloads('push')).toHaveLength(5))
  expect(sink.payloads('push').find((one) => one.deleted === true)).toMatchObject({
    ref: 'refs/heads/preview',
    before: third,
    after: '0'.repeat(40),
    commits: [],
    head_commit: null,
  })
})

test('a re-run is told to the App that made the run, and to no other', async () => {
  const { github, sink, sha } = scene
  await using otherSink = await startWebhookSink()
  const other = await github.registerApp({
    slug: 'other',
    webhook: { url: otherSink.url, secret: 'another' },
  })
  github.installApp({ app: other, repos: ['acme/config'] })
  const client = await installationClient(github)
  const { data: run } = await client.rest.checks.create({
    ...acme,
    name: 'deploy',
    head_sha: sha,
    external_id: 'd1',
    conclusion: 'failure',
  })
  github.rerequestRun(Number(run.id), { sender: 'mallory' })
  await github.rerequestSuite(sha)
  await eventually(() => {
    expect(sink.payloads('check_run').map((one) => one.action)).toContain('rerequested')
    expect(sink.payloads('check_suite').map((one) => one.action)).toContain('rerequested')
    expect(otherSink.payloads('check_run').map((one) => one.action)).toContain('completed')
  })
  expect(sink.payloads('check_run').find((one) => one.action === 'rerequested')).toMatchObject({
    check_run: {
      id: run.id,
      name: 'deploy',
      head_sha: sha,
      external_id: 'd1',
      status: 'completed',
      app: { id: github.app.id },
      check_suite: { head_sha: sha },
    },
    sender: { login: 'mallory' },
  })
  expect(otherSink.payloads('check_run').map((one) => one.action)).not.toContain('rerequested')
  expect(otherSink.payloads('check_suite')).toEqual([])
})

test('a delivery that failed is on record, is not sent again by itself, and comes again under its GUID', async () => {
  const { github, sink, tree } = scene
  sink.answer = 500
  await tree.commit({ message: 'lost' })
  await tree.push()
  await eventually(() => expect(github.deliveries.filter((one) => one.statusCode === 500)).toHaveLength(2))

  sink.answer = 202
  const client = octokit(github, appJwt(github.app))
  const { data: listed } = await client.rest.apps.listWebhookDeliveries({ per_page: 100 })
  const failed = listed.find((one) => one.event === 'push' && one.status !== 'OK')
  expect(failed).toMatchObject({ status_code: 500, redelivery: false })
  // In the path as text: Octokit leaves out a bigint.
  const path = `/app/hook/deliveries/${failed?.id}`
  const { data: whole } = await client.request(`GET ${path}`)
  expect(whole.request.payload).toMatchObject({ head_commit: { message: 'lost' } })

  const countBefore = sink.received.length
  const attempt = await client.request(`POST ${path}/attempts`)
  expect(attempt.status).toBe(202)
  await eventually(() => expect(sink.received).toHaveLength(countBefore + 1))
  expect(sink.received.at(-1)?.headers['x-github-delivery']).toBe(failed?.guid)
  await eventually(() =>
    expect(github.deliveries.at(-1)).toMatchObject({ guid: failed?.guid, redelivery: true, status: 'OK' }),
  )
  github.redeliver(String(failed?.guid))
  await eventually(() => expect(sink.received).toHaveLength(countBefore + 2))
})

test('deliveries come newest first, in pages with a cursor', async () => {
  const { github } = scene
  const client = octokit(github, appJwt(github.app))
  const first = await client.rest.apps.listWebhookDeliveries({ per_page: 2 })
  expect(first.data).toHaveLength(2)
  const cursor = /cursor=([^&>]+)/.exec(first.headers.link ?? '')?.[1]
  const second = await client.rest.apps.listWebhookDeliveries({ per_page: 2, cursor: String(cursor) })
  expect(second.data).toHaveLength(1)
  expect(second.headers.link).toBeUndefined()
  const ids = [...first.data, ...second.data].map((one) => one.id)
  expect(ids).toEqual(github.deliveries.map((one) => one.id).toReversed())
  const other = await github.registerApp({ slug: 'other' })
  const theirs = await octokit(github, appJwt(other)).rest.apps.listWebhookDeliveries()
  expect(theirs.data).toEqual([])
})

test('a receiver that is down is a recorded fact', async () => {
  const { github, tree } = scene
  const closed = createServer().listen(0, '127.0.0.1')
  await new Promise((resolve) => closed.once('listening', resolve))
  const address = closed.address()
  const port = typeof address === 'object' ? address?.port : 0
  await new Promise((resolve) => closed.close(resolve))
  github.setWebhook({ url: `http://127.0.0.1:${port}/`, secret: 's' })
  await tree.commit({ message: 'nobody hears' })
  await tree.push()
  await eventually(() =>
    expect(github.deliveries.at(-1)).toMatchObject({ status: 'failed to connect to host', statusCode: 0 }),
  )
})

test('paused webhooks come when they are resumed; dropped ones never come', async () => {
  const { github, sink, tree } = scene
  github.pauseWebhooks()
  await tree.commit({ message: 'late' })
  await tree.push()
  expect(sink.payloads('push')).toHaveLength(1)
  github.resumeWebhooks()
  await eventually(() => expect(sink.payloads('check_suite')).toHaveLength(2))

  github.pauseWebhooks()
  const dropped = await tree.commit({ message: 'lost' })
  await tree.push()
  // The suite's webhook follows a read of the commit, so it may come a moment after the push's.
  let droppedCount = 0
  await eventually(() => {
    droppedCount += github.dropWebhooks()
    expect(droppedCount).toBe(2)
  })
  github.resumeWebhooks()
  const after = await tree.commit({ message: 'heard again' })
  await tree.push()
  await eventually(() => expect(sink.payloads('push').map((one) => one.after)).toContain(after))
  expect(sink.payloads('push').map((one) => one.after)).not.toContain(dropped)
})

test('raw deliveries go out as they are', async () => {
  const { github, sink } = scene
  const answer = await github.deliverRaw({ body: '{"not":"signed"}', headers: { 'x-github-event': 'push' } })
  expect(answer).toMatchObject({ status: 202, body: 'noted' })
  expect(sink.received.at(-1)?.body).toBe('{"not":"signed"}')
  expect(sink.received.at(-1)?.headers['x-hub-signature-256']).toBeUndefined()
})
