import type { ContainerInfo } from 'dockerode'
import { afterAll, afterEach, beforeAll, beforeEach, expect, inject, test } from 'vitest'
import { expectCleanEnd } from '../support/clean-end.ts'
import { type FaultProxy, startFaultProxy } from '../support/fault-proxy.ts'
import { runIn, runInSite } from '../support/host-shell.ts'
import { eventually, serverYaml, startTown, type Town } from '../support/town.ts'

let town: Town
let proxy: FaultProxy
/** Containers beside ours: without labels, and of another installation that has the same repo and app. */
let foreign: string[]

beforeAll(async () => {
  const dockerSocket = inject('dockerSocket')
  proxy = await startFaultProxy(dockerSocket)
  // The same few containers are broken again and again here; how often is too often is proven elsewhere.
  const patientYaml = serverYaml(proxy.socketPath).replace('limits: {', 'limits: { healings: 1000,')
  town = await startTown({ dockerSocket, serverYaml: patientYaml })
  foreign = await startForeign()
  const commit = await town.push({ write: { 'apps/hello.yaml': hello(1), ...docs('one') } })
  expect(await town.checkRun(commit, 'towline / deploy')).toMatchObject({ conclusion: 'success' })
})

afterAll(async () => {
  for (const id of foreign) await town.docker.getContainer(id).remove({ force: true })
  await town[Symbol.asyncDispose]()
  await proxy[Symbol.asyncDispose]()
})

let before: ContainerInfo[]
let loggedBefore: number
beforeEach(async () => {
  before = await town.containers('hello')
  loggedBefore = town.log().length
})

/** Whatever a test broke: nothing is doubled, nothing is left to do, and nobody else was touched. */
afterEach(async () => {
  expect(await due()).toEqual([])
  expect((await town.containers('docs')).map(({ State }) => State)).toEqual(['running'])
  const others = await Promise.all(foreign.map((id) => town.docker.getContainer(id).inspect()))
  expect(others.map(({ State }) => State.StartedAt)).toEqual(foreignStartedAt)
})

type Handle = ReturnType<Town['docker']['getContainer']>

test.each<[string, (container: Handle) => Promise<unknown>, string]>([
  ['stopped', (container) => container.stop({ t: 1 }), 'state is exited'],
  ['killed', (container) => container.kill(), 'state is exited'],
  ['removed', (container) => container.remove({ force: true }), 'state is (removing|missing)'],
  ['paused', (container) => container.pause(), 'state is paused'],
  ['renamed', (container) => container.rename({ name: `renamed-${Date.now()}` }), 'state is missing'],
  [
    'given less memory',
    (container) => container.update({ Memory: 64 * 2 ** 20, MemorySwap: -1 }),
    'memory is 67108864',
  ],
  ['given another restart policy', (container) => container.update(noRestart), 'restart policy is no'],
])('a container that is %s is healed at once, by the event alone', async (_, harm, found) => {
  const [victim] = before
  await harm(handle(victim))
  await healed('hello')
  expect(await isAsReleased()).toBe(true)
  expect(newLog()).toMatch(new RegExp(`container ${nameOf(victim)} ${found}`))
  expect(await town.fetchApp('hello')).toContain('version 1')
})

test('a container that was taken off its network is found by the trigger, and put back', async () => {
  const [victim] = before
  const [network = ''] = Object.keys(victim?.NetworkSettings.Networks ?? {})
  await town.docker.getNetwork(network).disconnect({ Container: victim?.Id })
  expect(await due()).toContainEqual(
    expect.objectContaining({ subject: `container ${nameOf(victim)}`, field: 'network', found: 'none' }),
  )
  await healed('hello')
  expect(await isAsReleased()).toBe(true)
})

test('a container of ours that belongs to no release is removed', async () => {
  const [twin] = before
  const name = `stray-${Date.now()}`
  await town.docker.createContainer({
    name,
    Image: 'towline-demo/busybox:1',
    Labels: twin?.Labels ?? {},
  })
  expect(await due()).toContainEqual({
    subject: `container ${name}`,
    field: 'state',
    expected: 'absent',
    found: 'created',
  })
  await healed('hello')
  expect(await isAsReleased()).toBe(true)
})

