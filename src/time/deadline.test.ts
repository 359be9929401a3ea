import { getEventListeners } from 'node:events'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { startDeadline } from './deadline.ts'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

test('work is aborted when its time is over', () => {
  using deadline = startDeadline({ signal: new AbortController().signal, ms: 1_000 })
  vi.advanceTimersByTime(999)
  expect([deadline.signal.aborted, deadline.passed]).toEqual([false, false])
  vi.advanceTimersByTime(1)
  expect([deadline.signal.aborted, deadline.passed]).toEqual([true, true])
  expect(deadline.signal.reason).toMatchObject({ name: 'TimeoutError' })
})

test('an outer signal aborts the work with its own reason, and then no time is over', () => {
  const outer = new AbortController()
  using deadline = startDeadline({ signal: outer.signal, ms: 1_000 })
  outer.abort('stopping')
  vi.advanceTimersByTime(2_000)
  expect([deadline.signal.reason, deadline.passed]).toEqual(['stopping', false])
})

test('work under a signal that has aborted before does not begin', () => {
  using deadline = startDeadline({ signal: AbortSignal.abort('stopped'), ms: 1_000 })
  expect([deadline.signal.reason, deadline.passed]).toEqual(['stopped', false])
})

test('nothing of a deadline outlives its work: no timer, and no listener at the outer signal', () => {
  const { signal } = new AbortController()
  for (let call = 0; call < 3; call += 1) {
    using outer = startDeadline({ signal, ms: 60_000 })
    using inner = startDeadline({ signal: outer.signal, ms: 30_000 })
    expect(inner.signal.aborted).toBe(false)
  }
  expect([vi.getTimerCount(), getEventListeners(signal, 'abort').length]).toEqual([0, 0])
})
