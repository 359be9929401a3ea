import { describe, expect, test } from 'vitest'
import { decide, healBackoffMs, type Situation } from './decide.ts'
import { advance, type Deployment, queueDeployment } from './deployment.ts'
import { serviceRelease } from './release.fixture.ts'
import type { Step } from './step.ts'

const now = '2026-01-01T00:00:00.000Z'
const nowMs = Date.parse(now)
const applied = serviceRelease()
const start: Step = {
  do: 'startContainer',
  phase: 'updating_routes',
  name: 'shop-new-1',
  reason: 'it is exited',
}

const first = deployment('d-1')
const second = deployment('d-2')
const rolling = advance(second, { type: 'phase', phase: 'building' }, now)
const ended = advance(deployment('d-0'), { type: 'succeeded' }, now)

/** An idle target whose host is as it should be. */
const calm: Situation = {
  deployments: [ended],
  wanted: true,
  removal: null,
  pausedReason: null,
  waitingFor: [],
  failedDependencies: [],
  applied,
  healSteps: () => [],
  lostVolumes: () => [],
  healNotBeforeMs: 0,
  healedAtMs: {},
  healing: { limit: 5, windowMs: 300_000 },
  degradedUntilMs: null,
  hostUnknownSince: null,
  nowMs,
}

test('an open deployment is run', () => {
  expect(decide({ ...calm, deployments: [ended, first] })).toEqual({
    kind: 'deploy',
    deployment: first,
    superseded: [],
    reason: 'a deployment is open',
  })
})

test('the newest open deployment is run and every older one gives way', () => {
  expect(decide({ ...calm, deployments: [first, ended, second, deployment('d-3')] })).toMatchObject({
    kind: 'deploy',
    deployment: { id: 'd-3' },
    superseded: [{ id: 'd-1' }, { id: 'd-2' }],
  })
})

test('what is queued waits while its spec is paused, until somebody lifts it', () => {
  expect(decide({ ...calm, deployments: [first], pausedReason: 'migration' })).toEqual({
    kind: 'wait',
    deployment: first,
    reason: 'paused: migration',
    notBeforeMs: null,
  })
})

test('what is queued waits for its dependencies and looks again in half a minute', () => {
  expect(decide({ ...calm, deployments: [first], waitingFor: ['db', 'cache'] })).toEqual({
    kind: 'wait',
    deployment: first,
    reason: 'waiting for db, cache',
    notBeforeMs: nowMs + 30_000,
  })
})

test('what depends on something that failed is refused, not kept waiting', () => {
  const situation = { ...calm, deployments: [first], waitingFor: ['db'], failedDependencies: ['db'] }
  expect(decide(situation)).toEqual({
    kind: 'refuse',
    deployment: first,
    reason: 'depends on db, which failed',
    hint: 'Mend what it depends on, then press Re-run here.',
  })
})

test('a pause counts before a failed dependency', () => {
  const situation = { ...calm, deployments: [first], pausedReason: 'migration', failedDependencies: ['db'] }
  expect(decide(situation).kind).toBe('wait')
})

test.each<[string, Partial<Situation>]>([
  ['a pause', { pausedReason: 'migration' }],
  ['a dependency that waits', { waitingFor: ['db'] }],
  ['a dependency that failed', { waitingFor: ['db'], failedDependencies: ['db'] }],
  ['its app leaving the config repo', { wanted: false }],
])('a rollout under way is not stopped by %s', (_, change) => {
  expect(decide({ ...calm, deployments: [rolling], ...change })).toMatchObject({
    kind: 'deploy',
    deployment: rolling,
  })
})

test('what drifted is healed back to the applied release', () => {
  expect(decide({ ...calm, healSteps: () => [start] })).toEqual({
    kind: 'heal',
    release: applied,
    steps: [start],
    reason: 'the host drifted from the applied release',
  })
})

test('healing is planned from the applied release', () => {
  const healSteps = (release: typeof applied) => [{ ...start, reason: release.id }]
  expect(decide({ ...calm, healSteps })).toMatchObject({ steps: [{ reason: applied.id }] })
})

test('healing backs off after failures, and goes on when its time has come', () => {
  const drifted = { ...calm, healSteps: () => [start] }
  expect(decide({ ...drifted, healNotBeforeMs: nowMs + 1 })).toEqual({
    kind: 'wait',
    deployment: null,
    reason: 'healing backs off',
    notBeforeMs: nowMs + 1,
  })
  expect(decide({ ...drifted, healNotBeforeMs: nowMs }).kind).toBe('heal')
})

test.each<[string, Partial<Situation>, string]>([
  ['nothing drifted', {}, 'the host is as the applied release says'],
  [
    'nothing drifted during a backoff',
    { healNotBeforeMs: nowMs + 1 },
    'the host is as the applied release says',
  ],
  ['the app left the config repo', { wanted: false }, 'the app left the config repo and is not removed'],
  ['the spec is paused', { pausedReason: 'migration' }, 'paused: migration'],
  ['nothing was ever proven', { applied: null }, 'nothing was ever proven here'],
])('nothing is done where %s', (_, change, reason) => {
  expect(decide({ ...calm, ...change })).toEqual({ kind: 'nothing', reason })
})

test.each<[string, Partial<Situation>]>([
  ['an open deployment', { deployments: [first] }],
  ['a pause', { pausedReason: 'migration' }],
  ['an app that left', { wanted: false }],
])('%s keeps healing off: the host is not even compared', (_, change) => {
  const healSteps = () => expect.unreachable()
  expect(decide({ ...calm, healSteps, ...change }).kind).not.toBe('heal')
})

