import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { TowlineError } from '../rollout/error.ts'
import { serviceRelease } from '../rollout/release.fixture.ts'
import { dockerHost } from './host.fixture.ts'
import { alwaysKnown } from './host-status.ts'
import { openJournal } from './journal.ts'
import { recordLog } from './log.fixture.ts'
import { memoryStore } from './memory-store.fixture.ts'
import { modelFiles } from './model-host.fixture.ts'
import { failure, queued, recordOf } from './records.fixture.ts'
import { createStatistics } from './statistics.ts'
import { createTracker } from './tracker.ts'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

const shop = queued('shop')

/** The journal of a queued deployment, written under a claim. */
async function scene(store = memoryStore()) {
  const record = await store.updateTarget(shop.target, () =>
    recordOf('shop', [queued('shop', { id: 'd-0' }), shop]),
  )
  const claim = await store.claimTarget(shop.target, { holder: 'worker', ttlMs: 60_000 })
  if (!claim) throw new Error('the claim was not granted')
  const log = recordLog()
  let changeCount = 0
  const parts = {
    store,
    hosts: new Map(),
    tracker: createTracker({ pollMs: 1_000, watch: { subscribe: () => () => {} } }),
    files: modelFiles,
    siteServer: { image: 'caddy:2', command: [] },
    hostStatus: alwaysKnown,
    progressDeadlineMs: 300_000,
    healing: { limit: 5, windowMs: 300_000 },
    statistics: createStatistics(),
    onChange: () => {
      changeCount += 1
    },
    log,
  }
  const work = { record, host: dockerHost(), claim, signal: new AbortController().signal }
  const stored = async () => {
    const found = await store.readTarget(shop.target)
    if (!found) throw new Error('the record is gone')
    return found
  }
  return {
    store,
    claim,
    log,
    stored,
    changeCount: () => changeCount,
    open: () => openJournal(parts, work, shop.id),
  }
}

const deploymentsOf = async ({ stored }: Awaited<ReturnType<typeof scene>>) => (await stored()).deployments

test('an event is stored before it is told, and changes its own deployment only', async () => {
  const there = await scene()
  const journal = there.open()
  await journal.write({ type: 'phase', phase: 'building', message: 'pulling' })
  expect(await deploymentsOf(there)).toMatchObject([
    { id: 'd-0', phase: 'queued' },
    { id: shop.id, phase: 'building', message: 'pulling' },
  ])
  expect(journal.deployment()).toEqual((await deploymentsOf(there))[1])
  expect(there.changeCount()).toBe(1)
})

test('an event that comes after the end changes nothing', async () => {
  const there = await scene()
  const journal = there.open()
  await journal.write(failure())
  const before = await there.stored()
  await journal.write({ type: 'phase', phase: 'building' })
  await journal.write({ type: 'succeeded' })
  expect(await there.stored()).toEqual(before)
})

test('success and the applied release are one write, and healing starts anew', async () => {
  const there = await scene()
  const healing = {
    failureCount: 3,
    notBefore: '',
    lastDrift: [],
    lastHealedAt: null,
    healedAt: {},
    degraded: null,
  }
  await there.store.updateTarget(shop.target, (record) => ({ ...(record ?? recordOf('shop', [])), healing }))
  let writeCount = 0
  const { updateTarget } = there.store
  there.store.updateTarget = async (...call) => {
    writeCount += 1
    return updateTarget(...call)
  }
  const release = serviceRelease()
  await there.open().succeed(release)
  expect(writeCount).toBe(1)
  expect(await there.stored()).toMatchObject({
    deployments: [{}, { phase: 'active', result: { kind: 'succeeded' } }],
    applied: { deploymentId: shop.id, specHash: shop.specHash, release },
    healing: null,
  })
})

test('who lost the claim can write nothing more, not even success', async () => {
  const there = await scene()
  const journal = there.open()
  await there.store.releaseClaim(there.claim)
  await there.store.claimTarget(shop.target, { holder: 'other', ttlMs: 60_000 })
  const before = await there.stored()
  await expect(journal.write({ type: 'phase', phase: 'building' })).rejects.toMatchObject({ fault: 'stale' })
  await expect(journal.succeed(serviceRelease())).rejects.toMatchObject({ fault: 'stale' })
  expect(await there.stored()).toEqual(before)
})

test('progress moves inside the span of its phase', async () => {
  const spans = [
    ['pulling_source', 0, 10],
    ['pulling_source', 1, 19],
    ['building', 0.5, 34],
    ['building', 7, 49],
    ['copying_files', -1, 50],
    ['copying_files', 1, 55],
  ] as const
  for (const [phase, fraction, progress] of spans) {
    const there = await scene()
    there.open().progress(phase, fraction, 'going on')
    await vi.advanceTimersByTimeAsync(0)
    expect((await deploymentsOf(there))[1]).toMatchObject({ phase, progress, message: 'going on' })
  }
})

test('progress is stored once a second at most, however often it is told', async () => {
  const there = await scene()
  const journal = there.open()
  for (let percent = 0; percent < 100; percent += 1) {
    journal.progress('building', percent / 100, `${percent} %`)
    await vi.advanceTimersByTimeAsync(50)
  }
  expect(there.changeCount()).toBe(5)
  expect((await deploymentsOf(there))[1]).toMatchObject({ message: '80 %' })
})

test('progress that cannot be stored is logged and fails nothing', async () => {
  const there = await scene()
  there.store.updateTarget = async () => {
    throw new TowlineError('the disk is full', { fault: 'operator' })
  }
  there.open().progress('building', 0.5, 'half')
  await vi.advanceTimersByTimeAsync(0)
  expect(there.log.lines).toMatchObject([{ level: 'warn', fields: { reason: 'the disk is full' } }])
})

test('a deployment that is not in its record is a bug of ours', async () => {
  const there = await scene()
  await there.store.updateTarget(shop.target, () => recordOf('shop', []))
  await expect(there.open().write({ type: 'phase', phase: 'building' })).rejects.toMatchObject({
    fault: 'bug',
  })
})
