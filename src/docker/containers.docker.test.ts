import { setTimeout as sleep } from 'node:timers/promises'
import Docker from 'dockerode'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import type { HostEvent, ResourceEvent } from '../engine/ports.ts'
import { containerDrift } from '../rollout/drift.ts'
import { TowlineError } from '../rollout/error.ts'
import type { ContainerSpec } from '../rollout/release.ts'
import type { HostStep } from '../rollout/step.ts'
import { openDockerHost } from './host.ts'

const owner = `test${process.pid}containers`
const network = `towline-${owner}`
const endpoint = { kind: 'unix', socketPath: inject('dockerSocket') } as const
const docker = new Docker({ socketPath: endpoint.socketPath })
const signal = new AbortController().signal
const host = openDockerHost({ name: 'web-1', endpoint, owner, images: { helper: 'towline-demo/busybox:1' } })

beforeAll(async () => {
  await apply(networkStep(network))
})

afterAll(async () => {
  const { containers } = await host.observe({ signal })
  await Promise.all(containers.map(({ id }) => docker.getContainer(id).remove({ force: true, v: true })))
  await docker
    .getContainer('stranger')
    .remove({ force: true })
    .catch(() => {})
  await docker.getNetwork(network).remove()
})

test('a container is created with every setting of its spec, and observed so', async () => {
  const volume = `towline-${owner}-data`
  await apply({
    do: 'ensureVolume',
    phase: 'copying_files',
    volume: { name: volume, labels: { 'towline.owner': owner } },
  })
  const spec = containerSpec('full', {
    environment: { GREETING: 'a=b', EMPTY: '' },
    ports: [{ hostIp: '127.0.0.1', hostPort: null, containerPort: 8080, protocol: 'tcp' }],
    mounts: [{ type: 'volume', source: volume, target: '/data', readOnly: true }],
    healthcheck: {
      test: ['CMD', 'wget', '-q', '-O', '/dev/null', 'http://127.0.0.1:8080/healthz'],
      intervalMs: 1_500,
      timeoutMs: 1_000,
      retries: 2,
      startPeriodMs: 500,
    },
    restart: { name: 'on-failure', maxRetries: 3 },
    cpus: 0.5,
    memoryBytes: 64 * 1024 * 1024,
    aliases: ['web'],
  })
  await apply(createStep(spec))
  await apply(startStep(spec.name))
  const observed = await observe(spec.name, { deep: true })
  expect(observed).toMatchObject({
    image: spec.image,
    state: 'running',
    labels: spec.labels,
    mounts: spec.mounts,
    networks: [network],
    settings: {
      restart: spec.restart,
      cpus: 0.5,
      memoryBytes: spec.memoryBytes,
      environment: spec.environment,
    },
  })
  const page = `http://127.0.0.1:${observed?.ports[0]?.hostPort}/`
  await expect
    .poll(() => fetch(page).then((response) => response.text(), String), { timeout: 10_000 })
    .toContain('a=b')
  await remove(spec.name)
  await docker.getVolume(volume).remove()
})

test('what stands is surveyed in the words it can be created from again, without a difference', async () => {
  const volume = `towline-${owner}-kept`
  const labels = { 'towline.owner': owner }
  await apply({ do: 'ensureVolume', phase: 'copying_files', volume: { name: volume, labels } })
  const spec = containerSpec('rich', {
    role: 'site',
    entrypoint: ['/bin/sh', '-c'],
    command: ['trap "exit 0" QUIT; while :; do sleep 0.1; done'],
    environment: { GREETING: 'a=b', EMPTY: '', MORE: 'line\nline "é"' },
    user: 'nobody',
    workingDir: '/tmp',
    ports: [
      { hostIp: '127.0.0.1', hostPort: 18_932, containerPort: 8080, protocol: 'tcp' },
      { hostIp: '127.0.0.1', hostPort: null, containerPort: 8081, protocol: 'tcp' },
      { hostIp: null, hostPort: null, containerPort: 5353, protocol: 'udp' },
    ],
    mounts: [
      { type: 'volume', source: volume, target: '/data', readOnly: true },
      { type: 'bind', source: '/etc/hostname', target: '/etc/name', readOnly: false },
    ],
    healthcheck: {
      test: ['CMD-SHELL', 'true'],
      intervalMs: 1_500,
      timeoutMs: 1_000,
      retries: 2,
      startPeriodMs: 500,
    },
    restart: { name: 'on-failure', maxRetries: 3 },
    cpus: 0.25,
    memoryBytes: 64 * 1024 * 1024,
    aliases: ['web', 'shop'],
    stopSignal: 'SIGQUIT',
    stopGraceMs: 7_000,
    logMaxSize: '5m',
    logMaxFiles: 2,
    extraLabels: { 'towline.role': 'site' },
  })
  await run(spec)
  const surveyed = await survey(spec.name)
  expect(surveyed).toMatchObject({ state: 'running', createdAt: expect.stringMatching(/^20.*Z$/) })
  // The image brings variables and a label of its own.
  expect(surveyed?.spec).toEqual({
    ...spec,
    environment: { PATH: '/bin', VERSION: '1', ...spec.environment },
    labels: { 'towline-demo.digest': expect.any(String), ...spec.labels },
    ports: expect.arrayContaining(spec.ports),
    mounts: expect.arrayContaining(spec.mounts),
    aliases: expect.arrayContaining(spec.aliases),
  })
  await remove(spec.name)
  const again = surveyed?.spec ?? spec
  await run(again)
  const observed = await observe(spec.name, { deep: true })
  expect(observed && [containerDrift(again, observed), containerDrift(spec, observed)]).toEqual([[], []])
  expect((await survey(spec.name))?.spec).toEqual(again)
  await remove(spec.name)
  await docker.getVolume(volume).remove()
})

