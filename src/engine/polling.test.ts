import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { keepPolling } from './polling.ts'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

const elapse = (ms: number) => vi.advanceTimersByTimeAsync(ms)

test('polls come an interval apart, give or take a fifth', async () => {
  const stopping = new AbortController()
  const poll = vi.fn(async () => true)
  const polling = keepPolling({ intervalMs: 10_000, poll, signal: stopping.signal })
  await elapse(7_900)
  expect(poll).not.toHaveBeenCalled()
  await elapse(120_000 - 7_900)
  expect(poll.mock.calls.length).toBeGreaterThanOrEqual(10)
  expect(poll.mock.calls.length).toBeLessThanOrEqual(15)
  stopping.abort()
  await polling
})

test('a poll that lasts longer than the interval is not joined by another', async () => {
  const stopping = new AbortController()
  const ends: ((answered: boolean) => void)[] = []
  const poll = () => new Promise<boolean>((resolve) => ends.push(resolve))
  const polling = keepPolling({ intervalMs: 1_000, poll, signal: stopping.signal })
  await elapse(60_000)
  expect(ends).toHaveLength(1)
  ends[0]?.(true)
  await elapse(1_300)
  expect(ends).toHaveLength(2)
  stopping.abort()
  ends[1]?.(true)
  await polling
})

test('while nobody answers polls grow rarer, and are as frequent as before once somebody does', async () => {
  const stopping = new AbortController()
  let answers = false
  const poll = vi.fn(async () => answers)
  const polling = keepPolling({ intervalMs: 1_000, poll, signal: stopping.signal })
  await elapse(3_600_000)
  expect(poll.mock.calls.length).toBeLessThan(30)
  answers = true
  await elapse(400_000)
  poll.mockClear()
  await elapse(60_000)
  expect(poll.mock.calls.length).toBeGreaterThan(45)
  stopping.abort()
  await polling
})

test('it ends at once when told to, also while it waits', async () => {
  const stopping = new AbortController()
  const poll = vi.fn(async () => true)
  const polling = keepPolling({ intervalMs: 10_000, poll, signal: stopping.signal })
  stopping.abort()
  await polling
  expect(poll).not.toHaveBeenCalled()
})
