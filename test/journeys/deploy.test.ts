import { createServer, type Server } from 'node:http'
import type { ContainerInfo } from 'dockerode'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { phases } from '../../src/rollout/phase.ts'
import { expectCleanEnd } from '../support/clean-end.ts'
import type { CheckRunView } from '../support/github/server.ts'
import { runIn, runInSite } from '../support/host-shell.ts'
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
  for (const { Id } of found) {
    const { Config, HostConfig, Mounts, NetworkSettings, State } = await town.docker
      .getContainer(Id)
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
    expect(await get(portOf(await listed(Id)))).toContain('<h1>Welcome</h1><p>version 1')
  }
})

test('a check run shows each phase of a Service, in order, and what was changed', async () => {
  const { run } = await deploy(service('phased'))
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
  await deploy(service('noted'))
  const before = await town.containers('noted')
  const [path, text] = Object.entries(service('noted'))[0] ?? ['', '']
  const commit = await town.push({ write: { [path]: `# only a comment\n${text}` } })
  const overall = await town.checkRun(commit, 'towline / deploy')
  expect(overall).toMatchObject({
    conclusion: 'success',
    title: expect.stringMatching(/^\d+ unchanged$/),
    summary: expect.stringContaining('Nothing to deploy'),
  })
  expect(runNames(commit)).toEqual(['towline / deploy'])
  expect(ids(await town.containers('noted'))).toEqual(ids(before))
})

test('a new image replaces the old container, and the data in its volume stays', async () => {
  const spec = { volumes: ['data:/data'], environment: { ROUND: '1' } }
  await deploy(service('kept', spec))
  const [old] = await town.containers('kept')
  await runIn(town, old?.Id ?? '', 'echo precious > /data/file')
  const { run } = await deploy(service('kept', { ...spec, image: 'towline-demo/hello:2' }))
  expect(run.conclusion).toBe('success')
  const container = await onlyContainer('kept')
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
  await deploy(service('swift', { image: 'towline-demo/hello:1' }))
  const [old] = await town.containers('swift')
  const port = portOf(old)
  const commit = await town.push({ write: service('swift', slow) })
  await eventually('the new container to start', async () =>
    (await town.containers('swift')).filter(({ State }) => State === 'running').length === 2 ? true : null,
  )
  expect(await get(port)).toContain('version 1')
  expect(await town.checkRun(commit, 'towline / swift@local')).toMatchObject({ conclusion: 'success' })
  await onlyContainer('swift')
  expect(await town.fetchApp('swift')).toContain('version slow')
})

test('a fixed host port is handed over from the old container to the new one', async () => {
  const port = await freePort()
  const ports = [`127.0.0.1:${port}:8080`]
  await deploy(service('fixed', { ports }))
  expect(await get(port)).toContain('version 1')
  const { run } = await deploy(service('fixed', { ports, image: 'towline-demo/hello:2' }))
  expect(run.conclusion).toBe('success')
  expect(await get(port)).toContain('version 2')
  await onlyContainer('fixed')
})

test('where the new container of a fixed port fails, the old one is started again and answers', async () => {
  const port = await freePort()
  const ports = [`127.0.0.1:${port}:8080`]
  await deploy(service('back', { ports }))
  const before = await town.containers('back')
  const { run } = await deploy(service('back', { ports, image: 'towline-demo/unhealthy:1' }))
  expect(run.conclusion).toBe('failure')
  expect(run.summary).toMatch(/release \w+ was put back and serves/)
  expect(ids(await town.containers('back'))).toEqual(ids(before))
  expect(await get(port)).toContain('version 1')
})

test('an image that never gets healthy fails with its reason, while the old release goes on answering', async () => {
  await deploy(service('sick'))
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
  await deploy(service('crashing'))
  const before = await town.containers('crashing')
  const { run } = await deploy(service('crashing', { image: 'towline-demo/crash:1' }))
  expect(run).toMatchObject({
    conclusion: 'failure',
    title: expect.stringMatching(/^failed in updating_routes: container \S+: it .*exit code 1$/),
    text: expect.stringContaining('cannot open the database'),
  })
  expect(ids(await town.containers('crashing'))).toEqual(ids(before))
  expect(await town.fetchApp('crashing')).toContain('version 1')
})

test('an image no registry has fails before anything is touched, with what to do', async () => {
  await deploy(service('absent'))
  const before = await town.containers('absent')
  const registry = await startEmptyRegistry()
  const { run } = await deploy(service('absent', { image: `${registry.host}/nowhere:1` }))
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
  const { run } = await deploy(service('stillborn', { image: 'towline-demo/crash:1' }))
  expect(run).toMatchObject({
    conclusion: 'failure',
    summary: expect.stringContaining('nothing of this attempt was left on the host'),
  })
  expect(await town.containers('stillborn')).toEqual([])
})

