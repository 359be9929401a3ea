import fc from 'fast-check'
import { expect, test } from 'vitest'
import { advance, type Deployment, type DeploymentEvent, isOpen, queueDeployment } from './deployment.ts'
import { isTerminal, phaseProgress, phaseRank, phases, type WorkPhase } from './phase.ts'
import { serviceRelease } from './release.fixture.ts'

const queued = queueDeployment({
  id: 'd-1',
  target: 'acme/config:shop@web-1',
  commit: 'c0ffee',
  specHash: 'spec-1',
  attempt: 1,
  trigger: 'push',
  now: at(0),
  deadlineAt: at(1_800),
})

const failure: DeploymentEvent = {
  type: 'failed',
  fault: 'rejected',
  reason: 'it exited with exit code 3',
  hint: 'Read its last log lines.',
  logTail: ['no database'],
  previous: 'release old was never touched and serves',
}

test('a new deployment waits, and its history begins', () => {
  expect(queued).toMatchObject({
    phase: 'queued',
    progress: 0,
    message: 'waiting for a worker',
    createdAt: at(0),
    startedAt: null,
    endedAt: null,
    deadlineAt: at(1_800),
    result: null,
  })
  expect(queued.history).toEqual([{ phase: 'queued', progress: 0, at: at(0), message: 'queued' }])
  expect(isOpen(queued)).toBe(true)
})

test('a phase sets progress, message, times and a line of history', () => {
  const moved = advance(queued, { type: 'phase', phase: 'building', message: 'pulling' }, at(3))
  expect(moved).toEqual({
    ...queued,
    phase: 'building',
    progress: 20,
    message: 'pulling',
    startedAt: at(3),
    deadlineAt: at(1_803),
    phaseUpdatedAt: at(3),
    history: [...queued.history, { phase: 'building', progress: 20, at: at(3), message: 'pulling' }],
  })
})

test('the deadline counts from the start, and moves no more', () => {
  const started = advance(queued, { type: 'phase', phase: 'pulling_source' }, at(900))
  expect(started.deadlineAt).toBe(at(2_700))
  expect(advance(started, { type: 'phase', phase: 'building' }, at(1_000)).deadlineAt).toBe(at(2_700))
})

test('progress within a phase moves the clock of the phase but writes no history', () => {
  const building = run({ type: 'phase', phase: 'building' })
  const further = advance(building, { type: 'phase', phase: 'building', progress: 35 }, at(9))
  expect(further).toMatchObject({ progress: 35, phaseUpdatedAt: at(9), startedAt: building.startedAt })
  expect(further.history).toBe(building.history)
})

test('a step backwards changes nothing', () => {
  const copying = run({ type: 'phase', phase: 'copying_files', progress: 50 })
  expect(advance(copying, { type: 'phase', phase: 'building', progress: 99 }, at(9))).toBe(copying)
})

test('a lower progress leaves the higher one', () => {
  const copying = run({ type: 'phase', phase: 'copying_files', progress: 50, message: 'half' })
  const later = advance(
    copying,
    { type: 'phase', phase: 'copying_files', progress: 40, message: 'more' },
    at(9),
  )
  expect(later).toMatchObject({ progress: 50, message: 'more' })
})

test('the same phase, progress and message again change nothing', () => {
  const building = run({ type: 'phase', phase: 'building', message: 'pulling', progress: 25 })
  const again: DeploymentEvent = { type: 'phase', phase: 'building', message: 'pulling', progress: 25 }
  expect(advance(building, again, at(9))).toBe(building)
})

test('pinning keeps the release and what it changes', () => {
  const release = serviceRelease()
  const pinned = advance(queued, { type: 'pinned', release, changes: ['use image shop:2'] }, at(2))
  expect(pinned).toEqual({ ...queued, release, changes: ['use image shop:2'], phaseUpdatedAt: at(2) })
})

test('each resume is counted and in the history, and the phase stays', () => {
  const resumed = run(
    { type: 'phase', phase: 'updating_routes' },
    { type: 'resumed', message: 'resumed after restart' },
    { type: 'resumed', message: 'resumed after restart' },
  )
  expect(resumed).toMatchObject({ phase: 'updating_routes', progress: 75, resumedCount: 2 })
  expect(resumed.history.map(({ message }) => message).slice(-2)).toEqual([
    'resumed after restart',
    'resumed after restart',
  ])
})

test('only a queued deployment says what it waits for, and says it once', () => {
  const waiting = advance(queued, { type: 'waiting', message: 'waiting for db' }, at(2))
  expect(waiting).toEqual({ ...queued, message: 'waiting for db', phaseUpdatedAt: at(2) })
  expect(advance(waiting, { type: 'waiting', message: 'waiting for db' }, at(3))).toBe(waiting)
  const building = run({ type: 'phase', phase: 'building' })
  expect(advance(building, { type: 'waiting', message: 'waiting for db' }, at(3))).toBe(building)
})

test('success ends at 100 with its time', () => {
  const active = advance(run({ type: 'phase', phase: 'health_check' }), { type: 'succeeded' }, at(20))
  expect(active).toMatchObject({
    phase: 'active',
    progress: 100,
    endedAt: at(20),
    phaseUpdatedAt: at(20),
    message: 'active',
    result: { kind: 'succeeded' },
  })
  expect(isOpen(active)).toBe(false)
})

test('a failure keeps where it happened, why, and what became of the release before', () => {
  const { type: _, ...why } = failure
  const failed = advance(run({ type: 'phase', phase: 'updating_routes' }), failure, at(20))
  expect(failed).toMatchObject({ phase: 'failed', progress: 0, endedAt: at(20), message: why.reason })
  expect(failed.result).toEqual({ kind: 'failed', phase: 'updating_routes', ...why })
})

