import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { installationClient, octokit, type Scene, startScene } from './scene.ts'

// Real git and real HTTP on a busy machine.
vi.setConfig({ testTimeout: 30_000, hookTimeout: 30_000 })

let scene: Scene
beforeEach(async () => {
  scene = await startScene()
})
afterEach(() => scene[Symbol.asyncDispose]())

const acme = { owner: 'acme', repo: 'config' }

test('a failure meets the next requests that match, as often as asked', async () => {
  const { github, sha } = scene
  const client = await installationClient(github)
  github.failNext({ method: 'POST', pathPattern: /check-runs$/, status: 502, times: 2 })
  await client.rest.repos.get(acme)
  const create = () => client.rest.checks.create({ ...acme, name: 'deploy', head_sha: sha })
  await expect(create()).rejects.toMatchObject({ status: 502 })
  await expect(create()).rejects.toMatchObject({ status: 502 })
  expect((await create()).status).toBe(201)
  expect(github.checkRuns('acme/config')).toHaveLength(1)
})

test('a secondary rate limit says how long to wait', async () => {
  const client = await installationClient(scene.github)
  scene.github.failNext({ status: 403, headers: { 'retry-after': '60' } })
  await expect(client.rest.repos.get(acme)).rejects.toMatchObject({
    status: 403,
    message: expect.stringContaining('secondary rate limit'),
    response: { headers: { 'retry-after': '60' } },
  })
})

test('a cut before the answer may have done its work, a cut before the work has not', async () => {
  const { github, sha } = scene
  const client = await installationClient(github)
  const create = () => client.rest.checks.create({ ...acme, name: 'deploy', head_sha: sha })
  github.cutNext({ method: 'POST', moment: 'before' })
  await expect(create()).rejects.toThrow()
  expect(github.checkRuns('acme/config')).toHaveLength(0)
  github.cutNext({ method: 'POST', moment: 'after' })
  await expect(create()).rejects.toThrow()
  expect(github.checkRuns('acme/config')).toHaveLength(1)
})

test('faults that are cleared strike nobody', async () => {
  const client = await installationClient(scene.github)
  scene.github.failNext({ status: 500, times: 10 })
  scene.github.clearFaults()
  expect((await client.rest.repos.get(acme)).status).toBe(200)
})

test('under latency a caller can give up before anything was done', async () => {
  const { github, sha } = scene
  const client = await installationClient(github)
  github.setLatency(60_000)
  const request = { signal: AbortSignal.timeout(50) }
  await expect(
    client.rest.checks.create({ ...acme, name: 'deploy', head_sha: sha, request }),
  ).rejects.toThrow()
  expect(github.checkRuns('acme/config')).toEqual([])
})

test('every answer counts the rate limit down, and beyond it GitHub refuses', async () => {
  await using small = await startScene({ requestsPerHour: 3 })
  const client = await installationClient(small.github)
  const first = await client.rest.repos.get(acme)
  expect(first.headers).toMatchObject({ 'x-ratelimit-limit': '3', 'x-ratelimit-remaining': '2' })
  await client.rest.repos.get(acme)
  await client.rest.repos.get(acme)
  await expect(client.rest.repos.get(acme)).rejects.toMatchObject({
    status: 403,
    message: expect.stringContaining('API rate limit exceeded'),
    response: { headers: { 'x-ratelimit-remaining': '0' } },
  })
})

test('a path this GitHub does not know is 404 and on record', async () => {
  const client = octokit(scene.github)
  expect(scene.github.unknownRequests).toEqual([])
  await expect(client.request('GET /repos/acme/config/pulls')).rejects.toMatchObject({ status: 404 })
  expect(scene.github.unknownRequests).toMatchObject([
    { method: 'GET', path: '/api/v3/repos/acme/config/pulls' },
  ])
})

test.each([
  ['is no JSON', '{', 400, 'Problems parsing JSON'],
  ['is no object', '[]', 400, 'Body should be a JSON object'],
  ['is larger than 1 MB', JSON.stringify({ name: 'x'.repeat(1024 * 1024) }), 413, 'larger than 1 MB'],
])('a body that %s is refused', async (_, body, status, message) => {
  const response = await fetch(`${scene.github.url}/api/v3/repos/acme/config/check-runs`, {
    method: 'POST',
    body,
  })
  expect(response.status).toBe(status)
  expect(await response.json()).toMatchObject({ message: expect.stringContaining(message) })
  expect(response.headers.get('x-github-request-id')).toBeTruthy()
})