test.each<[string, string, { field: string; found: unknown }]>([
  ['current is deleted', 'rm current', { field: 'target', found: 'missing' }],
  ['current dangles', 'ln -sfn releases/gone current', { field: 'target', found: 'releases/gone' }],
  [
    'current leads elsewhere',
    'mkdir other; echo wrong > other/index.html; ln -sfn other current',
    { field: 'target', found: 'other' },
  ],
  [
    'a directory stands in place of current',
    'rm current; mkdir current; echo wrong > current/index.html',
    { field: 'target', found: 'not a link' },
  ],
  ['the webroot is deleted', 'rm webroot', { field: 'target', found: 'missing' }],
  [
    'a file stands in place of the webroot',
    'rm webroot; echo wrong > webroot',
    { field: 'target', found: 'not a link' },
  ],
  ['the release is deleted', 'rm -r releases/*', { field: 'files', found: 'missing' }],
  ['the manifest is deleted', 'rm manifests/*', { field: 'files', found: 'incomplete' }],
])('where %s, the trigger says so with what should be, and the page is back', async (_, harm, drift) => {
  const links = await runInSite(town, 'docs', 'readlink current; readlink webroot')
  await runInSite(town, 'docs', harm)
  expect(await due()).toContainEqual(expect.objectContaining({ ...drift, expected: expect.any(String) }))
  await healed('docs')
  expect(await runInSite(town, 'docs', 'readlink current; readlink webroot')).toBe(links)
  expect(await town.fetchApp('docs')).toContain('one')
})

test('healing that fails backs off, and heals once it can', async () => {
  const [victim] = before
  proxy.refuse(new RegExp(`POST \\S+/containers/${nameOf(victim)}/start`))
  await handle(victim).stop({ t: 1 })
  await eventually('a healing to fail', async () =>
    newLog().includes('healing acme/config:hello@local failed') ? true : null,
  )
  const refused = proxy.stoppedCount()
  for (let time = 1; time <= 3; time += 1) {
    expect(await due()).toEqual([])
  }
  expect(proxy.stoppedCount()).toBe(refused)
  proxy.clear()
  await healed('hello')
  expect(await isAsReleased()).toBe(true)
})

test('a container that crashes again and again is left to the restart policy of Docker', async () => {
  const commit = await town.push({ write: { 'apps/moody.yaml': moody } })
  expect(await town.checkRun(commit, 'towline / deploy')).toMatchObject({ conclusion: 'success' })
  const [container] = await town.containers('moody')
  await runIn(town, container?.Id ?? '', 'touch /tmp/bad')
  await eventually('Docker to restart it twice', async () =>
    (await handle(container).inspect()).RestartCount >= 2 ? true : null,
  )
  expect(await due()).toEqual([])
  expect((await town.containers('moody')).map(({ Id }) => Id)).toEqual([container?.Id])
  expect(newLog()).not.toContain('healing acme/config:moody@local')
  const gone = await town.push({ remove: ['apps/moody.yaml'] })
  await town.checkRun(gone, 'towline / deploy')
  await handle(container).remove({ force: true })
})

test('an app that left the repo keeps running and is no longer healed', async () => {
  const commit = await town.push({
    write: { 'apps/left.yaml': hello(1).replace('name: hello', 'name: left') },
  })
  expect(await town.checkRun(commit, 'towline / deploy')).toMatchObject({ conclusion: 'success' })
  const gone = await town.push({ remove: ['apps/left.yaml'] })
  expect(await town.checkRun(gone, 'towline / deploy')).toMatchObject({ conclusion: 'success' })
  const [container] = await town.containers('left')
  expect(container?.State).toBe('running')
  await handle(container).remove({ force: true })
  expect(await due()).toEqual([])
  expect(await town.containers('left')).toHaveLength(1)
})

