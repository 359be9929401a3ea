import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { TowlineError } from '../rollout/error.ts'
import { dockerHost } from './host.fixture.ts'
import { watchHosts } from './host-watch.ts'
import { recordLog } from './log.fixture.ts'
import type { DockerHost, HostEvent } from './ports.ts'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

const died: HostEvent = { host: 'web-1', repo: 'acme/config', app: 'shop', preview: null, action: 'die' }

type Stream = Parameters<DockerHost['events']>[0] & { end: () => void; fail: (error: Error) => void }

/** A host whose event streams a test opens, feeds and breaks by hand. */
function handHost(name: string): { host: DockerHost; streams: Stream[] } {
  const streams: Stream[] = []
  const events: DockerHost['events'] = (options) =>
    new Promise((resolve, reject) => {
      streams.push({ ...options, end: resolve, fail: reject })
      options.signal.addEventListener('abort', () => resolve(), { once: true })
    })
  return { host: dockerHost({ name, events }), streams }
}

function watch(...hosts: DockerHost[]) {
  const seen: string[] = []
  const log = recordLog()
  const onLost = vi.fn()
  const watched = watchHosts(hosts, {
    onConnected: (host) => seen.push(`${host} connected`),
    onLost,
    onEvent: ({ host, app, action }) => seen.push(`${host} ${app} ${action}`),
    log,
  })
  watched.start()
  return { ...watched, seen, onLost, log }
}

test('each event is passed on, and wakes who waits on that host and nobody else', async () => {
  const [one, other] = [handHost('web-1'), handHost('web-2')]
  const { subscribe, seen, stop } = watch(one.host, other.host)
  const [wake, otherWake] = [vi.fn(), vi.fn()]
  subscribe('web-1', wake)
  subscribe('web-2', otherWake)
  one.streams[0]?.onEvent(died)
  expect(wake).toHaveBeenCalledOnce()
  expect(otherWake).not.toHaveBeenCalled()
  expect(seen).toEqual(['web-1 shop die'])
  await stop()
})

test('who has stopped waiting is woken no more', async () => {
  const { host, streams } = handHost('web-1')
  const { subscribe, stop } = watch(host)
  const [left, stays] = [vi.fn(), vi.fn()]
  const leave = subscribe('web-1', left)
  subscribe('web-1', stays)
  leave()
  streams[0]?.onEvent(died)
  expect(left).not.toHaveBeenCalled()
  expect(stays).toHaveBeenCalledOnce()
  await stop()
})

test('a stream that breaks or ends is opened again, and each opening asks for a whole look', async () => {
  const { host, streams } = handHost('web-1')
  const { seen, log, stop } = watch(host)
  streams[0]?.onOpen()
  streams[0]?.fail(new TowlineError('host web-1 does not answer', { fault: 'temporary' }))
  await vi.advanceTimersByTimeAsync(600)
  streams[1]?.onOpen()
  streams[1]?.end()
  await vi.advanceTimersByTimeAsync(600)
  streams[2]?.onOpen()
  expect(seen).toEqual(['web-1 connected', 'web-1 connected', 'web-1 connected'])
  expect(log.lines).toMatchObject([
    { level: 'warn', fields: { host: 'web-1', reason: 'host web-1 does not answer' } },
  ])
  await stop()
})

test('a dead host is asked ever less often, at least twice a minute, and often again once it was back', async () => {
  const { host, streams } = handHost('web-1')
  const { stop } = watch(host)
  const breakNext = async (waitMs: number) => {
    const count = streams.length
    streams.at(-1)?.fail(new Error('refused'))
    await vi.advanceTimersByTimeAsync(waitMs)
    return streams.length - count
  }
  expect(await breakNext(600)).toBe(1)
  for (const waitMs of [1_200, 2_400, 4_800, 9_600, 19_200, 36_000]) expect(await breakNext(waitMs)).toBe(1)
  expect(await breakNext(20_000)).toBe(0)
  await vi.advanceTimersByTimeAsync(16_000)
  streams.at(-1)?.onOpen()
  expect(await breakNext(1_200)).toBe(1)
  await stop()
})

test('one host that is away keeps no other from being watched', async () => {
  const [away, other] = [handHost('web-1'), handHost('web-2')]
  const { seen, stop } = watch(away.host, other.host)
  away.streams[0]?.fail(new Error('refused'))
  other.streams[0]?.onOpen()
  await vi.advanceTimersByTimeAsync(0)
  expect(seen).toEqual(['web-2 connected'])
  await stop()
})

test('stopping ends every stream and every wait for the next one', async () => {
  const [open, broken] = [handHost('web-1'), handHost('web-2')]
  const { stop } = watch(open.host, broken.host)
  broken.streams[0]?.fail(new Error('refused'))
  await vi.advanceTimersByTimeAsync(0)
  await stop()
  await vi.advanceTimersByTimeAsync(60_000)
  expect(open.streams).toHaveLength(1)
  expect(broken.streams).toHaveLength(1)
  expect(vi.getTimerCount()).toBe(0)
})