test.each<[string, Partial<ContainerSpec>]>([
  ['nothing', {}],
  ['only a command', { command: ['sleep', '1000'] }],
  ['only an entrypoint', { entrypoint: ['/bin/serve'] }],
  ['no health check for an image that has one', noHealthcheck()],
])('a spec that says %s is surveyed so that it stays the same', async (_what, overrides) => {
  const spec = containerSpec('plain', { ...overrides, extraLabels: { 'towline.role': 'app' } })
  await apply(createStep(spec))
  const first = await survey(spec.name)
  expect(first?.state).toBe('created')
  await remove(spec.name)
  await run(first?.spec ?? spec)
  const observed = await observe(spec.name, { deep: true })
  expect(observed && containerDrift(spec, observed)).toEqual([])
  expect((await survey(spec.name))?.spec).toEqual(first?.spec)
  expect(observed?.health).toBe('none')
  await remove(spec.name)
})

test("a survey leaves out what is no target's", async () => {
  await apply(createStep(containerSpec('builder', { extraLabels: { 'towline.role': 'build' } })))
  expect(await survey('builder')).toBeUndefined()
  await remove('builder')
})

test('an image whose reference lost its meaning is seen as it was asked for, where the host is observed deeply', async () => {
  const image = docker.getImage('towline-demo/hello:1')
  await image.tag({ repo: `towline-${owner}`, tag: 'moving' })
  const spec = containerSpec('moved', { image: `towline-${owner}:moving` })
  await apply(createStep(spec))
  await docker.getImage(spec.image).remove()
  expect((await observe(spec.name))?.image).toBe((await image.inspect()).Id)
  expect((await observe(spec.name, { deep: true }))?.image).toBe(spec.image)
  await remove(spec.name)
})

test('a container is restarted whatever it does; one that is gone is an error for the next look', async () => {
  const step = { do: 'restartContainer', phase: 'updating_routes', name: 'again', graceMs: 1_000 } as const
  await run(containerSpec('again'))
  const before = await host.probe('again', { signal })
  await apply(step)
  const after = await host.probe('again', { signal })
  expect(after.state).toBe('running')
  expect(after.startedAt).not.toBe(before.startedAt)
  await apply(stopStep('again'))
  await apply(step)
  expect((await observe('again'))?.state).toBe('running')
  await remove('again')
  await expect(apply(step)).rejects.toMatchObject({ fault: 'temporary' })
})

test('creating, starting, stopping and removing twice changes nothing the second time', async () => {
  const spec = containerSpec('twice')
  await apply(createStep(spec))
  const first = await observe(spec.name)
  await apply(createStep(spec))
  expect((await observe(spec.name))?.id).toBe(first?.id)
  await apply(startStep(spec.name))
  await apply(startStep(spec.name))
  expect((await observe(spec.name))?.state).toBe('running')
  await apply(stopStep(spec.name))
  await apply(stopStep(spec.name))
  expect((await observe(spec.name))?.state).toBe('exited')
  const removal = removeStep(spec.name, first?.id ?? '')
  await apply(removal)
  await apply(removal)
  expect(await observe(spec.name)).toBeUndefined()
  await apply(stopStep(spec.name))
})

