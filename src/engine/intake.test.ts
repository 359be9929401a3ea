import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { TowlineError } from '../rollout/error.ts'
import { createIntake } from './intake.ts'
import { recordLog } from './log.fixture.ts'
import { memoryStore } from './memory-store.fixture.ts'
import type { Store } from './ports.ts'
import type { DeliveryHint } from './records.ts'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

const elapse = (ms: number) => vi.advanceTimersByTimeAsync(ms)
const hint = (repo: string): DeliveryHint => ({ kind: 'repo', repo })
const pending = async (store: Store) => (await store.pendingDeliveries()).map(({ guid }) => guid)

/** An intake whose work ends when the test says so. */
function scene(store = memoryStore()) {
  const handled: string[] = []
  const ends: { resolve: () => void; reject: (error: unknown) => void }[] = []
  const log = recordLog()
  const intake = createIntake({
    store,
    handle: ({ repo }) => {
      handled.push(repo)
      return new Promise((resolve, reject) => ends.push({ resolve, reject }))
    },
    log,
  })
  void intake.resume()
  return { store, intake, handled, ends, log }
}

test('a delivery is stored before it is acknowledged, and kept until it was worked off', async () => {
  const { store, intake, ends } = scene()
  expect(await intake.accept({ guid: 'guid-1', hint: hint('acme/a') })).toBe('stored')
  await elapse(0)
  expect(await pending(store)).toEqual(['guid-1'])
  ends[0]?.resolve()
  await elapse(0)
  expect(await pending(store)).toEqual([])
})

test('a delivery that could not be stored is not acknowledged, and not worked off', async () => {
  const full = new TowlineError('the disk is full', { fault: 'operator' })
  const { intake, handled } = scene({
    ...memoryStore(),
    addDelivery: async () => {
      throw full
    },
  })
  await expect(intake.accept({ guid: 'guid-1', hint: hint('acme/a') })).rejects.toBe(full)
  expect(handled).toEqual([])
})

test('the same delivery is worked off once, however often it comes', async () => {
  const { intake, handled, ends } = scene()
  const delivery = { guid: 'guid-1', hint: hint('acme/a') }
  await intake.accept(delivery)
  expect(await intake.accept(delivery)).toBe('duplicate')
  await elapse(0)
  ends[0]?.resolve()
  await elapse(0)
  expect(await intake.accept(delivery)).toBe('duplicate')
  await elapse(0)
  expect(handled).toEqual(['acme/a'])
})

test('deliveries of one repo are worked off one after another, and hold up no other repo', async () => {
  const { intake, handled, ends } = scene()
  await intake.accept({ guid: 'guid-1', hint: hint('acme/a') })
  await intake.accept({ guid: 'guid-2', hint: hint('acme/a') })
  await intake.accept({ guid: 'guid-3', hint: hint('acme/b') })
  await elapse(0)
  expect(handled).toEqual(['acme/a', 'acme/b'])
  ends[0]?.resolve()
  await elapse(0)
  expect(handled).toEqual(['acme/a', 'acme/b', 'acme/a'])
})

test('what an earlier process stored and did not finish is worked off after a restart', async () => {
  const store = memoryStore()
  const killed = scene(store)
  await killed.intake.accept({ guid: 'guid-1', hint: hint('acme/a') })
  const restarted = scene(store)
  await restarted.intake.resume()
  await elapse(0)
  expect(restarted.handled).toEqual(['acme/a'])
  restarted.ends[0]?.resolve()
  await elapse(0)
  expect(await pending(store)).toEqual([])
})

test('one that fails is tried again later, and meanwhile holds up no other of its repo', async () => {
  const { store, intake, handled, ends, log } = scene()
  await intake.accept({ guid: 'guid-1', hint: hint('acme/a') })
  await intake.accept({ guid: 'guid-2', hint: hint('acme/a') })
  await elapse(0)
  ends[0]?.reject(new TowlineError('GitHub does not answer', { fault: 'temporary' }))
  await elapse(0)
  expect(handled).toHaveLength(2)
  ends[1]?.resolve()
  await elapse(1_300)
  expect(handled).toHaveLength(3)
  ends[2]?.resolve()
  await elapse(0)
  expect(await pending(store)).toEqual([])
  expect(log.lines).toMatchObject([
    { level: 'warn', fields: { guid: 'guid-1', reason: 'GitHub does not answer' } },
  ])
})

test('one that fails again and again is given up, because the sweep looks at every repo anyway', async () => {
  const { store, intake, handled, ends } = scene()
  await intake.accept({ guid: 'guid-1', hint: hint('acme/a') })
  for (let failureCount = 1; failureCount <= 8; failureCount += 1) {
    await elapse(150_000)
    ends.at(-1)?.reject(new Error('no answer'))
  }
  await elapse(600_000)
  expect(handled).toHaveLength(8)
  expect(await pending(store)).toEqual([])
})

test('a store that cannot write holds up no later delivery', async () => {
  const store = memoryStore()
  const { intake, handled, ends } = scene({
    ...store,
    completeDelivery: async () => {
      throw new TowlineError('the disk is full', { fault: 'operator' })
    },
  })
  await intake.accept({ guid: 'guid-1', hint: hint('acme/a') })
  for (let failureCount = 1; failureCount <= 8; failureCount += 1) {
    await elapse(150_000)
    ends.at(-1)?.resolve()
  }
  await elapse(600_000)
  expect(handled).toHaveLength(8)
  await intake.accept({ guid: 'guid-2', hint: hint('acme/a') })
  await elapse(0)
  expect(handled).toHaveLength(9)
  expect(await pending(store)).toEqual(['guid-1', 'guid-2'])
})

test('stopping waits for what is in work, and leaves the rest to the next start', async () => {
  const { store, intake, handled, ends } = scene()
  await intake.accept({ guid: 'guid-1', hint: hint('acme/a') })
  await intake.accept({ guid: 'guid-2', hint: hint('acme/a') })
  await elapse(0)
  const stopped = vi.fn()
  const stop = intake.stop().then(stopped)
  await elapse(0)
  expect(stopped).not.toHaveBeenCalled()
  ends[0]?.resolve()
  await stop
  expect(handled).toEqual(['acme/a'])
  expect(await pending(store)).toEqual(['guid-2'])
})

test('one that waits to be tried again when all stops is left to the next start', async () => {
  const { store, intake, handled, ends } = scene()
  await intake.accept({ guid: 'guid-1', hint: hint('acme/a') })
  await elapse(0)
  ends[0]?.reject(new Error('no answer'))
  await elapse(0)
  await intake.stop()
  await elapse(600_000)
  expect(handled).toEqual(['acme/a'])
  expect(await pending(store)).toEqual(['guid-1'])
})
