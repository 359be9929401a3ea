import { expect, test } from 'vitest'
import { degrade, endEpisode, noteDrift } from './drift-episode.ts'
import type { Drift } from './observed.ts'

const minuteMs = 60_000
const at = (minutes: number) =>
  new Date(Date.parse('2026-11-21T10:00:00.000Z') + minutes * minuteMs).toISOString()
const context = (minutes: number, over: object = {}) => ({
  target: 'acme/config:shop@web-1',
  deploymentId: 'd-1',
  commit: 'c0ffee',
  now: at(minutes),
  ...over,
})
const stopped: Drift = { subject: 'container shop-1', field: 'state', expected: 'running', found: 'exited' }
const elsewhere: Drift = { subject: 'link docs/current', field: 'target', expected: 'a', found: 'b' }

test('what is seen again is counted, not told a second time', () => {
  const first = noteDrift(null, [{ drift: stopped, action: 'started again' }], context(0))
  const second = noteDrift(first, [{ drift: stopped, action: 'started again' }], context(1))
  expect(second.id).toBe(first.id)
  expect(second.entries).toEqual([
    { drift: stopped, action: 'started again', firstSeenAt: at(0), lastSeenAt: at(1), count: 2 },
  ])
})

test('what comes back soon after belongs to the same episode, later or of another release to a new one', () => {
  const drift = [{ drift: stopped, action: 'started again' }]
  const ended = endEpisode(noteDrift(null, drift, context(0)), at(1))
  expect(ended.endedAt).toBe(at(1))
  expect(noteDrift(ended, drift, context(10))).toMatchObject({ id: ended.id, endedAt: null })
  expect(noteDrift(ended, drift, context(12)).id).not.toBe(ended.id)
  expect(noteDrift(ended, drift, context(2, { deploymentId: 'd-2' })).id).not.toBe(ended.id)
  expect(noteDrift(ended, drift, context(2, { commit: 'beef' })).id).not.toBe(ended.id)
})

test('giving up is noted once, and forgotten when it ends', () => {
  const open = noteDrift(null, [{ drift: elsewhere, action: 'tried' }], context(0))
  const given = degrade(open, 'five times in five minutes')
  expect(degrade(given, 'five times in five minutes')).toBe(given)
  const ended = endEpisode(given, at(3))
  expect(ended).toMatchObject({ degradedReason: null, endedAt: at(3) })
  expect(endEpisode(ended, at(4))).toBe(ended)
})

test('a bounded number of differences is kept, the newest ones', () => {
  const many = Array.from({ length: 60 }, (_, index) => ({
    drift: { ...stopped, subject: `container ${index}` },
    action: 'started again',
  }))
  const { entries } = noteDrift(null, many, context(0))
  expect(entries).toHaveLength(50)
  expect(entries.at(-1)?.drift.subject).toBe('container 59')
})
