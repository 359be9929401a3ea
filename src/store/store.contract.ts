import { afterEach, describe, expect, test } from 'vitest'
import type { Store } from '../engine/ports.ts'
import type { TargetRecord } from '../engine/records.ts'
import {
  exampleDelivery,
  exampleDeployment,
  exampleKey,
  exampleRepo,
  exampleRevision,
  exampleTarget,
} from './examples.contract.ts'

/** A store with nothing in it, and what the suite does to it besides. */
export type StoreUnderTest = {
  store: Store
  /** Makes the store's clock run ahead. */
  elapse(ms: number): Promise<void>
  /** Closes the store and opens the same data again, as a restart does. */
  reopen(): Promise<Store>
  dispose(): Promise<void>
}

/** What every store promises the engine. A store passes all of it. */
export function describeStore(name: string, open: () => Promise<StoreUnderTest>): void {
  const opened: StoreUnderTest[] = []
  async function start(): Promise<StoreUnderTest> {
    const underTest = await open()
    opened.push(underTest)
    return underTest
  }

  describe(name, () => {
    afterEach(async () => {
      for (const underTest of opened.splice(0)) await underTest.dispose()
    })

    describe('an installation', () => {
      test('keeps its owner id across restarts', async () => {
        const { store, reopen } = await start()
        expect(store.owner).toMatch(/^[0-9a-f-]{36}$/)
        expect((await reopen()).owner).toBe(store.owner)
      })

      test('has an owner id of its own', async () => {
        const [one, other] = [await start(), await start()]
        expect(one.store.owner).not.toBe(other.store.owner)
      })
    })

    describe('a target', () => {
      test('that was never stored is null', async () => {
        const { store } = await start()
        expect(await store.readTarget(exampleKey)).toBeNull()
        expect(await store.listTargets()).toEqual([])
      })

      test('is read back as it was stored, also after a restart', async () => {
        const { store, reopen } = await start()
        const record = exampleTarget({
          deployments: [exampleDeployment('d1'), exampleDeployment('d2', 'queued')],
        })
        expect(await store.updateTarget(exampleKey, () => record)).toEqual(record)
        expect(await store.readTarget(exampleKey)).toEqual(record)
        const again = await reopen()
        expect(await again.readTarget(exampleKey)).toEqual(record)
        expect(await again.listTargets()).toEqual([record])
      })

      test('loses no change of many made at once', async () => {
        const { store, reopen } = await start()
        const failureCounts = Array.from({ length: 50 }, (_, index) => index + 1)
        await Promise.all(failureCounts.map(() => store.updateTarget(exampleKey, countUp)))
        expect((await (await reopen()).readTarget(exampleKey))?.healing?.failureCount).toBe(50)
      })

      test('is apart from every other target', async () => {
        const { store } = await start()
        const otherKey = `${exampleKey}#12`
        await Promise.all([
          store.updateTarget(exampleKey, countUp),
          store.updateTarget(otherKey, () => exampleTarget({ key: otherKey })),
        ])
        await store.deleteTarget(exampleKey)
        expect((await store.listTargets()).map(({ key }) => key)).toEqual([otherKey])
      })

      test('is unchanged where the change returns the record it was given', async () => {
        const { store } = await start()
        const stored = await store.updateTarget(exampleKey, countUp)
        expect(await store.updateTarget(exampleKey, (record) => record ?? exampleTarget())).toEqual(stored)
      })

      test('is unchanged where the change throws, and the other changes stand', async () => {
        const { store } = await start()
        const outcomes = await Promise.allSettled([
          store.updateTarget(exampleKey, countUp),
          store.updateTarget(exampleKey, () => {
            throw new Error('no')
          }),
          store.updateTarget(exampleKey, countUp),
        ])
        expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
        expect((await store.readTarget(exampleKey))?.healing?.failureCount).toBe(2)
      })

      test('cannot be changed through a record that was handed out', async () => {
        const { store } = await start()
        await store.updateTarget(exampleKey, () => exampleTarget({ deployments: [exampleDeployment('d1')] }))
        const record = await store.readTarget(exampleKey)
        try {
          record?.deployments.splice(0)
        } catch {
          // A frozen record refuses; a copy lets itself be changed. Both keep the promise.
        }
        expect((await store.readTarget(exampleKey))?.deployments).toHaveLength(1)
      })

      test('stays away after it was deleted, also after a restart', async () => {
        const { store, reopen } = await start()
        await store.updateTarget(exampleKey, countUp)
        await store.updateTarget(exampleKey, countUp)
        await store.deleteTarget(exampleKey)
        expect(await store.readTarget(exampleKey)).toBeNull()
        expect(await (await reopen()).listTargets()).toEqual([])
      })

      test('that is deleted twice is an act without effect', async () => {
        const { store } = await start()
        await store.deleteTarget(exampleKey)
        await store.deleteTarget(exampleKey)
        expect(await store.listTargets()).toEqual([])
      })

      test('can be made anew after it was deleted', async () => {
        const { store } = await start()
        await store.updateTarget(exampleKey, countUp)
        await Promise.all([store.deleteTarget(exampleKey), store.updateTarget(exampleKey, countUp)])
        expect((await store.readTarget(exampleKey))?.healing?.failureCount).toBe(1)
      })

      test('keeps a bounded number of deployments', async () => {
        const { store } = await start()
        const deployments = Array.from({ length: 30 }, (_, index) => exampleDeployment(`d${index}`))
        const stored = await store.updateTarget(exampleKey, () => exampleTarget({ deployments }))
        expect(stored.deployments.map(({ id }) => id)).toEqual(deployments.slice(10).map(({ id }) => id))
      })

      test('cannot be stored under the key of another', async () => {
        const { store } = await start()
        await expect(store.updateTarget(`${exampleKey}#1`, countUp)).rejects.toMatchObject({ fault: 'bug' })
        expect(await store.listTargets()).toEqual([])
      })
    })

    describe('a claim', () => {
      const wanted = { holder: 'worker-1', ttlMs: 60_000 }

      test('is granted to one of many who ask at once', async () => {
        const { store } = await start()
        const claims = await Promise.all(
          Array.from({ length: 20 }, (_, index) =>
            store.claimTarget(exampleKey, { holder: `worker-${index}`, ttlMs: 60_000 }),
          ),
        )
        expect(claims.filter((claim) => claim !== null)).toHaveLength(1)
      })

      test('is refused to its own holder while it is alive', async () => {
        const { store } = await start()
        expect(await store.claimTarget(exampleKey, wanted)).toMatchObject({
          target: exampleKey,
          holder: 'worker-1',
        })
        expect(await store.claimTarget(exampleKey, wanted)).toBeNull()
      })

      test('on one target leaves the others free', async () => {
        const { store } = await start()
        await store.claimTarget(exampleKey, wanted)
        expect(await store.claimTarget(`${exampleKey}#12`, wanted)).not.toBeNull()
      })

      test('lets its holder write', async () => {
        const { store } = await start()
        const claim = await claimed(store, wanted)
        expect((await store.updateTarget(exampleKey, countUp, { claim })).healing?.failureCount).toBe(1)
      })

      test('that lapsed goes to the next who asks, with a higher epoch, and fences the first', async () => {
        const { store, elapse } = await start()
        const first = await claimed(store, wanted)
        await elapse(60_001)
        const second = await claimed(store, { holder: 'worker-2', ttlMs: 60_000 })
        expect(second.epoch).toBeGreaterThan(first.epoch)
        await expect(store.updateTarget(exampleKey, countUp, { claim: first })).rejects.toMatchObject({
          fault: 'stale',
        })
        await expect(store.renewClaim(first, { ttlMs: 60_000 })).rejects.toMatchObject({ fault: 'stale' })
        expect(await store.readTarget(exampleKey)).toBeNull()
      })

      test('that is renewed does not lapse', async () => {
        const { store, elapse } = await start()
        const claim = await claimed(store, wanted)
        await elapse(50_000)
        await store.renewClaim(claim, { ttlMs: 60_000 })
        await elapse(50_000)
        expect(await store.claimTarget(exampleKey, wanted)).toBeNull()
      })

      test('that is released is free at once, and lets its holder write no more', async () => {
        const { store } = await start()
        const first = await claimed(store, wanted)
        await store.releaseClaim(first)
        await expect(store.updateTarget(exampleKey, countUp, { claim: first })).rejects.toMatchObject({
          fault: 'stale',
        })
        expect((await claimed(store, wanted)).epoch).toBeGreaterThan(first.epoch)
      })

      test('that was lost cannot release its successor', async () => {
        const { store, elapse } = await start()
        const first = await claimed(store, wanted)
        await elapse(60_001)
        const second = await claimed(store, wanted)
        await store.releaseClaim(first)
        expect(await store.claimTarget(exampleKey, wanted)).toBeNull()
        await store.renewClaim(second, { ttlMs: 60_000 })
      })

      test('has a higher epoch than any before a deletion of its target and a restart', async () => {
        const { store, reopen, elapse } = await start()
        const first = await claimed(store, wanted)
        await store.updateTarget(exampleKey, countUp, { claim: first })
        await store.deleteTarget(exampleKey)
        const again = await reopen()
        await elapse(60_001)
        expect((await claimed(again, wanted)).epoch).toBeGreaterThan(first.epoch)
        await expect(again.updateTarget(exampleKey, countUp, { claim: first })).rejects.toMatchObject({
          fault: 'stale',
        })
      })
    })

    describe('a repo', () => {
      test('is read back as it was stored, also after a restart', async () => {
        const { store, reopen } = await start()
        const record = exampleRepo({ head: 'c0ffee', revisions: [exampleRevision('c0ffee')] })
        await store.updateRepo(record.repo, () => record)
        const again = await reopen()
        expect(await again.readRepo(record.repo)).toEqual(record)
        expect(await again.listRepos()).toEqual([record])
        expect(await again.readRepo('acme/other')).toBeNull()
      })

      test('keeps a bounded number of revisions', async () => {
        const { store } = await start()
        const revisions = Array.from({ length: 30 }, (_, index) => exampleRevision(`c${index}`))
        const stored = await store.updateRepo('acme/config', () => exampleRepo({ revisions }))
        expect(stored.revisions).toEqual(revisions.slice(10))
      })
    })

    describe('a delivery', () => {
      test('is stored once, however often and however closely it comes', async () => {
        const { store } = await start()
        const delivery = exampleDelivery('guid-1')
        const outcomes = await Promise.all([1, 2, 3].map(() => store.addDelivery(delivery)))
        expect(outcomes.toSorted()).toEqual(['duplicate', 'duplicate', 'stored'])
        expect(await store.pendingDeliveries()).toEqual([delivery])
      })

      test('is pending until it is completed, across restarts', async () => {
        const { store, reopen } = await start()
        await store.addDelivery(exampleDelivery('guid-1'))
        await store.addDelivery(exampleDelivery('guid-2', '2026-11-21T10:00:01.000Z'))
        await store.completeDelivery('guid-1')
        const again = await reopen()
        expect((await again.pendingDeliveries()).map(({ guid }) => guid)).toEqual(['guid-2'])
      })

      test('that was completed is still a duplicate after a restart and two days', async () => {
        const { store, reopen, elapse } = await start()
        await store.addDelivery(exampleDelivery('guid-1'))
        await store.completeDelivery('guid-1')
        await elapse(2 * 24 * 60 * 60 * 1_000)
        expect(await (await reopen()).addDelivery(exampleDelivery('guid-1'))).toBe('duplicate')
      })

      test('is known once it is stored, also when it was completed and after a restart', async () => {
        const { store, reopen } = await start()
        expect(await store.knowsDelivery('guid-1')).toBe(false)
        await store.addDelivery(exampleDelivery('guid-1'))
        expect(await store.knowsDelivery('guid-1')).toBe(true)
        await store.completeDelivery('guid-1')
        expect(await store.knowsDelivery('guid-1')).toBe(true)
        const again = await reopen()
        expect([await again.knowsDelivery('guid-1'), await again.knowsDelivery('guid-2')]).toEqual([
          true,
          false,
        ])
      })

      test('that nobody knows can be completed without effect', async () => {
        const { store } = await start()
        await store.completeDelivery('guid-1')
        expect(await store.pendingDeliveries()).toEqual([])
      })
    })

    test('a store closes once its last change is stored, refuses from then on, and may be closed again', async () => {
      const { store } = await start()
      const settled: string[] = []
      void store.updateTarget(exampleKey, countUp).then(({ key }) => settled.push(key))
      await store.close()
      expect(settled).toEqual([exampleKey])
      await store.close()
      await expect(store.updateTarget(exampleKey, countUp)).rejects.toMatchObject({ fault: 'cancelled' })
    })
  })
}

function countUp(record: TargetRecord | null): TargetRecord {
  const target = record ?? exampleTarget()
  const failureCount = (target.healing?.failureCount ?? 0) + 1
  return {
    ...target,
    healing: { failureCount, notBefore: '', lastDrift: [], lastHealedAt: null, healedAt: {}, degraded: null },
  }
}

async function claimed(store: Store, wanted: { holder: string; ttlMs: number }) {
  const claim = await store.claimTarget(exampleKey, wanted)
  if (claim === null) throw new Error('The claim was not granted')
  return claim
}
