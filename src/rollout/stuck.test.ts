import { expect, test } from 'vitest'
import { advance, type Deployment, queueDeployment } from './deployment.ts'
import { serviceRelease } from './release.fixture.ts'
import { findStuck, phaseLimitMs, StuckError, type StuckFacts } from './stuck.ts'

const now = '2026-11-21T10:00:00.000Z'
const nowMs = Date.parse(now)
const queued = queueDeployment({
  id: 'd-1',
  target: 'acme/config:shop@web-1',
  commit: 'c0ffee',
  specHash: 'beef',
  attempt: 1,
  trigger: 'push',
  now,
  deadlineAt: '2026-11-21T10:30:00.000Z',
})
const started = advance(queued, { type: 'phase', phase: 'building', message: 'pulling' }, now)
const working: StuckFacts = { inWork: true, unmovedMs: 0, progressDeadlineMs: 300_000, nowMs }

test('one that gets on is not stuck, whatever the wall clock says', () => {
  expect(findStuck(started, working)).toBeNull()
  expect(findStuck(started, { ...working, nowMs: nowMs + 7 * 24 * 3_600_000 })).toBeNull()
})

test('one that still waits in the queue is not stuck, and one that has ended neither', () => {
  const forEver = { ...working, inWork: false, unmovedMs: Number.MAX_SAFE_INTEGER, nowMs: nowMs * 2 }
  expect(findStuck(queued, forEver)).toBeNull()
  expect(findStuck(advance(started, { type: 'succeeded' }, now), forEver)).toBeNull()
})

test.each<[string, Partial<StuckFacts>, string]>([
  ['a phase that does not get on', { unmovedMs: 330_000 }, 'progress'],
  ['work past its deadline that does not move', { nowMs: nowMs + 1_800_000, unmovedMs: 60_000 }, 'deadline'],
  ['work nobody does', { inWork: false, unmovedMs: 120_000 }, 'claim'],
])('%s is stuck, for that reason', (_, facts, reason) => {
  expect(findStuck(started, { ...working, ...facts })).toBe(reason)
})

test('a release that asks to be watched longer gets that time besides', () => {
  const watched: Deployment = { ...started, release: serviceRelease({ monitorMs: 600_000 }) }
  expect(phaseLimitMs(watched, 300_000)).toBe(930_000)
  expect(findStuck(watched, { ...working, unmovedMs: 900_000 })).toBeNull()
  expect(findStuck(watched, { ...working, unmovedMs: 930_000 })).toBe('progress')
})

test('each reason has its own words, and says what to do', () => {
  const errors = (['deadline', 'progress', 'claim'] as const).map(
    (why) => new StuckError(why, started, 300_000),
  )
  expect(errors.map(({ message }) => message)).toEqual([
    'stuck: not finished after 5 min, the limit of a whole deployment',
    'stuck: building did not get on for 5 min (pulling)',
    'stuck: nobody works on it in building, and its claim has lapsed',
  ])
  expect(new Set(errors.map(({ hint }) => hint)).size).toBe(3)
  for (const { fault } of errors) expect(fault).toBe('rejected')
})
