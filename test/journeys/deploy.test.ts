import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { phases } from '../../src/rollout/phase.ts'
import { changes, expectForwardOnly, phaseMarks, runNames } from '../support/check-run-text.ts'
import { expectCleanEnd } from '../support/clean-end.ts'
import { deploy, get, ids, nameOf, onlyContainer, portOf } from '../support/deploy.ts'
import { runIn, runInSite } from '../support/host-shell.ts'
import { healthTest, service, site, slow } from '../support/specs.ts'
import { eventually, freePort, startTown, type Town } from '../support/town.ts'

let town: Town

beforeAll(async () => {
  town = await startTown({ dockerSocket: inject('dockerSocket') })
})

afterAll(async () => {
  await town[Symbol.asyncDispose]()
})

test('a Service runs exactly as its spec says', async () => {
  const { commit, run } = await deploy(
    town,
    service('shop', {
      command: ['/bin/serve'],
      environment: { GREETING: 'Welcome', RETRIES: 3, DEBUG: true },
      user: '0:0',
      working_dir: '/tmp',
      volumes: ['data:/data:ro'],
      restart: 'on-failure:3',
      labels: { 'com.example.team': 'web' },
      stop_grace_period: '2s',
      deploy: {
        replicas: 2,
        resources: { limits: { cpus: '0.5', memory: '64M' } },
        update_config: { monitor: '100ms' },
      },
    }),
  )
  expect(run).toMatchObject({
    conclusion: 'success',
    title: expect.stringMatching(/^active: release \w+ is/),
  })
  const found = await town.containers('shop')
  expect(found).toHaveLength(2)
  for (const container of found) {
    const { Config, HostConfig, Mounts, NetworkSettings, State } = await town.docker
      .getContainer(container.Id)
      .inspect()
    expect(State.Status).toBe('running')
    expect(Config).toMatchObject({
      Cmd: ['/bin/serve'],
      User: '0:0',
      WorkingDir: '/tmp',
      StopTimeout: 2,
      Healthcheck: { Test: healthTest, Interval: 500_000_000, Retries: 2 },
    })
    expect(Config.Env).toEqual(expect.arrayContaining(['GREETING=Welcome', 'RETRIES=3', 'DEBUG=true']))
    expect(Config.Labels).toEqual({
      'com.example.team': 'web',
      'towline-demo.digest': expect.any(String),
      'towline.owner': town.owner(),
      'towline.repo': town.repo,
      'towline.app': 'shop',
      'towline.deployment': run.externalId,
      'towline.commit': commit,
      'towline.input': expect.stringMatching(/^[0-9a-f]{64}$/),
      'towline.role': 'app',
      'towline.epoch': expect.stringMatching(/^\d+$/),
    })
    expect(HostConfig).toMatchObject({
      Memory: 64 * 2 ** 20,
      NanoCpus: 500_000_000,
      RestartPolicy: { Name: 'on-failure', MaximumRetryCount: 3 },
      LogConfig: { Type: 'json-file', Config: { 'max-size': '10m', 'max-file': '3' } },
      Init: true,
      Privileged: false,
    })
    expect(Mounts).toEqual([
      expect.objectContaining({
        Type: 'volume',
        Name: expect.stringMatching(/^towline-shop-\w+-data$/),
        Destination: '/data',
        RW: false,
      }),
    ])
    const networks = Object.entries(NetworkSettings.Networks)
    expect(networks).toEqual([
      [
        expect.stringMatching(/^towline-/),
        expect.objectContaining({ Aliases: expect.arrayContaining(['shop']) }),
      ],
    ])
    expect(await get(portOf(container))).toContain('<h1>Welcome</h1><p>version 1')
  }
})