test('a program that handles no SIGTERM stops well before its grace time', async () => {
  const spec = containerSpec('deaf', { command: ['sleep', '1000'], entrypoint: null })
  await apply(createStep(spec))
  await apply(startStep(spec.name))
  await apply({ ...stopStep(spec.name), graceMs: 20_000 })
  expect((await host.probe(spec.name, { signal })).exitCode).toBe(143)
  await remove(spec.name)
})

test("somebody else's container of the same name is named and left alone", async () => {
  const stranger = await docker.createContainer({ name: 'stranger', Image: 'towline-demo/busybox:1' })
  await expect(apply(createStep(containerSpec('stranger')))).rejects.toMatchObject({
    fault: 'operator',
    message: expect.stringContaining('container stranger'),
  })
  await expect(apply(removeStep('stranger', stranger.id))).rejects.toMatchObject({ fault: 'operator' })
  expect((await stranger.inspect()).Id).toBe(stranger.id)
})

test('a container of ours with another input under the same name is a bug, not overwritten', async () => {
  const spec = containerSpec('input')
  await apply(createStep(spec))
  const other = { ...spec, labels: { ...spec.labels, 'towline.input': 'other' } }
  await expect(apply(createStep(other))).rejects.toMatchObject({ fault: 'bug' })
  await remove(spec.name)
})

test('a port that is taken is named', async () => {
  const port = { hostIp: '127.0.0.1', hostPort: 18_931, containerPort: 8080, protocol: 'tcp' } as const
  await apply(createStep(containerSpec('first', { ports: [port] })))
  await apply(startStep('first'))
  await apply(createStep(containerSpec('second', { ports: [port] })))
  await expect(apply(startStep('second'))).rejects.toMatchObject({
    fault: 'operator',
    message: expect.stringContaining('127.0.0.1:18931'),
  })
  await remove('first')
  await remove('second')
})

test.each<[string, Partial<ContainerSpec>, string]>([
  ['a user that is not in the image', { user: 'nobody-here' }, 'nobody-here'],
  [
    'a mount that does not fit the image',
    { mounts: [{ type: 'bind', source: '/etc/passwd', target: '/bin', readOnly: true }] },
    '/bin',
  ],
])('%s is the spec to correct', async (_what, overrides, named) => {
  await apply(createStep(containerSpec('unfit', overrides)))
  await expect(apply(startStep('unfit'))).rejects.toMatchObject({
    fault: 'input',
    message: expect.stringContaining(named),
  })
  await remove('unfit')
})

test('an image that vanished before the create is said to be missing', async () => {
  const spec = containerSpec('no-image', { image: `sha256:${'0'.repeat(64)}` })
  await expect(apply(createStep(spec))).rejects.toMatchObject({
    fault: 'temporary',
    message: expect.stringContaining('no longer has image'),
  })
})

test('one network comes of many wishes at once', async () => {
  const name = `towline-${owner}-race`
  await Promise.all(Array.from({ length: 5 }, () => apply(networkStep(name))))
  expect(await docker.listNetworks({ filters: { name: [name] } })).toHaveLength(1)
  await docker.getNetwork(name).remove()
})

test('a network that is not ours is not used', async () => {
  await expect(apply(networkStep('bridge'))).rejects.toMatchObject({ fault: 'operator' })
})

test('the health check runs at once, and tells healthy, failing and none apart', async () => {
  const test = ['CMD-SHELL', 'wget -q -O /dev/null http://127.0.0.1:8080/healthz']
  const healthcheck = { test, intervalMs: 60_000, timeoutMs: 2_000, retries: 3, startPeriodMs: 0 }
  await Promise.all([
    run(containerSpec('healthy', { healthcheck })),
    run(containerSpec('failing', { image: 'towline-demo/unhealthy:1' })),
    run(containerSpec('unchecked')),
    run(containerSpec('wrong', { healthcheck: { ...healthcheck, test: ['CMD', 'no-such-program'] } })),
    run(
      containerSpec('hanging', {
        healthcheck: { ...healthcheck, test: ['CMD', 'sleep', '60'], timeoutMs: 300 },
      }),
    ),
  ])
  await expect.poll(() => host.checkHealth('healthy', { signal }), { timeout: 10_000 }).toBe(true)
  expect(await host.checkHealth('failing', { signal })).toBe(false)
  expect(await host.checkHealth('unchecked', { signal })).toBeNull()
  expect(await host.checkHealth('wrong', { signal })).toBe(false)
  expect(await host.checkHealth('hanging', { signal })).toBe(false)
  expect(await host.checkHealth('no-such-container', { signal })).toBe(false)
  await expect
    .poll(() => host.probe('failing', { signal }), { timeout: 15_000 })
    .toMatchObject({ state: 'running', health: 'unhealthy', exitCode: null })
  expect((await host.probe('failing', { signal })).healthLog.join('\n')).toMatch(/refused/)
  expect((await observe('failing'))?.health).toBe('unhealthy')
  for (const name of ['healthy', 'failing', 'unchecked', 'wrong', 'hanging']) await remove(name)
})

