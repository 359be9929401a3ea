/**
 * Every request of every call, cut or stalled in the middle of its answer. The Engine here says what lets each call
 * come to its end. Its lies: nothing it is asked for changes anything.
 */

import { once } from 'node:events'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, expect, test } from 'vitest'
import { explain, faultOf } from '../rollout/error.ts'
import { applyStep } from './apply.ts'
import { connectEngine, type Engine } from './engine.ts'
import { followEvents } from './events.ts'
import { siteFiles } from './files.ts'
import { ensureImage, resolveImage } from './images.ts'
import { takeInventory } from './inventory.ts'
import { networkMaker } from './networks.ts'
import { observeHost, surveyHost } from './observe.ts'

const owner = 'owner'
const signal = new AbortController().signal
/** Instead of half a minute and more. */
const shortMs = 150
const longMs = 20_000
const closers: (() => void)[] = []

afterAll(() => {
  for (const close of closers) close()
})

type Act = (engine: Engine, parts: { owner: string; files: ReturnType<typeof siteFiles> }) => Promise<unknown>

const site = { folder: 'sites/docs', root: '.', source: { kind: 'inline', files: {} } } as const
const step =
  (given: Parameters<typeof applyStep>[1]): Act =>
  (engine, parts) =>
    applyStep(engine, given, {
      parts: { ...parts, ensureNetwork: networkMaker(engine, owner) },
      options: { signal, files: async () => [{ path: 'a.txt', mode: 0o644, content: Buffer.from('a') }] },
    })

const acts: [string, Act][] = [
  [
    'a whole look',
    (engine, parts) =>
      observeHost(engine, parts, {
        deep: true,
        sites: true,
        files: [{ folder: 'sites/docs', releaseId: 'r1' }],
        resources: true,
        signal,
      }),
  ],
  ['an inventory', (engine, parts) => takeInventory(engine, { ...parts, signal })],
  ['a survey', (engine) => surveyHost(engine, { owner, signal })],
  ['pinning an image', (engine) => resolveImage(engine, 'far:1', { pullPolicy: 'missing', signal })],
  [
    'a pull',
    (engine) =>
      ensureImage(engine, { reference: 'far:1', pinned: `far@sha256:${'a'.repeat(64)}` }, { signal }),
  ],
  ['writing a release', step({ do: 'writeRelease', phase: 'copying_files', releaseId: 'r1', site })],
  ['making the helper anew', (engine) => siteFiles(engine, { owner, image: 'near:2' }).observe({ signal })],
  ['a restart', step({ do: 'restartContainer', phase: 'updating_routes', name: 'shop-1', graceMs: 0 })],
  ['a stop', step({ do: 'stopContainer', phase: 'updating_routes', name: 'shop-1', graceMs: 0 })],
  ['a removal', step({ do: 'removeContainer', phase: 'active', name: 'shop-1', id: 'abc', graceMs: 0 })],
  // One container is on it, so it is looked at and stays.
  ["a network's removal", step({ do: 'removeNetwork', phase: 'active', name: 'net' })],
  ["a volume's removal", step({ do: 'removeVolume', phase: 'active', name: 'data' })],
  ["an image's removal", step({ do: 'removeImage', phase: 'active', id: 'sha256:1', name: 'near:1' })],
  [
    'making a network',
    step({ do: 'ensureNetwork', phase: 'copying_files', network: { name: 'new', labels: {} } }),
  ],
  [
    'making a volume',
    step({ do: 'ensureVolume', phase: 'copying_files', volume: { name: 'data', labels: {} } }),
  ],
]

test.each(acts)('%s ends by its deadline, whichever answer is cut or stalls', async (_what, act) => {
  const whole = await attempt(act, { spoil: () => false, deadlineMs: longMs })
  expect(whole.end).toBe('done')
  const counts = Array.from({ length: whole.requestCount }, (_, count) => count)
  const attempts = [cut, stall].flatMap((spoil) =>
    counts.map((at) =>
      attempt(act, { spoil: (count, response) => count === at && spoil(response), deadlineMs: shortMs }),
    ),
  )
  // An answer nobody reads may be cut: the upload's, and that of a removal.
  const ends = (await Promise.all(attempts)).map(({ end }) => end)
  expect(ends.filter((end) => end !== 'temporary' && end !== 'done')).toEqual([])
  expect(ends).toContain('temporary')
})

test('an upload of which nothing more is taken ends long before its deadline', async () => {
  const content = Buffer.alloc(16_000_000)
  const { message } = await attempt(
    (engine) =>
      siteFiles(engine, { owner, image: 'near:1', uploadIdleMs: shortMs }).writeRelease(
        { folder: 'sites/docs', releaseId: 'r1' },
        { signal, files: async () => [{ path: 'a.bin', mode: 0o644, content }] },
      ),
    { spoil: (_count, { req }) => req.method === 'PUT', deadlineMs: longMs },
  )
  expect(message).toMatch(/took nothing/)
})