test('after a deployment that failed the release before is still healed', async () => {
  const commit = await town.push({
    write: { 'apps/hello.yaml': hello(1).replace('towline-demo/hello:1', 'towline-demo/crash:1') },
  })
  expect(await town.checkRun(commit, 'towline / hello@local')).toMatchObject({ conclusion: 'failure' })
  const [victim] = await town.containers('hello')
  await handle(victim).remove({ force: true })
  await healed('hello')
  expect(await isAsReleased()).toBe(true)
  expect(await town.fetchApp('hello')).toContain('version 1')
})

test('at the end GitHub was asked rightly and no secret shows', () => expectCleanEnd(town))

/** Waits until Towline says that it has healed the app, which it does once the app has proven itself. */
async function healed(app: string): Promise<void> {
  const line = `"healed acme/config:${app}@local"`
  await eventually(`${app} to be healed`, async () => (newLog().includes(line) ? true : null)).catch(
    (error: unknown) => {
      throw new Error(`${error}\nlog:\n${newLog()}`)
    },
  )
}

function newLog(): string {
  return town.log().slice(loggedBefore)
}

const noRestart = { RestartPolicy: { Name: 'no' } }

function hello(version: number): string {
  return `apiVersion: towline/v1
kind: Service
name: hello
image: towline-demo/hello:${version}
ports: ["8080"]
stop_grace_period: 1s
deploy: { replicas: 2, update_config: { monitor: 200ms } }
`
}

function docs(text: string): Record<string, string> {
  return {
    'apps/docs.yaml': `apiVersion: towline/v1
kind: Site
name: docs
source: { files: sites/docs }
root: public
ports: ["80"]
deploy: { update_config: { monitor: 200ms } }
`,
    'sites/docs/public/index.html': `<h1>${text}</h1>\n`,
  }
}

const moody = `apiVersion: towline/v1
kind: Service
name: moody
image: towline-demo/busybox:1
command: [sh, -c, "while [ ! -e /tmp/bad ]; do sleep 0.1; done; exit 1"]
deploy: { update_config: { monitor: 200ms } }
`

let foreignStartedAt: string[]

async function startForeign(): Promise<string[]> {
  const labels = {
    'towline.owner': 'another-installation',
    'towline.repo': town.repo,
    'towline.app': 'hello',
    'towline.role': 'app',
  }
  const ids: string[] = []
  for (const Labels of [{}, labels]) {
    const container = await town.docker.createContainer({
      Image: 'towline-demo/busybox:1',
      Cmd: ['sleep', '2147483647'],
      Labels,
    })
    await container.start()
    ids.push(container.id)
  }
  const started = await Promise.all(ids.map((id) => town.docker.getContainer(id).inspect()))
  foreignStartedAt = started.map(({ State }) => State.StartedAt)
  return ids
}

/** Exactly the containers from before, all running, as their spec says. */
async function isAsReleased(): Promise<boolean> {
  const now = await town.containers('hello')
  const states = await Promise.all(
    now.map((container) =>
      handle(container)
        .inspect()
        .catch(() => null),
    ),
  )
  return (
    names(now) === names(before) &&
    now.every(({ NetworkSettings }) => Object.keys(NetworkSettings.Networks).length === 1) &&
    states.every(
      (info) =>
        info?.State.Status === 'running' &&
        !info.HostConfig.Memory &&
        info.HostConfig.RestartPolicy?.Name === 'unless-stopped',
    )
  )
}

/** Everything the trigger finds that is not as it should be. */
async function due(): Promise<unknown[]> {
  const found = (await town.sweep()) as { hosts: { due: { drift: unknown[] }[] }[] }
  return found.hosts.flatMap((host) => host.due.flatMap(({ drift }) => drift))
}

function handle(container: ContainerInfo | undefined): Handle {
  if (!container) throw new Error('there is no such container')
  return town.docker.getContainer(container.Id)
}

function nameOf(container: ContainerInfo | undefined): string {
  return container?.Names[0]?.slice(1) ?? ''
}

function names(containers: ContainerInfo[]): string {
  return containers.map(nameOf).sort().join(' ')
}