test('a container that ends shows its exit code and its last words', async () => {
  await run(containerSpec('crash', { image: 'towline-demo/crash:1' }))
  await expect
    .poll(() => host.probe('crash', { signal }))
    .toMatchObject({ state: 'exited', exitCode: 1, health: 'none' })
  expect(await host.logs('crash', { tail: 5, signal })).toEqual(['cannot open the database'])
  await remove('crash')
  expect(await host.probe('crash', { signal })).toMatchObject({ state: 'missing' })
  expect(await host.logs('crash', { tail: 5, signal })).toEqual([])
})

test('logs are the last lines of both streams in order, without control characters', async () => {
  const script =
    'for i in 1 2 3; do echo out$i; sleep 0.1; echo err$i >&2; sleep 0.1; done; printf "\\033[31mred\\033[0m\\a\\n"'
  await run(containerSpec('talker', { command: ['sh', '-c', script] }))
  await expect.poll(() => host.probe('talker', { signal })).toMatchObject({ state: 'exited' })
  expect(await host.logs('talker', { tail: 4, signal })).toEqual(['err2', 'out3', 'err3', 'red'])
  await remove('talker')
})

test('a list can be narrowed to one app, and never shows what another owner made', async () => {
  const spec = containerSpec('narrow', { extraLabels: { 'towline.app': 'narrow' } })
  await apply(createStep(spec))
  const other = openDockerHost({ name: 'web-1', endpoint, owner: 'test-other', images: { helper: 'none' } })
  expect((await other.observe({ signal })).containers).toEqual([])
  const of = (app: string) => host.observe({ only: { repo: 'acme/config', app }, signal })
  expect((await of('narrow')).containers.map(({ name }) => name)).toEqual(['narrow'])
  expect((await of('other')).containers).toEqual([])
  await remove(spec.name)
})

test('events of our containers, networks and volumes arrive, those of others do not', async () => {
  const events: HostEvent[] = []
  const resources: ResourceEvent[] = []
  const stop = new AbortController()
  const opened = Promise.withResolvers<void>()
  const done = host.events({
    signal: stop.signal,
    onOpen: opened.resolve,
    onEvent: (event) => events.push(event),
    onResource: (event) => resources.push(event),
  })
  await opened.promise
  for (const name of [`towline-${owner}-gone`, `${owner}-strange`]) {
    await (await docker.createNetwork({ Name: name })).remove()
    await docker.createVolume({ Name: name })
    await docker.getVolume(name).remove()
  }
  const stranger = await docker.createContainer({ Image: 'towline-demo/busybox:1', Cmd: ['true'] })
  await stranger.start()
  const spec = containerSpec('eventful', { extraLabels: { 'towline.preview': '12' } })
  await run(spec)
  await remove(spec.name)
  await stranger.remove({ force: true })
  await expect.poll(() => events.map(({ action }) => action)).toContain('destroy')
  stop.abort()
  await done
  expect(new Set(events.map(({ action }) => action))).toEqual(
    new Set(['start', 'kill', 'die', 'stop', 'destroy']),
  )
  expect(events[0]).toEqual({
    host: 'web-1',
    repo: 'acme/config',
    app: 'hello',
    preview: 12,
    action: 'start',
  })
  expect(resources).toEqual([
    { host: 'web-1', kind: 'network', action: 'destroy', name: `towline-${owner}-gone` },
    { host: 'web-1', kind: 'volume', action: 'destroy', name: `towline-${owner}-gone` },
  ])
})

test('a local image resolves to its id, and one that nobody has is told apart from a registry that is away', async () => {
  const id = (await docker.getImage('towline-demo/hello:1').inspect()).Id
  expect(await host.resolveImage('towline-demo/hello:1', { pullPolicy: 'missing', signal })).toEqual({
    reference: 'towline-demo/hello:1',
    pinned: id,
  })
  const digest = `nginx@sha256:${'1'.repeat(64)}`
  expect((await host.resolveImage(digest, { pullPolicy: 'missing', signal })).pinned).toBe(digest)
  await expect(
    host.resolveImage('towline-demo/nothing', { pullPolicy: 'never', signal }),
  ).rejects.toMatchObject({
    fault: 'input',
  })
  // Nothing listens there: no registry says anything about this image.
  await expect(
    host.resolveImage('127.0.0.1:9/towline/app:1', { pullPolicy: 'always', signal }),
  ).rejects.toMatchObject({ fault: 'temporary' })
})

