import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import type { CheckRun } from '../report/check-run.ts'
import type { Drift } from '../rollout/observed.ts'
import { serviceRelease } from '../rollout/release.fixture.ts'
import { recordDrift, recordDriftEnd } from './drift-record.ts'
import { recordLog } from './log.fixture.ts'
import { memoryStore } from './memory-store.fixture.ts'
import { createOutbox } from './outbox.ts'
import { recordOf } from './records.fixture.ts'
import type { TargetRecord } from './records.ts'

beforeEach(() => void vi.useFakeTimers({ now: Date.parse('2026-11-21T10:00:00.000Z') }))
afterEach(() => void vi.useRealTimers())

const key = 'acme/config:shop@web-1'
const stopped: Drift = { subject: 'container shop-1', field: 'state', expected: 'running', found: 'exited' }
const elapse = (ms: number) => vi.advanceTimersByTimeAsync(ms)
const now = () => new Date().toISOString()

/** A target with an applied release, and a GitHub that keeps the newest state of each run. */
async function scene() {
  const store = memoryStore()
  const applied = { deploymentId: 'd-1', specHash: 'beef', release: serviceRelease(), at: now() }
  await store.updateTarget(key, () => recordOf('shop', [], { applied }))
  const runs: CheckRun[] = []
  let isAway = false
  const outbox = createOutbox({
    store,
    github: {
      createCheckRun: async (_repo, check) => {
        if (isAway) throw new Error('GitHub is away')
        return runs.push(check)
      },
      updateCheckRun: async (_repo, id, check) => {
        if (isAway) throw new Error('GitHub is away')
        runs[id - 1] = check
      },
      findCheckRun: async () => null,
    },
    writeIntervalMs: 1_000,
    log: recordLog(),
  })
  const change = async (next: (record: TargetRecord) => TargetRecord) => {
    await store.updateTarget(key, (stored) => next(stored ?? recordOf('shop', [])))
    outbox.markTarget(key)
    await elapse(2_000)
  }
  return {
    outbox,
    record: async () => (await store.readTarget(key)) ?? recordOf('shop', []),
    titles: () => runs.map(({ title }) => title.replace(/: container.*/, '')),
    away: (next: boolean) => {
      isAway = next
    },
    drift: (over: { deploymentId?: string; givenUp?: string } = {}) =>
      change((record) => {
        const deploymentId = over.deploymentId ?? 'd-1'
        const applied = record.applied && { ...record.applied, deploymentId }
        const seen = { drift: [stopped], action: 'start container shop-1', givenUp: over.givenUp ?? null }
        return recordDrift({ ...record, applied }, seen, now())
      }),
    end: () => change((record) => recordDriftEnd(record, now())),
  }
}

test('one run tells a whole story: its drift, that it was given up, its end, and that it came back', async () => {
  const { drift, end, titles, outbox, record } = await scene()
  await drift()
  expect(titles()).toEqual(['drift'])
  await drift({ givenUp: 'too often' })
  expect(titles()).toEqual(['degraded'])
  await end()
  expect(titles()).toEqual(['resolved'])
  expect((await record()).drift?.report.done).toBe(true)
  await drift()
  await end()
  expect(titles()).toEqual(['resolved'])
  await elapse(11 * 60_000)
  await drift()
  expect(titles()).toEqual(['resolved', 'drift'])
  await outbox.stop()
})

test('a story that ended while GitHub was away is told later, also where another has begun since', async () => {
  const { drift, end, titles, away, outbox, record } = await scene()
  await drift()
  away(true)
  await end()
  await drift({ deploymentId: 'd-2' })
  expect(titles()).toEqual(['drift'])
  away(false)
  await elapse(10 * 60_000)
  expect(titles().sort()).toEqual(['drift', 'resolved'])
  await end()
  await elapse(60_000)
  expect(titles()).toEqual(['resolved', 'resolved'])
  expect((await record()).untoldDrifts).toEqual([])
  await outbox.stop()
})

test('where nothing is applied, or nothing drifted, there is no story', async () => {
  const record = recordOf('shop', [])
  expect(recordDrift(record, { drift: [stopped], action: '', givenUp: null }, now())).toBe(record)
  const applied = { deploymentId: 'd-1', specHash: 'beef', release: serviceRelease(), at: now() }
  const calm = { ...record, applied }
  expect(recordDrift(calm, { drift: [], action: '', givenUp: null }, now())).toBe(calm)
  expect(recordDriftEnd(calm, now())).toBe(calm)
})