test('superseded and cancelled name who or why, and where they stopped', () => {
  expect(advance(queued, { type: 'superseded', by: 'd-2' }, at(4))).toMatchObject({
    phase: 'failed',
    message: 'superseded by d-2',
    result: { kind: 'superseded', phase: 'queued', by: 'd-2' },
  })
  const building = run({ type: 'phase', phase: 'building' })
  expect(advance(building, { type: 'cancelled', reason: 'the host is gone' }, at(4))).toMatchObject({
    phase: 'failed',
    message: 'the host is gone',
    result: { kind: 'cancelled', phase: 'building', reason: 'the host is gone' },
  })
})

test('every phase has its place in the order and starts at a higher progress than the one before', () => {
  const inOrder = phases.filter((phase) => phase !== 'failed')
  expect(inOrder.map(phaseRank)).toEqual([0, 1, 2, 3, 4, 5, 6, 7])
  const starts = inOrder.map((phase) => phaseProgress[phase])
  expect(starts).toEqual([...new Set(starts)].sort((a, b) => a - b))
  expect(phaseRank('failed')).toBe(8)
})

const anyEvent: fc.Arbitrary<DeploymentEvent> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      type: fc.constant('phase' as const),
      phase: fc.constantFrom<WorkPhase[]>(
        'pulling_source',
        'building',
        'copying_files',
        'creating_symlinks',
        'updating_routes',
        'health_check',
      ),
      message: fc.constantFrom('pulling', 'starting', 'waiting'),
      progress: fc.integer({ min: 0, max: 99 }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.constant<DeploymentEvent>({ type: 'resumed', message: 'resumed after restart' }),
  },
  fc.constant<DeploymentEvent>({ type: 'pinned', release: serviceRelease(), changes: [] }),
  fc.constant<DeploymentEvent>({ type: 'waiting', message: 'waiting for db' }),
  fc.constant<DeploymentEvent>({ type: 'succeeded' }),
  fc.constant<DeploymentEvent>(failure),
  fc.constant<DeploymentEvent>({ type: 'superseded', by: 'd-2' }),
  fc.constant<DeploymentEvent>({ type: 'cancelled', reason: 'the host is gone' }),
)

/** Mostly stories without an early end, so that histories grow long. */
const anyStory = fc
  .tuple(
    fc.array(
      anyEvent.filter(({ type }) => type === 'phase' || type === 'resumed'),
      { maxLength: 60 },
    ),
    fc.array(anyEvent, { maxLength: 10 }),
  )
  .map(([before, after]) => [...before, ...after])

test('no order of events moves a deployment backwards, except to failed', () => {
  everyChange((before, after) => {
    expect(phaseRank(after.phase)).toBeGreaterThanOrEqual(phaseRank(before.phase))
    if (after.phase !== 'failed') expect(after.progress).toBeGreaterThanOrEqual(before.progress)
    expect(after.progress).toBeGreaterThanOrEqual(phaseProgress[after.phase])
  })
})

test('nothing that comes late changes a deployment that ended', () => {
  everyChange((before, after) => {
    if (isTerminal(before.phase)) expect(after).toBe(before)
  })
})

test('a deployment has a result and an end if, and only if, it ended', () => {
  everyChange((_, after) => {
    expect(after.result !== null).toBe(isTerminal(after.phase))
    expect(after.endedAt !== null).toBe(isTerminal(after.phase))
    expect(after.result?.kind === 'succeeded').toBe(after.phase === 'active')
  })
})

test('a crash loop cannot grow a record without end: the oldest lines go', () => {
  const resumes = Array.from(
    { length: 60 },
    (_, index): DeploymentEvent => ({ type: 'resumed', message: `start ${index + 1}` }),
  )
  const { history, resumedCount } = run({ type: 'phase', phase: 'building' }, ...resumes)
  expect(resumedCount).toBe(60)
  expect(history).toHaveLength(40)
  expect(history.at(0)?.message).toBe('start 21')
})

test('history stays bounded, in order of time and of phases, and ends where the deployment stands', () => {
  everyChange((_, after) => {
    expect(after.history.length).toBeLessThanOrEqual(40)
    expect(after.history.at(-1)?.phase).toBe(after.phase)
    const times = after.history.map((entry) => entry.at)
    expect(times).toEqual([...times].sort())
    const ranks = after.history.map((entry) => phaseRank(entry.phase))
    expect(ranks).toEqual([...ranks].sort((a, b) => a - b))
  })
})

test('a change never touches the value it was made from', () => {
  fc.assert(
    fc.property(anyStory, (story) => {
      let deployment = queued
      for (const [index, event] of story.entries()) deployment = freeze(advance(deployment, event, at(index)))
    }),
  )
})

/** Plays many stories, one event a second, and looks at each step of each. */
function everyChange(look: (before: Deployment, after: Deployment) => void): void {
  fc.assert(
    fc.property(anyStory, (story) => {
      let before = queued
      for (const [index, event] of story.entries()) {
        const after = advance(before, event, at(index + 1))
        look(before, after)
        before = after
      }
    }),
  )
}

function run(...events: DeploymentEvent[]): Deployment {
  return events.reduce((deployment, event, index) => advance(deployment, event, at(index + 1)), queued)
}

/** ISO time of a second of the story. */
function at(second: number): string {
  return new Date(Date.UTC(2026, 0, 1) + second * 1_000).toISOString()
}

function freeze(deployment: Deployment): Deployment {
  Object.freeze(deployment.history)
  for (const entry of deployment.history) Object.freeze(entry)
  return Object.freeze(deployment)
}