test('an image that is there is not pulled; one no registry knows is asked for on the host', async () => {
  const image = await host.resolveImage('towline-demo/hello:1', { pullPolicy: 'missing', signal })
  await apply({ do: 'ensureImage', phase: 'building', image })
  const gone = { reference: 'built:1', pinned: `sha256:${'2'.repeat(64)}` }
  await expect(apply({ do: 'ensureImage', phase: 'building', image: gone })).rejects.toMatchObject({
    fault: 'operator',
  })
  const away = { reference: 'app:1', pinned: `127.0.0.1:9/app@sha256:${'3'.repeat(64)}` }
  await expect(apply({ do: 'ensureImage', phase: 'building', image: away })).rejects.toMatchObject({
    fault: 'temporary',
  })
})

test('a signal stops a wait at once, with its own reason', async () => {
  await run(containerSpec('slow-stop', { command: ['sh', '-c', 'trap "" TERM; while :; do sleep 1; done'] }))
  await sleep(300)
  const superseded = new AbortController()
  const stopping = host.apply({ ...stopStep('slow-stop'), graceMs: 60_000 }, { signal: superseded.signal })
  const reason = new TowlineError('A newer commit took over', { fault: 'cancelled' })
  superseded.abort(reason)
  await expect(stopping).rejects.toBe(reason)
  await docker.getContainer('slow-stop').remove({ force: true })
})

test('a host whose Engine is away is a temporary fault that names the host', async () => {
  const away = openDockerHost({
    name: 'web-9',
    endpoint: { kind: 'unix', socketPath: '/nonexistent/docker.sock' },
    owner,
    images: { helper: 'none' },
  })
  await expect(away.observe({ signal })).rejects.toMatchObject({
    fault: 'temporary',
    message: expect.stringContaining('web-9'),
  })
})

function containerSpec(
  name: string,
  overrides: Partial<ContainerSpec> & { extraLabels?: Record<string, string> } = {},
): ContainerSpec {
  const { extraLabels, ...rest } = overrides
  return {
    name,
    role: 'app',
    image: 'towline-demo/hello:1',
    entrypoint: null,
    command: null,
    environment: {},
    user: null,
    workingDir: null,
    ports: [],
    mounts: [],
    healthcheck: null,
    restart: { name: 'no', maxRetries: 0 },
    cpus: null,
    memoryBytes: null,
    network,
    aliases: [],
    stopSignal: null,
    stopGraceMs: 5_000,
    labels: {
      'towline.owner': owner,
      'towline.repo': 'acme/config',
      'towline.app': 'hello',
      'towline.input': 'abc',
      ...extraLabels,
    },
    logMaxSize: '10m',
    logMaxFiles: 3,
    ...rest,
  }
}

async function apply(step: HostStep): Promise<void> {
  await host.apply(step, { signal })
}

async function run(spec: ContainerSpec): Promise<void> {
  await apply(createStep(spec))
  await apply(startStep(spec.name))
}

async function remove(name: string): Promise<void> {
  await apply(removeStep(name, (await observe(name))?.id ?? ''))
}

async function observe(name: string, options: { deep?: boolean } = {}) {
  const { containers } = await host.observe({ ...options, signal })
  return containers.find((container) => container.name === name)
}

async function survey(name: string) {
  return (await host.survey({ signal })).find(({ spec }) => spec.name === name)
}

function noHealthcheck(): Partial<ContainerSpec> {
  const healthcheck = { test: ['NONE'], intervalMs: 0, timeoutMs: 0, retries: 0, startPeriodMs: 0 }
  return { image: 'towline-demo/slow:1', healthcheck }
}

function networkStep(name: string): HostStep {
  const labels = { 'towline.owner': owner }
  return { do: 'ensureNetwork', phase: 'copying_files', network: { name, labels } }
}

function createStep(container: ContainerSpec): HostStep {
  return { do: 'createContainer', phase: 'copying_files', container }
}

function startStep(name: string): HostStep {
  return { do: 'startContainer', phase: 'updating_routes', name }
}

function stopStep(name: string) {
  return { do: 'stopContainer', phase: 'updating_routes', name, graceMs: 2_000 } as const
}

function removeStep(name: string, id: string): HostStep {
  return { do: 'removeContainer', phase: 'active', name, id, graceMs: 2_000 }
}
