/**
 * What a real Engine cannot be made to do on demand, shown by an HTTP server that speaks just enough of its API.
 * Its lies: it knows one image and one container, and checks nothing it is sent.
 */

import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, expect, test } from 'vitest'
import { applyStep } from './apply.ts'
import { connectEngine } from './engine.ts'
import { followEvents } from './events.ts'
import { execInContainer } from './exec.ts'
import { siteFiles } from './files.ts'
import { ensureImage, resolveImage } from './images.ts'
import { takeInventory } from './inventory.ts'
import { observeHost } from './observe.ts'
import { removeNetwork } from './removal.ts'

type Handler = (response: ServerResponse, request: IncomingMessage) => void

const signal = new AbortController().signal
const image = { reference: 'app:1', pinned: `app@sha256:${'a'.repeat(64)}` }
const cleanUps: (() => void)[] = []

afterEach(() => {
  for (const cleanUp of cleanUps.splice(0)) cleanUp()
})

test('an error in the last line of a pull that began well is the error, with or without a line end', async () => {
  for (const end of ['\n', '']) {
    const engine = await fakeEngine({
      'POST /images/create': (response) => {
        response.write('{"status":"Pulling from app","id":"latest"}\n')
        response.end(`{"errorDetail":{"message":"manifest unknown"},"error":"manifest unknown"}${end}`)
      },
    })
    await expect(ensureImage(engine, image, { signal })).rejects.toMatchObject({
      fault: 'input',
      message: expect.stringContaining('manifest unknown'),
    })
  }
})

test('a pull that ends well without the image is no success', async () => {
  const engine = await fakeEngine({
    'POST /images/create': (response) => response.end('{"status":"Pull complete","id":"a"}\n'),
  })
  await expect(ensureImage(engine, image, { signal })).rejects.toMatchObject({
    fault: 'temporary',
    message: expect.stringContaining('does not have the image'),
  })
})

test('a pull that is cut off is a temporary fault', async () => {
  const engine = await fakeEngine({
    'POST /images/create': (response) => {
      response.write('{"status":"Downloading","id":"a","progressDetail":{"current":1,"total":9}}\n')
      setTimeout(() => response.destroy(), 20)
    },
  })
  await expect(ensureImage(engine, image, { signal })).rejects.toMatchObject({ fault: 'temporary' })
})

test('a line that is not JSON is a temporary fault, not a crash', async () => {
  const engine = await fakeEngine({
    'POST /images/create': (response) => response.end('<html>a proxy says hello</html>\n'),
  })
  await expect(ensureImage(engine, image, { signal })).rejects.toMatchObject({ fault: 'temporary' })
})

test('a pull reports its progress, and the image is looked for afterwards', async () => {
  let isPulled = false
  const engine = await fakeEngine({
    'POST /images/create': (response) => {
      isPulled = true
      response.end('{"status":"Downloading","id":"a","progressDetail":{"current":5,"total":10}}\n')
    },
    [`GET /images/${image.pinned}/json`]: (response) =>
      isPulled ? response.end('{"Id":"x"}') : missing(response),
  })
  const fractions: number[] = []
  await ensureImage(engine, image, { signal, onProgress: (fraction) => fractions.push(fraction) })
  expect(fractions).toEqual([0.35])
})

test('a digest of the registry pins the reference, and its refusal is the config repo to change', async () => {
  const engine = await fakeEngine({
    'GET /distribution/docker.io/library/app:latest/json': (response) =>
      response.end(JSON.stringify({ Descriptor: { digest: `sha256:${'b'.repeat(64)}` } })),
    'GET /distribution/secret:latest/json': (response) => {
      response.statusCode = 401
      response.end('{"message":"denied: requested access to the resource is denied"}')
    },
  })
  const resolve = (reference: string) => resolveImage(engine, reference, { pullPolicy: 'missing', signal })
  expect((await resolve('docker.io/library/app')).pinned).toBe(`app@sha256:${'b'.repeat(64)}`)
  await expect(resolve('secret')).rejects.toMatchObject({ fault: 'input' })
})

test.each<[string, Handler]>([
  ['no answer', () => {}],
  ['a body that stalls', (response) => void response.write('[')],
  [
    'a body that is cut off',
    (response) => {
      response.setHeader('content-length', '100')
      response.write('[')
      setTimeout(() => response.destroy(), 20)
    },
  ],
])('%s ends at the deadline of the call', async (_what, handler) => {
  const engine = await fakeEngine({ 'GET /containers/json': handler })
  const list = engine.call(
    'Listing',
    (docker, callSignal) => docker.listContainers({ abortSignal: callSignal }),
    { signal, timeoutMs: 200 },
  )
  await expect(list).rejects.toMatchObject({ fault: 'temporary' })
})

test('the API version is asked for once, and again after the connection was lost', async () => {
  let asked = 0
  const engine = await fakeEngine({
    'GET /version': (response) => {
      asked += 1
      version(response)
    },
    'GET /containers/json': (response) => response.end('[]'),
    'GET /networks': (response) => response.destroy(),
  })
  const list = () => engine.call('Listing', (docker) => docker.listContainers(), { signal })
  await list()
  await list()
  expect(asked).toBe(1)
  const lost = engine.call('Listing networks', (docker) => docker.listNetworks(), { signal })
  await expect(lost).rejects.toMatchObject({ fault: 'temporary' })
  await list()
  expect(asked).toBe(2)
})