test('a push during a rollout takes over: the first run says by whom, and only the second is left', async () => {
  const first = await town.push({ write: service('hasty', slow) })
  await town.checkRun(
    first,
    'towline / hasty@local',
    ({ title }) => title?.startsWith('updating_routes') ?? false,
  )
  const { run } = await deploy(service('hasty', { image: 'towline-demo/hello:2' }))
  expect(run.conclusion).toBe('success')
  expect(await town.checkRun(first, 'towline / hasty@local')).toMatchObject({
    conclusion: 'cancelled',
    title: `superseded by ${run.externalId}`,
  })
  expect(await town.checkRun(first, 'towline / deploy')).toMatchObject({ conclusion: 'cancelled' })
  await onlyContainer('hasty')
  expect(await town.fetchApp('hasty')).toContain('version 2')
})

test('a force-push back during a rollout keeps what served, in the same container', async () => {
  const { commit } = await deploy(service('regret'))
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
  await deploy(service('swing'))
  await deploy(service('swing', { image: 'towline-demo/hello:2' }))
  const between = await onlyContainer('swing')
  const { run } = await deploy(service('swing'))
  expect(run.conclusion).toBe('success')
  expect(await town.fetchApp('swing')).toContain('version 1')
  expect((await onlyContainer('swing')).Id).not.toBe(between.Id)
})

