import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { TowlineError } from '../rollout/error.ts'
import { createHostStatus } from './host-status.ts'
import { recordLog } from './log.fixture.ts'
import { memoryStore } from './memory-store.fixture.ts'

beforeEach(() => void vi.useFakeTimers({ now: Date.parse('2026-11-21T10:00:00.000Z') }))
afterEach(() => void vi.useRealTimers())

const away = new TowlineError('connect ECONNREFUSED', { fault: 'temporary' })

function scene(store = memoryStore()) {
  const log = recordLog()
  return { store, log, status: createHostStatus({ store, hosts: ['web-1', 'web-2'], log }) }
}

test('a host that gives no answer is unknown since then, however often it is asked', () => {
  const { status, log } = scene()
  expect(status.unknownSince('web-1')).toBeNull()
  status.lost('web-1', away)
  vi.advanceTimersByTime(60_000)
  status.lost('web-1', away)
  expect(status.unknownSince('web-1')).toBe('2026-11-21T10:00:00.000Z')
  expect(status.unknownSince('web-2')).toBeNull()
  expect(log.lines.filter(({ level }) => level === 'warn')).toHaveLength(1)
})

test('who waits for a host goes on as soon as it answers, or when told to stop', async () => {
  const { status } = scene()
  status.lost('web-1', away)
  const { signal } = new AbortController()
  const waiting = vi.fn()
  const wait = status.whenKnown('web-1', signal).then(waiting)
  await vi.advanceTimersByTimeAsync(120_000)
  expect(waiting).not.toHaveBeenCalled()
  expect(status.answered('web-1')).toBe(true)
  expect(status.answered('web-1')).toBe(false)
  await wait
  expect(waiting).toHaveBeenCalledOnce()
  status.lost('web-1', away)
  const stop = new AbortController()
  const stopped = status.whenKnown('web-1', stop.signal)
  stop.abort(away)
  await expect(stopped).rejects.toBe(away)
})

test('since when a host is unknown outlives a restart', async () => {
  const { store, status } = scene()
  status.lost('web-1', away)
  await vi.advanceTimersByTimeAsync(3_600_000)
  const next = scene(store).status
  await next.load()
  expect(next.unknownSince('web-1')).toBe('2026-11-21T10:00:00.000Z')
})

test('a host that answers all the time is stored now and then, not at each answer', async () => {
  const { store, status } = scene()
  const update = vi.spyOn(store, 'updateHost')
  for (let minute = 0; minute < 30; minute += 1) {
    status.answered('web-1')
    await vi.advanceTimersByTimeAsync(60_000)
  }
  expect(update.mock.calls.length).toBeLessThanOrEqual(3)
  expect((await store.readHost('web-1'))?.lastSeenAt).not.toBeNull()
})