test('a program whose output ends while it still runs was cut off', async () => {
  const engine = await fakeEngine({
    'POST /containers/shop/exec': (response) => {
      response.statusCode = 201
      response.end('{"Id":"e1"}')
    },
    'POST /exec/e1/start': (response) => response.end(),
    'GET /exec/e1/json': (response) => response.end('{"Running":true,"ExitCode":null}'),
  })
  const run = execInContainer(engine, { container: 'shop', argv: ['true'] }, { signal })
  await expect(run).rejects.toMatchObject({ fault: 'temporary' })
})

test('an event stream that breaks ends the watch without an error, after what it brought', async () => {
  const engine = await fakeEngine({
    'GET /events': (response) => {
      const labels = { 'towline.owner': 'owner', 'towline.repo': 'acme/config', 'towline.app': 'shop' }
      response.write(
        `${JSON.stringify({ Action: 'health_status: unhealthy', Actor: { Attributes: labels } })}\n`,
      )
      setTimeout(() => response.destroy(), 20)
    },
  })
  const seen: unknown[] = []
  await followEvents(engine, 'owner', {
    signal,
    onOpen: () => seen.push('open'),
    onEvent: (event) => seen.push(event),
  })
  expect(seen).toEqual([
    'open',
    { host: 'web-1', repo: 'acme/config', app: 'shop', preview: null, action: 'health_status' },
  ])
})

test('a container that ended is seen as ended, though the list still says that it runs', async () => {
  const engine = await fakeEngine({
    'GET /containers/json': (response) => response.end(JSON.stringify([listedAsRunning])),
    'GET /containers/abc/json': (response) => response.end(JSON.stringify(inspectedAsExited)),
  })
  const files = siteFiles(engine, { owner: 'owner', image: 'busybox:1' })
  const observed = await observeHost(engine, { owner: 'owner', files }, { deep: true, signal })
  expect(observed.containers).toMatchObject([{ id: 'abc', state: 'exited', health: 'unhealthy' }])
})

test('a container that somebody else removes counts as removed only once it is gone', async () => {
  let isGone = false
  const engine = await fakeEngine({
    'GET /containers/abc/json': (response) =>
      response.end(JSON.stringify({ Config: { Labels: { 'towline.owner': 'owner' } } })),
    'POST /containers/abc/stop': (response) => response.writeHead(304).end(),
    'DELETE /containers/abc': (response) =>
      response.writeHead(409).end('{"message":"removal of container abc is already in progress"}'),
    'POST /containers/abc/wait': (response) => {
      isGone = true
      response.end('{"StatusCode":137}')
    },
  })
  const parts = { owner: 'owner', files: siteFiles(engine, { owner: 'owner', image: 'busybox:1' }) }
  await applyStep(
    engine,
    { do: 'removeContainer', phase: 'active', name: 'shop-1', id: 'abc', graceMs: 0 },
    { parts: { ...parts, ensureNetwork: async () => {} }, options: { signal } },
  )
  expect(isGone).toBe(true)
})

test.each(['dead', 'removing'])(
  'a helper that is %s is waited for until it is gone, and made anew',
  async (status) => {
    const acts: string[] = []
    const act =
      (name: string, answer: object): Handler =>
      (response) => {
        acts.push(name)
        response.end(JSON.stringify(answer))
      }
    const helper = 'towline-owner-files'
    const engine = await fakeEngine({
      [`GET /containers/${helper}/json`]: (response) =>
        response.end(
          JSON.stringify({
            Id: 'old',
            State: { Status: status },
            Config: { Labels: { 'towline.owner': 'owner' } },
          }),
        ),
      'DELETE /containers/old': (response) => response.writeHead(409).end('{"message":"in progress"}'),
      'POST /containers/old/wait': act('waited', { StatusCode: 0 }),
      'GET /images/busybox:1/json': (response) => response.end('{"Id":"sha256:1"}'),
      'GET /images/sha256:1/json': (response) => response.end('{"Id":"sha256:1"}'),
      'POST /volumes/create': (response) => response.writeHead(201).end('{}'),
      'GET /volumes/towline-owner': (response) => response.end('{"Labels":{"towline.owner":"owner"}}'),
      'POST /containers/create': (response) => {
        acts.push('created')
        response.writeHead(201).end('{"Id":"new"}')
      },
      'POST /containers/new/start': (response) => response.writeHead(204).end(),
      'POST /containers/new/exec': (response) => response.writeHead(201).end('{"Id":"e1"}'),
      'POST /exec/e1/start': (response) => response.end(),
      'GET /exec/e1/json': (response) => response.end('{"Running":false,"ExitCode":0}'),
    })
    const files = siteFiles(engine, { owner: 'owner', image: 'busybox:1' })
    expect(await files.observe({ signal })).toEqual({})
    expect(acts).toEqual(['waited', 'created'])
  },
)

