import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { memoryStore } from './memory-store.fixture.ts'
import { advanceStored, queued, recordOf } from './records.fixture.ts'
import { createStuckWatch, type StuckFinding } from './stuck-watch.ts'

const at = '2026-11-21T10:00:00.000Z'
beforeEach(() => void vi.useFakeTimers({ now: Date.parse(at) }))
afterEach(() => void vi.useRealTimers())

async function scene({ inWork = true } = {}) {
  const store = memoryStore()
  const deployment = queued('shop')
  const record = recordOf('shop', [deployment])
  await store.updateTarget(record.key, () => record)
  await advanceStored(store, deployment, { type: 'phase', phase: 'building' })
  const told: StuckFinding[] = []
  const watch = createStuckWatch({
    store,
    progressDeadlineMs: 300_000,
    inWork: () => inWork,
    onStuck: (finding) => told.push(finding),
  })
  return { store, deployment, watch, told }
}

test('what does not move for longer than its phase may take is told, with the reason', async () => {
  const { watch, told, deployment } = await scene()
  expect(await watch.look()).toEqual([])
  vi.advanceTimersByTime(300_000)
  expect(await watch.look()).toEqual([])
  vi.advanceTimersByTime(60_000)
  await watch.look()
  expect(told).toEqual([
    { target: deployment.target, deploymentId: deployment.id, reason: 'progress', since: at },
  ])
})

test('a sign of life starts the time anew', async () => {
  const { watch, told, store, deployment } = await scene()
  await watch.look()
  vi.advanceTimersByTime(299_000)
  await store.updateTarget(deployment.target, (stored) => {
    const found = stored ?? recordOf('shop', [])
    const deployments = found.deployments.map((each) => ({
      ...each,
      phaseUpdatedAt: new Date().toISOString(),
    }))
    return { ...found, deployments }
  })
  await watch.look()
  vi.advanceTimersByTime(299_000)
  await watch.look()
  expect(told).toEqual([])
})

test('a wall clock that jumps makes nothing look stuck', async () => {
  const { watch, told } = await scene()
  await watch.look()
  vi.setSystemTime(Date.parse('2027-11-21T10:00:00.000Z'))
  await watch.look()
  vi.setSystemTime(Date.parse('2025-11-21T10:00:00.000Z'))
  await watch.look()
  expect(told).toEqual([])
})

test('work nobody does is told after its claim has lapsed', async () => {
  const { watch, told } = await scene({ inWork: false })
  await watch.look()
  vi.advanceTimersByTime(120_000)
  await watch.look()
  expect(told).toMatchObject([{ reason: 'claim' }])
})
