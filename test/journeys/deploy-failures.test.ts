import { createServer, type Server } from 'node:http'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { expectForwardOnly, phaseMarks } from '../support/check-run-text.ts'
import { expectCleanEnd } from '../support/clean-end.ts'
import { deploy, get, ids, portOf } from '../support/deploy.ts'
import { runInSite } from '../support/host-shell.ts'
import { service, site } from '../support/specs.ts'
import { eventually, freePort, startTown, type Town } from '../support/town.ts'

let town: Town

beforeAll(async () => {
  town = await startTown({ dockerSocket: inject('dockerSocket') })
})

afterAll(async () => {
  await town[Symbol.asyncDispose]()
})

test('where the new container of a fixed port fails, the old one is started again and answers', async () => {
  const port = await freePort()
  const ports = [`127.0.0.1:${port}:8080`]
  await deploy(town, service('back', { ports }))
  const before = await town.containers('back')
  const { run } = await deploy(town, service('back', { ports, image: 'towline-demo/unhealthy:1' }))
  expect(run.conclusion).toBe('failure')
  expect(run.summary).toMatch(/release \w+ was put back and serves/)
  expect(ids(await town.containers('back'))).toEqual(ids(before))
  expect(await get(port)).toContain('version 1')
})

test('an image that never gets healthy fails with its reason, while the old release goes on answering', async () => {
  await deploy(town, service('sick'))
  const before = await town.containers('sick')
  const port = portOf(before[0])
  const commit = await town.push({ write: service('sick', { image: 'towline-demo/unhealthy:1' }) })
  const answers = new Set<string>()
  const run = await eventually('the failure', async () => {
    answers.add(await get(port))
    const found = town.github.checkRuns(town.repo, commit).find(({ name }) => name.includes('sick'))
    return found?.status === 'completed' ? found : null
  })
  expect([...answers]).toEqual([expect.stringContaining('version 1')])
  expect(run).toMatchObject({
    conclusion: 'failure',
    title: expect.stringMatching(/^failed in updating_routes: container \S+: its health check failed/),
    summary: expect.stringMatching(/\*\*What to do:\*\* .*Mend the app or its health check/),
    text: expect.stringContaining('### Last log lines\n\n```text\nlistening on nothing\n'),
  })
  expect(run.summary).toMatch(/release \w+ was never touched and serves/)
  expect(phaseMarks(run)).toContain('❌ updating_routes')
  expect(ids(await town.containers('sick'))).toEqual(ids(before))
  expect(await town.checkRun(commit, 'towline / deploy')).toMatchObject({
    conclusion: 'failure',
    title: expect.stringMatching(/^1 failed, \d+ unchanged$/),
    summary: expect.stringContaining('its health check failed'),
  })
})

test('an image that crashes fails with its last words', async () => {
  await deploy(town, service('crashing'))
  const before = await town.containers('crashing')
  const { run } = await deploy(town, service('crashing', { image: 'towline-demo/crash:1' }))
  expect(run).toMatchObject({
    conclusion: 'failure',
    title: expect.stringMatching(/^failed in updating_routes: container \S+: it .*exit code 1$/),
    text: expect.stringContaining('cannot open the database'),
  })
  expect(ids(await town.containers('crashing'))).toEqual(ids(before))
  expect(await town.fetchApp('crashing')).toContain('version 1')
})

test('an image no registry has fails before anything is touched, with what to do', async () => {
  await deploy(town, service('absent'))
  const before = await town.containers('absent')
  const registry = await startEmptyRegistry()
  const { run } = await deploy(town, service('absent', { image: `${registry.host}/nowhere:1` }))
  registry.server.close()
  expect(run).toMatchObject({
    conclusion: 'failure',
    title: expect.stringMatching(
      /^failed in pulling_source: No registry gave image 127\.0\.0\.1:\d+\/nowhere:1/,
    ),
    summary: expect.stringContaining('Push the image, correct its name or tag'),
  })
  expect(ids(await town.containers('absent'))).toEqual(ids(before))
})

test('a first deployment that fails leaves no container behind', async () => {
  const { run } = await deploy(town, service('stillborn', { image: 'towline-demo/crash:1' }))
  expect(run).toMatchObject({
    conclusion: 'failure',
    summary: expect.stringContaining('nothing of this attempt was left on the host'),
  })
  expect(await town.containers('stillborn')).toEqual([])
})

test('a first deployment of a Site that fails leaves no container and no release behind', async () => {
  const taken = createServer()
  const port = await freePort()
  await new Promise<void>((resolve) => taken.listen(port, '127.0.0.1', resolve))
  const { run } = await deploy(
    town,
    site('homeless', { ports: [`127.0.0.1:${port}:80`], source: { inline: { 'index.html': 'at home' } } }),
  )
  taken.close()
  expect(run).toMatchObject({
    conclusion: 'failure',
    title: expect.stringMatching(/^failed in updating_routes: /),
    summary: expect.stringContaining('nothing of this attempt was left on the host'),
  })
  expect(await town.containers('homeless')).toEqual([])
  expect(await runInSite(town, 'homeless', 'ls releases').catch(() => 'gone')).toBe('gone')
})

test('an app whose dependency failed is not deployed, and says why', async () => {
  const commit = await town.push({
    write: {
      ...service('c-front', { dependsOn: ['d-broken'] }),
      ...service('d-broken', { image: 'towline-demo/crash:1' }),
    },
  })
  expect(await town.checkRun(commit, 'towline / c-front@local')).toMatchObject({
    conclusion: 'failure',
    title: 'failed in queued: depends on d-broken, which failed',
  })
  expect(await town.containers('c-front')).toEqual([])
})

test('no check run ever goes backwards or takes more than 12 writes', () => expectForwardOnly(town))

test('nothing is left to do, and at the end GitHub was asked rightly and no secret shows', async () => {
  expect(await town.sweep()).toMatchObject({ hosts: [{ due: [] }], repos: [{ error: null }] })
  await expectCleanEnd(town)
})

/** A registry that has no image. */
async function startEmptyRegistry(): Promise<{ host: string; server: Server }> {
  const port = await freePort()
  const server = createServer((request, response) => {
    const isRoot = request.url === '/v2/'
    response.writeHead(isRoot ? 200 : 404, { 'content-type': 'application/json' })
    response.end(isRoot ? '{}' : '{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}')
  })
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
  return { host: `127.0.0.1:${port}`, server }
}