test('an event stream that is never opened ends by the deadline', async () => {
  const { end } = await attempt(
    (engine) => followEvents(engine, owner, { signal, onOpen: () => {}, onEvent: () => {} }),
    { spoil: (count) => count === 1, deadlineMs: shortMs },
  )
  expect(end).toBe('temporary')
})

/** Does something to an answer, or to none. Counts from 0, the question for the version included. */
type Spoil = (count: number, response: ServerResponse) => boolean

function stall(response: ServerResponse): boolean {
  response.writeHead(200, { 'content-length': 1_000 })
  response.write('[{"Id"')
  return true
}

function cut(response: ServerResponse): boolean {
  setTimeout(() => response.destroy(), 5)
  return stall(response)
}

async function attempt(
  act: Act,
  { spoil, deadlineMs }: { spoil: Spoil; deadlineMs: number },
): Promise<{ end: string; message: string; requestCount: number }> {
  let requestCount = 0
  const server = createServer((request, response) => {
    const path = decodeURIComponent((request.url ?? '').replace(/^\/v1\.41/, '').replace(/\?.*$/, ''))
    if (spoil(requestCount++, response)) return
    request.resume()
    const found = answers.find(([pattern]) => pattern.test(`${request.method} ${path}`))
    const [status, body] = found ? found[1] : [404, { message: `no ${path} here` }]
    response.writeHead(status, { 'content-type': 'application/json' })
    response.end(body === null ? '' : JSON.stringify(body))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  closers.push(() => {
    server.closeAllConnections()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  const real = connectEngine({ kind: 'tcp', host: '127.0.0.1', port, tls: null }, { name: 'web-1' })
  const engine: Engine = {
    name: real.name,
    call: (what, call, options) => real.call(what, call, { ...options, timeoutMs: deadlineMs }),
  }
  const files = siteFiles(engine, { owner, image: 'near:1' })
  const error: unknown = await act(engine, { owner, files }).then(
    () => null,
    (reason: unknown) => reason,
  )
  if (error === null) return { end: 'done', message: '', requestCount }
  return { end: faultOf(error), message: explain(error).reason, requestCount }
}

const labels = { 'towline.owner': owner, 'towline.role': 'app' }
const container = {
  Id: 'abc',
  Name: '/shop-1',
  Names: ['/shop-1'],
  Created: 1_700_000_000,
  State: 'running',
  Status: 'Up',
  Labels: labels,
  Ports: [],
  Mounts: [],
  NetworkSettings: { Networks: {} },
}
const inspected = { ...container, State: { Status: 'running' }, Config: { Labels: labels }, HostConfig: {} }
const helper = {
  ...inspected,
  Id: 'helper',
  Config: { Image: 'near:1', Labels: labels },
  Mounts: [{ Destination: '/towline', Name: 'towline-owner', RW: true }],
  HostConfig: {
    NetworkMode: 'none',
    ReadonlyRootfs: true,
    CapDrop: ['ALL'],
    CapAdd: ['CAP_DAC_OVERRIDE', 'CAP_FOWNER'],
  },
}
const ours = { Id: 'n1', Name: 'net', Labels: labels, Config: { Labels: labels } }

/** First match wins. */
const answers: [RegExp, [number, unknown]][] = [
  [/^GET \/version$/, [200, { ApiVersion: '1.41', MinAPIVersion: '1.12' }]],
  [/^GET \/info$/, [200, { ID: 'E1', SystemTime: '2026-11-21T10:00:00Z' }]],
  [/^GET \/containers\/json$/, [200, [container]]],
  [/^GET \/containers\/towline-owner-files\/json$/, [200, helper]],
  [/^GET \/containers\/\w+(-1)?\/json$/, [200, inspected]],
  [/^GET \/networks$/, [200, [ours]]],
  [/^GET \/networks\/net$/, [200, ours]],
  [/^POST \/networks\/create$/, [201, { Id: 'n2' }]],
  [/^GET \/volumes$/, [200, { Volumes: [{ ...ours, Name: 'towline-owner' }] }]],
  [/^GET \/volumes\//, [200, { ...ours, CreatedAt: '2026-11-21T10:00:00Z' }]],
  [/^POST \/volumes\/create$/, [201, ours]],
  [/^GET \/images\/json$/, [200, []]],
  [/^GET \/images\/(near:[12]|sha256:1|far@.*)\/json$/, [200, { ...ours, Id: 'sha256:1' }]],
  [/^GET \/distribution\//, [200, { Descriptor: { digest: `sha256:${'b'.repeat(64)}` } }]],
  [/^POST \/containers\/create$/, [201, { Id: 'helper' }]],
  [/^POST \/containers\/\w+\/exec$/, [201, { Id: 'e1' }]],
  [/^POST \/exec\/e1\/start$/, [200, null]],
  [/^GET \/exec\/e1\/json$/, [200, { Running: false, ExitCode: 0 }]],
  [/^PUT \/containers\/helper\/archive$/, [200, null]],
  [/^POST \/containers\/\S+\/(start|stop|restart)$/, [204, null]],
  [/^DELETE \/images/, [200, []]],
  [/^DELETE /, [204, null]],
]
