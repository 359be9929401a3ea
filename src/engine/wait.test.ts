import { getEventListeners } from 'node:events'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { backoffMs, sleep, waitFor } from './wait.ts'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

test('a sleep ends after its time and not before', async () => {
  const done = vi.fn()
  const slept = sleep(1_000, new AbortController().signal).then(done)
  await vi.advanceTimersByTimeAsync(999)
  expect(done).not.toHaveBeenCalled()
  await vi.advanceTimersByTimeAsync(1)
  await slept
})

test('a sleep ends at once with the reason of its signal', async () => {
  const controller = new AbortController()
  const slept = sleep(1_000, controller.signal)
  controller.abort(new Error('stopping'))
  await expect(slept).rejects.toThrow('stopping')
  await expect(sleep(1_000, controller.signal)).rejects.toThrow('stopping')
})

test('a wait ends when it is woken, and takes back its subscription, timer and listener', async () => {
  const { signal } = new AbortController()
  const wakes = new Set<() => void>()
  const waited = waitFor({
    ms: 60_000,
    signal,
    onWake: (wake) => {
      wakes.add(wake)
      return () => wakes.delete(wake)
    },
  })
  expect(wakes.size).toBe(1)
  for (const wake of wakes) wake()
  await waited
  expect(wakes.size).toBe(0)
  expect(vi.getTimerCount()).toBe(0)
  expect(getEventListeners(signal, 'abort')).toEqual([])
})

test('backoff doubles with each failure up to its cap, and never all at one beat', () => {
  const options = { baseMs: 1_000, capMs: 10_000 }
  const middles = [1_000, 2_000, 4_000, 8_000, 10_000, 10_000]
  for (const [index, middleMs] of middles.entries()) {
    const drawn = Array.from({ length: 50 }, () => backoffMs(index + 1, options))
    expect(Math.min(...drawn)).toBeGreaterThanOrEqual(middleMs * 0.8)
    expect(Math.max(...drawn)).toBeLessThanOrEqual(middleMs * 1.2)
    expect(new Set(drawn).size).toBeGreaterThan(1)
  }
})