test('a check run shows each phase of a Service, in order, and what was changed', async () => {
  const { run } = await deploy(town, service('phased'))
  expect(phaseMarks(run)).toEqual([
    '✅ queued',
    '✅ pulling_source',
    '✅ building',
    '✅ copying_files',
    '➖ creating_symlinks',
    '✅ updating_routes',
    '✅ health_check',
    '✅ active',
  ])
  const [container] = await town.containers('phased')
  expect(changes(run)).toEqual([
    'use image towline-demo/hello:1 (containers have to be created)',
    expect.stringMatching(/^ensure network towline-\w+ \(/),
    `create container ${nameOf(container)} (not there yet)`,
    `start container ${nameOf(container)} (created and not running)`,
  ])
  expect(run.text).toContain('| asked for by | push |')
  expect(run.text).toContain(`\`${run.externalId}\``)
})

test('a change that changes nothing deploys nothing', async () => {
  await deploy(town, service('noted'))
  const before = await town.containers('noted')
  const [path, text] = Object.entries(service('noted'))[0] ?? ['', '']
  const commit = await town.push({ write: { [path]: `# only a comment\n${text}` } })
  const overall = await town.checkRun(commit, 'towline / deploy')
  expect(overall).toMatchObject({
    conclusion: 'success',
    title: expect.stringMatching(/^\d+ unchanged$/),
    summary: expect.stringContaining('Nothing to deploy'),
  })
  expect(runNames(town, commit)).toEqual(['towline / deploy'])
  expect(ids(await town.containers('noted'))).toEqual(ids(before))
})

test('a new image replaces the old container, and the data in its volume stays', async () => {
  const spec = { volumes: ['data:/data'], environment: { ROUND: '1' } }
  await deploy(town, service('kept', spec))
  const [old] = await town.containers('kept')
  await runIn(town, old?.Id ?? '', 'echo precious > /data/file')
  const { run } = await deploy(town, service('kept', { ...spec, image: 'towline-demo/hello:2' }))
  expect(run.conclusion).toBe('success')
  const container = await onlyContainer(town, 'kept')
  expect(container?.Id).not.toBe(old?.Id)
  expect(await town.fetchApp('kept')).toContain('version 2')
  expect(await runIn(town, container?.Id ?? '', 'cat /data/file')).toBe('precious')
  // A volume two containers could write to: the old one ends before the new one begins.
  const lines = changes(run)
  const stop = lines.findIndex((line) => line.startsWith(`stop container ${nameOf(old)} `))
  const start = lines.findIndex((line) => line.startsWith(`start container ${nameOf(container)} `))
  expect(stop).toBeGreaterThanOrEqual(0)
  expect(start).toBeGreaterThan(stop)
})

test('without a volume or a fixed port the old container answers until the new one does', async () => {
  await deploy(town, service('swift', { image: 'towline-demo/hello:1' }))
  const [old] = await town.containers('swift')
  const port = portOf(old)
  const commit = await town.push({ write: service('swift', slow) })
  await eventually('the new container to start', async () =>
    (await town.containers('swift')).filter(({ State }) => State === 'running').length === 2 ? true : null,
  )
  expect(await get(port)).toContain('version 1')
  expect(await town.checkRun(commit, 'towline / swift@local')).toMatchObject({ conclusion: 'success' })
  await onlyContainer(town, 'swift')
  expect(await town.fetchApp('swift')).toContain('version slow')
})

test('a fixed host port is handed over from the old container to the new one', async () => {
  const port = await freePort()
  const ports = [`127.0.0.1:${port}:8080`]
  await deploy(town, service('fixed', { ports }))
  expect(await get(port)).toContain('version 1')
  const { run } = await deploy(town, service('fixed', { ports, image: 'towline-demo/hello:2' }))
  expect(run.conclusion).toBe('success')
  expect(await get(port)).toContain('version 2')
  await onlyContainer(town, 'fixed')
})

test('a Site serves a folder of the repo, byte for byte, from the root its spec names', async () => {
  const { run } = await deploy(town, {
    ...site('docs', { source: { files: 'sites/docs' }, root: 'public' }),
    'sites/docs/README.md': 'not served',
    'sites/docs/public/index.html': '<h1>home</h1>',
    'sites/docs/public/deep/er/page.html': '<h1>deep</h1>',
    'sites/docs/public/every-byte.bin': everyByte,
  })
  expect(run.conclusion).toBe('success')
  expect(phaseMarks(run)).toEqual(phases.slice(0, -1).map((phase) => `✅ ${phase}`))
  const port = portOf((await town.containers('docs'))[0])
  expect(await get(port)).toBe('<h1>home</h1>')
  expect(await get(port, 'deep/er/page.html')).toBe('<h1>deep</h1>')
  const binary = await fetch(`http://127.0.0.1:${port}/every-byte.bin`)
  expect(Buffer.from(await binary.arrayBuffer()).equals(everyByte)).toBe(true)
  expect((await fetch(`http://127.0.0.1:${port}/README.md`)).status).toBe(404)
})

test('a Site serves what its spec says inline', async () => {
  await deploy(town, site('inline', { source: { inline: { 'index.html': '<h1>é</h1>', 'a/b.txt': 'b' } } }))
  expect(await town.fetchApp('inline')).toBe('<h1>é</h1>')
  expect(await get(portOf((await town.containers('inline'))[0]), 'a/b.txt')).toBe('b')
})

test('new files of a Site replace the old ones without a request that fails', async () => {
  const spec = site('live', { source: { files: 'sites/live' } })
  await deploy(town, { ...spec, 'sites/live/index.html': 'round 0' })
  const before = await town.containers('live')
  const port = portOf(before[0])
  const answers = new Set<string>()
  let stopped = false
  const visitor = (async () => {
    // Ends when the test says so; each request takes a millisecond at least.
    while (!stopped) answers.add(await get(port))
  })()
  const links: string[] = []
  for (const round of [1, 2, 3]) {
    const { run } = await deploy(town, { 'sites/live/index.html': `round ${round}` }, { app: 'live' })
    expect(run.conclusion).toBe('success')
    expect(await get(port)).toBe(`round ${round}`)
    links.push(await runInSite(town, 'live', 'readlink current'))
  }
  stopped = true
  await visitor
  expect([...answers].sort()).toEqual(['round 0', 'round 1', 'round 2', 'round 3'])
  expect(new Set(links).size).toBe(3)
  expect(ids(await town.containers('live'))).toEqual(ids(before))
})

test('another root of a Site is served from the same release server', async () => {
  const files = { 'sites/rooted/a/index.html': 'from a', 'sites/rooted/b/index.html': 'from b' }
  await deploy(town, { ...site('rooted', { source: { files: 'sites/rooted' }, root: 'a' }), ...files })
  const before = await town.containers('rooted')
  expect(await town.fetchApp('rooted')).toBe('from a')
  const { run } = await deploy(town, site('rooted', { source: { files: 'sites/rooted' }, root: 'b' }))
  expect(run.conclusion).toBe('success')
  expect(await town.fetchApp('rooted')).toBe('from b')
  expect(ids(await town.containers('rooted'))).toEqual(ids(before))
})

test('as many releases of a Site are kept as its spec says', async () => {
  const round = (text: string) =>
    site('pruned', { source: { inline: { 'index.html': text } }, rollout: { keepReleases: 2 } })
  for (const text of ['one ', 'two ', 'three ']) await deploy(town, round(text))
  const kept = await eventually('the oldest release to be removed', async () => {
    const pages = (await runInSite(town, 'pruned', 'cat releases/*/index.html')).split(' ')
    return pages.length === 2 ? pages.toSorted() : null
  })
  expect(kept).toEqual(['three', 'two'])
})

test('no check run ever goes backwards or takes more than 12 writes', () => expectForwardOnly(town))

test('nothing is left to do, and at the end GitHub was asked rightly and no secret shows', async () => {
  expect(await town.sweep()).toMatchObject({ hosts: [{ due: [] }], repos: [{ error: null }] })
  await expectCleanEnd(town)
})

const everyByte = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte))
