import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { TowlineError } from '../rollout/error.ts'
import { serviceRelease } from '../rollout/release.fixture.ts'
import { dockerHost } from './host.fixture.ts'
import { changeDeployment, openJournal } from './journal.ts'
import { recordLog } from './log.fixture.ts'
import { memoryStore } from './memory-store.fixture.ts'
import { modelFiles } from './model-host.fixture.ts'
import { queued, recordOf } from './records.fixture.ts'
import { createTracker } from './tracker.ts'

const key = 'acme/config:shop@web-1'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

async function scene() {
  const store = memoryStore()
  const record = await store.updateTarget(key, () => recordOf('shop', [queued('shop')]))
  const claim = await store.claimTarget(key, { holder: 'worker', ttlMs: 60_000 })
  if (!claim) throw new Error('the claim is taken')
  const log = recordLog()
  const parts = {
    store,
    hosts: new Map(),
    tracker: createTracker({ pollMs: 10, watch: { subscribe: () => () => {} } }),
    files: modelFiles,
    siteServer: { image: 'caddy:2', command: [] },
    onChange: vi.fn(),
    log,
  }
  const { signal } = new AbortController()
  const journal = openJournal(parts, { record, host: dockerHost(), claim, signal }, 'd-shop')
  const stored = async () => (await store.readTarget(key))?.deployments[0]
  return { store, claim, journal, stored, log, told: parts.onChange }
}

test('an event is stored before the report is told', async () => {
  const { journal, stored, told } = await scene()
  await journal.write({ type: 'phase', phase: 'building', message: 'pulling' })
  expect(await stored()).toMatchObject({ phase: 'building', message: 'pulling' })
  expect(journal.deployment()).toEqual(await stored())
  expect(told.mock.calls).toEqual([[key]])
})

test('progress moves inside the span of its phase and is stored at most once a second', async () => {
  const { journal, stored } = await scene()
  await journal.write({ type: 'phase', phase: 'building' })
  const seen: unknown[] = []
  for (const fraction of [0.5, 0.6, 0.7]) {
    journal.progress('building', fraction, `${fraction}`)
    await vi.advanceTimersByTimeAsync(600)
    seen.push((await stored())?.progress)
  }
  expect(seen).toEqual([34, 34, 40])
})

test.each([
  [-1, 20],
  [0, 20],
  [1, 49],
  [7, 49],
])('a fraction of %d never leaves the phase', async (fraction, progress) => {
  const { journal, stored } = await scene()
  journal.progress('building', fraction, 'layers')
  await vi.advanceTimersByTimeAsync(0)
  expect((await stored())?.progress).toBe(progress)
})

test('progress that could not be stored is only logged', async () => {
  const { journal, log, store, claim } = await scene()
  await store.releaseClaim(claim)
  journal.progress('building', 0.5, 'layers')
  await vi.advanceTimersByTimeAsync(0)
  expect(log.lines).toMatchObject([{ level: 'warn', message: 'progress was not stored' }])
})

test('without the claim nothing is written', async () => {
  const { journal, stored, store, claim, told } = await scene()
  await store.releaseClaim(claim)
  await expect(journal.write({ type: 'succeeded' })).rejects.toMatchObject({ fault: 'stale' })
  await expect(journal.succeed(serviceRelease())).rejects.toMatchObject({ fault: 'stale' })
  expect((await stored())?.result).toBeNull()
  expect(told).not.toHaveBeenCalled()
})

test('success and the applied release are one write, which ends healing', async () => {
  const { journal, store } = await scene()
  const release = serviceRelease()
  await journal.succeed(release)
  expect(await store.readTarget(key)).toMatchObject({
    deployments: [{ phase: 'active', result: { kind: 'succeeded' } }],
    applied: { deploymentId: 'd-shop', specHash: 'beef', release },
    healing: null,
  })
})

test('events change only the deployment they are for, and none that ended', () => {
  const record = recordOf('shop', [queued('shop', { id: 'd-1' }), queued('shop', { id: 'd-2' })])
  const now = '2026-11-21T10:00:01.000Z'
  const ended = changeDeployment(record, 'd-1', [{ type: 'cancelled', reason: 'x' }], now)
  expect(ended.deployments.map(({ result }) => result?.kind)).toEqual(['cancelled', undefined])
  const late = changeDeployment(ended, 'd-1', [{ type: 'succeeded' }], now)
  expect(late.deployments[0]).toBe(ended.deployments[0])
  expect(() => changeDeployment(null, 'd-1', [], now)).toThrow(TowlineError)
})