test('an open deployment waits while its host gives no answer, also one under way', () => {
  const since = '2025-12-31T23:00:00.000Z'
  for (const deployment of [first, rolling]) {
    expect(decide({ ...calm, deployments: [deployment], hostUnknownSince: since })).toEqual({
      kind: 'wait',
      deployment,
      reason: `its host gives no answer since ${since}`,
      notBeforeMs: nowMs + 30_000,
    })
  }
})

test('a backoff from before the clock was put back does not stretch', () => {
  const drifted = { ...calm, healSteps: () => [start], healNotBeforeMs: nowMs + 3_600_000 }
  expect(decide(drifted).kind).toBe('heal')
})

const found = { subject: 'container shop-new-1', field: 'state', expected: 'running', found: 'exited' }
const restart: Step = { ...start, drift: found }
const minutesAgo = (...minutes: number[]) => minutes.map((ago) => nowMs - ago * 60_000)

test('a container put right five times in five minutes is given up, for an hour', () => {
  const looping = {
    ...calm,
    healSteps: () => [restart],
    healedAtMs: { 'shop-new-1': minutesAgo(1, 2, 3, 4, 4.5) },
  }
  expect(decide(looping)).toMatchObject({
    kind: 'giveUp',
    drift: [found],
    reason: expect.stringContaining('5 times within 5 min'),
    notBeforeMs: nowMs + 3_600_000,
  })
  const later = { ...looping, healedAtMs: { 'shop-new-1': minutesAgo(1, 2, 3, 4, 5) } }
  expect(decide(later).kind).toBe('heal')
})

test('what was given up is left alone within its hour, tried again after it, and forgotten where it came right', () => {
  const givenUp = { ...calm, healSteps: () => [restart], degradedUntilMs: nowMs + 60_000 }
  expect(decide(givenUp)).toMatchObject({ kind: 'giveUp', notBeforeMs: nowMs + 60_000 })
  expect(decide({ ...givenUp, degradedUntilMs: nowMs }).kind).toBe('heal')
  expect(decide({ ...givenUp, healSteps: () => [] }).kind).toBe('nothing')
})

test('another container of the target has a bound of its own', () => {
  const healedAtMs = { 'shop-new-2': minutesAgo(1, 1, 1, 1, 1) }
  expect(decide({ ...calm, healSteps: () => [restart], healedAtMs }).kind).toBe('heal')
})

test('a volume that is gone is reported, and nothing is started on an empty one', () => {
  const lost = { subject: 'volume data', field: 'state', expected: 'present', found: 'missing' }
  expect(decide({ ...calm, lostVolumes: () => [lost], healSteps: () => [restart] })).toMatchObject({
    kind: 'giveUp',
    drift: [lost],
    reason: expect.stringContaining('volume data is gone'),
    notBeforeMs: null,
  })
})

describe('an app that left the config repo', () => {
  const left = { ...calm, wanted: false, removal: { removeAfter: now } }

  test('is removed from the time of its tombstone on, and waits for it until then', () => {
    expect(decide(left)).toEqual({ kind: 'remove', reason: 'the app left the config repo' })
    expect(decide({ ...left, nowMs: nowMs - 1 })).toEqual({
      kind: 'wait',
      deployment: null,
      reason: `the app left the config repo and is removed after ${now}`,
      notBeforeMs: nowMs,
    })
  })

  test('is not removed while its host gives no answer', () => {
    const since = '2025-12-31T23:00:00.000Z'
    expect(decide({ ...left, hostUnknownSince: since })).toMatchObject({
      kind: 'wait',
      reason: `its host gives no answer since ${since}`,
    })
  })

  test('has what had touched nothing yet cancelled, however it waits', () => {
    const pulling = advance(second, { type: 'phase', phase: 'pulling_source' }, now)
    expect(decide({ ...left, deployments: [ended, first, pulling] })).toEqual({
      kind: 'cancel',
      deployments: [first, pulling],
      reason: 'the app left the config repo',
    })
    const waiting = { ...left, deployments: [first], waitingFor: ['db'], failedDependencies: ['db'] }
    expect(decide(waiting).kind).toBe('cancel')
  })

  test('is not removed before a rollout under way has ended', () => {
    const pinned = advance(
      advance(second, { type: 'phase', phase: 'pulling_source' }, now),
      { type: 'pinned', release: applied, changes: [] },
      now,
    )
    for (const open of [rolling, pinned]) {
      expect(decide({ ...left, deployments: [ended, open] })).toMatchObject({
        kind: 'deploy',
        deployment: open,
      })
    }
  })
})

test('healing waits longer after each failure in a row, up to five minutes', () => {
  const seconds = [0, 1, 2, 3, 4, 5, 6, 7, 100].map((failureCount) => healBackoffMs(failureCount) / 1_000)
  expect(seconds).toEqual([0, 2, 6, 18, 54, 162, 300, 300, 300])
})

function deployment(id: string): Deployment {
  return queueDeployment({
    id,
    target: 'acme/config:shop@web-1',
    commit: 'c0ffee',
    specHash: `spec of ${id}`,
    attempt: 1,
    trigger: 'push',
    now,
    deadlineAt: '2026-01-01T00:30:00.000Z',
  })
}