const foreign = { Id: 'abc', Name: 'abc', Names: ['/abc'], Labels: { 'towline.owner': 'another' } }

test.each<[string, unknown]>([
  ['containers', [foreign]],
  ['networks', [foreign]],
  ['volumes', { Volumes: [foreign] }],
  ['images', [{ ...foreign, Labels: null }]],
])('an Engine that lists %s of others as ours is acted on in nothing', async (kind, answer) => {
  const empty: Record<string, unknown> = {
    containers: [],
    networks: [],
    volumes: { Volumes: null },
    images: [],
  }
  const answers = { ...empty, [kind]: answer }
  const engine = await fakeEngine({
    'GET /info': (response) => response.end('{"ID":"E1","SystemTime":"2026-11-21T10:00:00.123456789Z"}'),
    'GET /containers/json': (response) => response.end(JSON.stringify(answers.containers)),
    'GET /networks': (response) => response.end(JSON.stringify(answers.networks)),
    'GET /volumes': (response) => response.end(JSON.stringify(answers.volumes)),
    'GET /images/json': (response) => response.end(JSON.stringify(answers.images)),
  })
  const files = siteFiles(engine, { owner: 'owner', image: 'busybox:1' })
  const inventory = takeInventory(engine, { owner: 'owner', files, signal })
  await expect(inventory).rejects.toMatchObject({
    fault: 'operator',
    message: expect.stringContaining('answers strangely'),
  })
})

test('an Engine that does not say which one it is is acted on in nothing', async () => {
  const engine = await fakeEngine({ 'GET /info': (response) => response.end('{"SystemTime":"soon"}') })
  const files = siteFiles(engine, { owner: 'owner', image: 'busybox:1' })
  await expect(takeInventory(engine, { owner: 'owner', files, signal })).rejects.toMatchObject({
    fault: 'operator',
  })
})

test('a proxy that lets nobody remove a network is the operator to change', async () => {
  const network = { Id: 'n1', Name: 'towline-1', Labels: { 'towline.owner': 'owner' }, Containers: {} }
  const engine = await fakeEngine({
    'GET /networks/towline-1': (response) => response.end(JSON.stringify(network)),
    'GET /containers/json': (response) => response.end('[]'),
    'DELETE /networks/n1': (response) => response.writeHead(403).end('{"message":"forbidden"}'),
  })
  await expect(removeNetwork(engine, 'towline-1', { owner: 'owner', signal })).rejects.toMatchObject({
    fault: 'operator',
  })
})

const listedAsRunning = {
  Id: 'abc',
  Names: ['/shop-1'],
  Created: 0,
  State: 'running',
  Status: 'Up 2 minutes (healthy)',
  Labels: { 'towline.owner': 'owner' },
  Ports: [],
  Mounts: [],
  NetworkSettings: { Networks: {} },
}

const inspectedAsExited = {
  State: { Status: 'exited', Health: { Status: 'unhealthy' } },
  Config: {},
  HostConfig: {},
}

async function fakeEngine(handlers: Record<string, Handler>) {
  const known: Record<string, Handler> = { 'GET /version': version, ...handlers }
  const server = createServer((request, response) => {
    const path = decodeURIComponent((request.url ?? '').replace(/^\/v1\.41/, '').replace(/\?.*$/, ''))
    request.resume()
    const handler = known[`${request.method} ${path}`] ?? missing
    handler(response, request)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  cleanUps.push(() => {
    server.closeAllConnections()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  return connectEngine({ kind: 'tcp', host: '127.0.0.1', port, tls: null }, { name: 'web-1' })
}

function version(response: ServerResponse): void {
  response.end('{"ApiVersion":"1.41","MinAPIVersion":"1.12"}')
}

function missing(response: ServerResponse): void {
  response.statusCode = 404
  response.end('{"message":"not here"}')
}

test('a container its Engine was killed in the start of is removed, so that the next attempt makes it anew', async () => {
  const asked: string[] = []
  const engine = await fakeEngine({
    'POST /containers/shop-1/start': (response) => {
      asked.push('start')
      response.writeHead(500).end('{"message":"task 7070dc9a36df: already exists"}')
    },
    'GET /containers/shop-1/json': (response) =>
      response.end('{"Id":"c1","Config":{"Labels":{"towline.owner":"owner-1"}}}'),
    'GET /containers/c1/json': (response) =>
      response.end('{"Id":"c1","Config":{"Labels":{"towline.owner":"owner-1"}}}'),
    'POST /containers/c1/stop': (response) => response.writeHead(304).end(),
    'DELETE /containers/c1': (response) => {
      asked.push('remove')
      response.writeHead(204).end()
    },
  })
  const parts = {
    owner: 'owner-1',
    files: siteFiles(engine, { owner: 'owner-1', image: 'helper:1' }),
    ensureNetwork: async () => {},
  }
  const step = { do: 'startContainer', phase: 'updating_routes', name: 'shop-1' } as const
  await expect(applyStep(engine, step, { parts, options: { signal } })).rejects.toMatchObject({
    fault: 'temporary',
  })
  expect(asked).toEqual(['start', 'remove'])
})