test('a revert of what failed proves the release that serves, and touches nothing', async () => {
  await deploy(service('mended'))
  const before = await town.containers('mended')
  const failed = await deploy(service('mended', { image: 'towline-demo/crash:1' }))
  expect(failed.run.conclusion).toBe('failure')
  const { run } = await deploy(service('mended'))
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
  await deploy({ ...service('b-back'), ...service('a-page', { dependsOn: ['b-back'] }) }, 'a-page')
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

test('a paused app is left as it is until it is resumed', async () => {
  await deploy(service('held'))
  const before = await town.containers('held')
  const next = { image: 'towline-demo/hello:2' }
  const commit = await town.push({ write: service('held', { ...next, paused: { reason: 'stock-taking' } }) })
  expect(await town.checkRun(commit, 'towline / deploy')).toMatchObject({
    conclusion: 'success',
    title: expect.stringMatching(/^1 paused, \d+ unchanged$/),
    summary: expect.stringContaining('`held@local` is paused: stock-taking'),
  })
  expect(runNames(commit)).toEqual(['towline / deploy'])
  expect(ids(await town.containers('held'))).toEqual(ids(before))
  const { run } = await deploy(service('held', next))
  expect(run.conclusion).toBe('success')
  expect(await town.fetchApp('held')).toContain('version 2')
})

test('an app that left the repo keeps running, and is taken up again as it is once it is back', async () => {
  await deploy(service('leaver'))
  const before = await town.containers('leaver')
  const gone = await town.push({ remove: ['apps/leaver.yaml'] })
  expect(await town.checkRun(gone, 'towline / deploy')).toMatchObject({ conclusion: 'success' })
  expect(runNames(gone)).toEqual(['towline / deploy'])
  expect(await town.fetchApp('leaver')).toContain('version 1')
  const { run } = await deploy(service('leaver'))
  expect(run.conclusion).toBe('success')
  expect(ids(await town.containers('leaver'))).toEqual(ids(before))
})

test('a Site serves a folder of the repo, byte for byte, from the root its spec names', async () => {
  const { run } = await deploy({
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
  await deploy(site('inline', { source: { inline: { 'index.html': '<h1>é</h1>', 'a/b.txt': 'b' } } }))
  expect(await town.fetchApp('inline')).toBe('<h1>é</h1>')
  expect(await get(portOf((await town.containers('inline'))[0]), 'a/b.txt')).toBe('b')
})

test('new files of a Site replace the old ones without a request that fails', async () => {
  const spec = site('live', { source: { files: 'sites/live' } })
  await deploy({ ...spec, 'sites/live/index.html': 'round 0' })
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
    const { run } = await deploy({ 'sites/live/index.html': `round ${round}` }, 'live')
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
  await deploy({ ...site('rooted', { source: { files: 'sites/rooted' }, root: 'a' }), ...files })
  const before = await town.containers('rooted')
  expect(await town.fetchApp('rooted')).toBe('from a')
  const { run } = await deploy(site('rooted', { source: { files: 'sites/rooted' }, root: 'b' }))
  expect(run.conclusion).toBe('success')
  expect(await town.fetchApp('rooted')).toBe('from b')
  expect(ids(await town.containers('rooted'))).toEqual(ids(before))
})

test('as many releases of a Site are kept as its spec says', async () => {
  const round = (text: string) =>
    site('pruned', { source: { inline: { 'index.html': text } }, rollout: { keepReleases: 2 } })
  for (const text of ['one ', 'two ', 'three ']) await deploy(round(text))
  const kept = await eventually('the oldest release to be removed', async () => {
    const pages = (await runInSite(town, 'pruned', 'cat releases/*/index.html')).split(' ')
    return pages.length === 2 ? pages.toSorted() : null
  })
  expect(kept).toEqual(['three', 'two'])
})

test('no check run ever goes backwards or takes more than 12 writes', () => {
  const runs = town.github.checkRuns(town.repo).filter(({ name }) => name.includes('@'))
  expect(runs.length).toBeGreaterThan(20)
  for (const { history, name } of runs) {
    expect(history.length, name).toBeLessThanOrEqual(12)
    const shown = history.flatMap(({ title }) => {
      const [, phase, progress] = /^(\w+) (\d+) %/.exec(title ?? '') ?? []
      return phase === undefined
        ? []
        : [{ rank: (phases as readonly string[]).indexOf(phase), progress: Number(progress) }]
    })
    expect(shown, name).toEqual(shown.toSorted((a, b) => a.rank - b.rank || a.progress - b.progress))
    expect(shown.map(({ rank }) => rank)).not.toContain(-1)
  }
})

test('nothing is left to do, and at the end GitHub was asked rightly and no secret shows', async () => {
  expect(await town.sweep()).toMatchObject({ hosts: [{ due: [] }], repos: [{ error: null }] })
  await expectCleanEnd(town)
})

const healthTest = ['CMD', 'wget', '-q', '-O', '/dev/null', 'http://127.0.0.1:8080/healthz']

const healthcheck = { test: healthTest, interval: '500ms', retries: 2 }

const slow = { image: 'towline-demo/slow:1', healthcheck: { ...healthcheck, start_period: '30s' } }

const everyByte = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte))

/** A spec as JSON, which is YAML too. It counts as soon as it answers. */
function service(name: string, settings: object = {}): Record<string, string> {
  return spec({
    kind: 'Service',
    name,
    image: 'towline-demo/hello:1',
    ports: ['8080'],
    healthcheck,
    stop_grace_period: '1s',
    deploy: { update_config: { monitor: '0s' } },
    ...settings,
  })
}

function site(name: string, settings: object): Record<string, string> {
  return spec({
    kind: 'Site',
    name,
    ports: ['80'],
    deploy: { update_config: { monitor: '0s' } },
    ...settings,
  })
}

function spec(content: { name: string; kind: string; [key: string]: unknown }): Record<string, string> {
  return {
    [`apps/${content.name}.yaml`]: `${JSON.stringify({ apiVersion: 'towline/v1', ...content }, null, 2)}\n`,
  }
}

/** Pushes the files and waits for the end of the deployment of one app: the one whose spec comes first. */
async function deploy(
  write: Record<string, string | Buffer>,
  app = /^apps\/(.+)\.yaml$/.exec(Object.keys(write)[0] ?? '')?.[1],
): Promise<{ commit: string; run: CheckRunView }> {
  const commit = await town.push({ write })
  return { commit, run: await town.checkRun(commit, `towline / ${app}@local`) }
}

async function get(port: number, path = ''): Promise<string> {
  const answer = await fetch(`http://127.0.0.1:${port}/${path}`, {
    headers: { connection: 'close' },
    signal: AbortSignal.timeout(5_000),
  })
  if (!answer.ok) throw new Error(`${path} is answered with ${answer.status}`)
  return answer.text()
}

function portOf(container: ContainerInfo | undefined): number {
  return container?.Ports.find(({ PublicPort }) => PublicPort !== undefined)?.PublicPort ?? 0
}

async function listed(id: string): Promise<ContainerInfo | undefined> {
  const [found] = await town.docker.listContainers({ filters: { id: [id] } })
  return found
}

function nameOf(container: ContainerInfo | undefined): string {
  return container?.Names[0]?.slice(1) ?? ''
}

function ids(containers: ContainerInfo[]): string[] {
  return containers.map(({ Id }) => Id)
}

function runNames(commit: string): string[] {
  return town.github.checkRuns(town.repo, commit).map(({ name }) => name)
}

/** What is left of an app once the containers of its release before are removed. */
function onlyContainer(app: string): Promise<ContainerInfo> {
  return eventually(`only one container of ${app} to be left`, async () => {
    const [container, ...others] = await town.containers(app)
    return others.length === 0 ? container : null
  })
}

/** The rows of the table in a run's summary, e.g. `✅ building`. */
function phaseMarks({ summary }: CheckRunView): string[] {
  return [...(summary ?? '').matchAll(/^\| (\S+) \| `(\w+)` \|/gm)].map(
    ([, mark, phase]) => `${mark} ${phase}`,
  )
}

/** The lines under "What changes". */
function changes({ text }: CheckRunView): string[] {
  const list = /### What changes\n\n((?:- .*\n?)+)/.exec(text ?? '')?.[1] ?? ''
  return list
    .trim()
    .split('\n')
    .flatMap((line) => (line === '' ? [] : line.slice(2).replaceAll('\\', '')))
}

/** When a container wrote that it listens, in milliseconds since the epoch. */
async function listensSince(container: ContainerInfo | undefined): Promise<number> {
  const log = await town.docker.getContainer(container?.Id ?? '').logs({ stdout: true, timestamps: true })
  const [, time = ''] = /(\d{4}-\S+Z) listening on 8080/.exec(log.toString()) ?? []
  return Date.parse(time)
}

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
