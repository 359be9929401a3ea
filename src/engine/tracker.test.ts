import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { TowlineError } from '../rollout/error.ts'
import { dockerHost, probe } from './host.fixture.ts'
import type { DockerHost, Probe } from './ports.ts'
import { createTracker } from './tracker.ts'

const beganAt = '2026-11-21T10:00:00.000Z'
const pollMs = 10_000
const away = new TowlineError('host web-1 does not answer', {
  fault: 'temporary',
  hint: 'Start Docker there.',
})

beforeEach(() => void vi.useFakeTimers({ now: new Date(beganAt) }))
afterEach(() => void vi.useRealTimers())

/** A host whose containers show what the test sets, and a watch on it the test wakes by hand. */
function scene(containers: Record<string, Partial<Probe>>, over: Partial<DockerHost> = {}) {
  const wakes = new Set<() => void>()
  const checked: string[] = []
  let probeCount = 0
  const host = dockerHost({
    probe: async (name) => {
      probeCount += 1
      const found = containers[name]
      return found ? probe({ startedAt: beganAt, ...found }) : probe({ state: 'missing' })
    },
    checkHealth: async (name) => {
      checked.push(name)
      return false
    },
    ...over,
  })
  const tracker = createTracker({
    pollMs,
    watch: {
      subscribe: (_host, wake) => {
        wakes.add(wake)
        return () => wakes.delete(wake)
      },
    },
  })
  const controller = new AbortController()
  const common = { host, names: Object.keys(containers), signal: controller.signal }
  return {
    containers,
    checked,
    probeCount: () => probeCount,
    controller,
    awaitReady: (options: { deadlineMs?: number; settleMs?: number; created?: string[] } = {}) =>
      settled(
        tracker.awaitReady({ deadlineMs: 300_000, settleMs: 5_000, created: [], ...common, ...options }),
      ),
    watchSteady: (options: { monitorMs?: number; started?: string[] } = {}) =>
      settled(tracker.watchSteady({ monitorMs: 10_000, started: [], ...common, ...options })),
    async event() {
      for (const wake of [...wakes]) wake()
      await vi.advanceTimersByTimeAsync(0)
    },
    waiterCount: () => wakes.size,
  }
}

/** The outcome of a wait, as far as it is known. */
function settled(wait: Promise<void>) {
  const state: { outcome: 'waiting' | 'ready' | unknown } = { outcome: 'waiting' }
  wait.then(
    () => {
      state.outcome = 'ready'
    },
    (error: unknown) => {
      state.outcome = error
    },
  )
  return state
}

const elapse = (ms: number) => vi.advanceTimersByTimeAsync(ms)

describe('waiting until containers are ready', () => {
  test('ends at once where Docker has found all healthy', async () => {
    const { awaitReady } = scene({ 'shop-1': { health: 'healthy' }, 'shop-2': { health: 'healthy' } })
    const wait = awaitReady()
    await elapse(0)
    expect(wait.outcome).toBe('ready')
  })

  test('ends as soon as a check of our own passes, before Docker has run its first', async () => {
    let passes = false
    const { awaitReady } = scene({ 'shop-1': { health: 'starting' } }, { checkHealth: async () => passes })
    const wait = awaitReady()
    await elapse(100)
    expect(wait.outcome).toBe('waiting')
    passes = true
    await elapse(100)
    expect(wait.outcome).toBe('ready')
  })

  test('ends when a container without a health check has run for its settling time', async () => {
    const { awaitReady, probeCount } = scene({ 'shop-1': { health: 'none' } })
    const wait = awaitReady({ settleMs: 5_000 })
    await elapse(4_999)
    expect(wait.outcome).toBe('waiting')
    await elapse(1)
    expect(wait.outcome).toBe('ready')
    expect(probeCount()).toBe(2)
  })

  test('goes on until the last of several is ready, and looks no more at those that are', async () => {
    const probed: string[] = []
    const { awaitReady, containers, event } = scene(
      { 'shop-1': { health: 'healthy' }, 'shop-2': { health: 'starting' } },
      {
        probe: async (name) => {
          probed.push(name)
          return probe({ startedAt: beganAt, ...containers[name] })
        },
      },
    )
    const wait = awaitReady()
    await elapse(0)
    expect(wait.outcome).toBe('waiting')
    containers['shop-2'] = { health: 'healthy' }
    await event()
    expect(wait.outcome).toBe('ready')
    expect(probed).toEqual(['shop-1', 'shop-2', 'shop-2'])
  })

  test('is woken by an event of the host, and leaves no waiter behind', async () => {
    const { awaitReady, containers, event, waiterCount } = scene({ 'shop-1': { health: 'none' } })
    const wait = awaitReady({ settleMs: 60_000 })
    await elapse(0)
    containers['shop-1'] = { state: 'exited', exitCode: 3 }
    await event()
    expect(wait.outcome).toMatchObject({
      fault: 'rejected',
      message: 'container shop-1: it is exited with exit code 3',
    })
    expect(waiterCount()).toBe(0)
  })

  test('finds out by itself where no event comes', async () => {
    const { awaitReady, containers } = scene({ 'shop-1': { health: 'none' } })
    const wait = awaitReady({ settleMs: 60_000 })
    await elapse(0)
    containers['shop-1'] = { state: 'missing' }
    await elapse(pollMs)
    expect(wait.outcome).toMatchObject({ message: 'container shop-1: it is gone' })
  })

  test('counts every restart of a container just made against it', async () => {
    const { awaitReady } = scene({ 'shop-1': { health: 'healthy', restartCount: 2 } })
    const wait = awaitReady({ created: ['shop-1'] })
    await elapse(0)
    expect(wait.outcome).toMatchObject({ fault: 'rejected', message: /restarted 2 times/ })
  })

  test('counts only the restarts since then of a container that stood before', async () => {
    const { awaitReady, containers, event } = scene({ 'shop-1': { health: 'starting', restartCount: 7 } })
    const wait = awaitReady()
    await elapse(0)
    expect(wait.outcome).toBe('waiting')
    containers['shop-1'] = { health: 'starting', restartCount: 8, exitCode: 1 }
    await event()
    expect(wait.outcome).toMatchObject({ message: /restarted once, last with exit code 1/ })
  })

  test('ends at its deadline, and says what it was waiting for', async () => {
    const { awaitReady } = scene({ 'shop-1': { health: 'starting' } })
    const wait = awaitReady({ deadlineMs: 30_000 })
    await elapse(29_000)
    expect(wait.outcome).toBe('waiting')
    await elapse(1_000)
    expect(wait.outcome).toMatchObject({
      fault: 'rejected',
      message: 'not ready in time: shop-1: health check not passed yet',
    })
  })

  test('takes half an hour at most, whatever a spec asks for', async () => {
    const { awaitReady } = scene({ 'shop-1': { state: 'created' } })
    const wait = awaitReady({ deadlineMs: 24 * 60 * 60_000 })
    await elapse(30 * 60_000 - 1)
    expect(wait.outcome).toBe('waiting')
    await elapse(1)
    expect(wait.outcome).toMatchObject({ fault: 'rejected' })
  })

  test('looks often at a container that just came up and seldom at a slow one', async () => {
    const { awaitReady, probeCount } = scene({ 'shop-1': { health: 'starting' } })
    awaitReady({ deadlineMs: 300_000 })
    await elapse(200)
    expect(probeCount()).toBeGreaterThan(4)
    const before = probeCount()
    await elapse(200_000)
    expect(probeCount() - before).toBeLessThan(120)
  })

  test('ends at once with the reason of its signal', async () => {
    const { awaitReady, controller, waiterCount } = scene({ 'shop-1': { health: 'starting' } })
    const wait = awaitReady()
    await elapse(0)
    const reason = new TowlineError('a newer revision took over', { fault: 'cancelled' })
    controller.abort(reason)
    await elapse(0)
    expect(wait.outcome).toBe(reason)
    expect(waiterCount()).toBe(0)
  })
})

describe('a host that does not answer', () => {
  /** A host that fails the looks whose numbers are named, counted from 1. */
  function failing(looks: (look: number) => boolean, error: Error = away) {
    let look = 0
    const health = () => (look > 20 ? 'healthy' : 'starting')
    return scene(
      { 'shop-1': {} },
      {
        probe: async () => {
          look += 1
          if (looks(look)) throw error
          return probe({ startedAt: beganAt, health: health() })
        },
      },
    )
  }

  test('ends the wait after five looks in a row, and the error says which host and why', async () => {
    const { awaitReady } = failing(() => true)
    const wait = awaitReady()
    await elapse(4 * pollMs - 1)
    expect(wait.outcome).toBe('waiting')
    await elapse(1)
    expect(wait.outcome).toMatchObject({
      fault: 'temporary',
      message: 'host web-1 failed 5 looks in a row: host web-1 does not answer',
      hint: 'Start Docker there.',
      cause: away,
    })
  })

  test('ends no wait where it answers in between', async () => {
    const { awaitReady } = failing((look) => look % 5 !== 0)
    const wait = awaitReady()
    await elapse(250_000)
    expect(wait.outcome).toBe('ready')
  })

  test('is told apart from a bug, which ends the wait at once', async () => {
    const bug = new Error('cannot read properties of undefined')
    const { awaitReady } = failing(() => true, bug)
    const wait = awaitReady()
    await elapse(0)
    expect(wait.outcome).toBe(bug)
  })
})

describe('watching containers after the switch', () => {
  test('ends well when a healthy one has stayed so for the whole watch', async () => {
    const { watchSteady } = scene({ 'shop-1': { health: 'healthy' } }, { checkHealth: async () => true })
    const watch = watchSteady({ monitorMs: 10_000 })
    await elapse(9_999)
    expect(watch.outcome).toBe('waiting')
    await elapse(1)
    expect(watch.outcome).toBe('ready')
  })

  test('of one without a health check counts from when its start was first seen, also by an earlier wait', async () => {
    const { awaitReady, watchSteady } = scene({ 'shop-1': { health: 'none' } })
    const ready = awaitReady({ settleMs: 8_000 })
    await elapse(8_000)
    expect(ready.outcome).toBe('ready')
    const watch = watchSteady({ monitorMs: 10_000 })
    await elapse(1_999)
    expect(watch.outcome).toBe('waiting')
    await elapse(1)
    expect(watch.outcome).toBe('ready')
  })

  test.each([
    ['ahead', '2026-11-22T10:00:00.000Z'],
    ['behind', '2026-11-20T10:00:00.000Z'],
  ])('takes its time where the clock of the host is %s', async (_, startedAt) => {
    const { awaitReady } = scene({ 'shop-1': { health: 'none', startedAt } })
    const ready = awaitReady({ settleMs: 5_000 })
    await elapse(4_999)
    expect(ready.outcome).toBe('waiting')
    await elapse(1)
    expect(ready.outcome).toBe('ready')
  })

  test('is neither cut short nor stretched by a clock of ours that jumps', async () => {
    for (const jumpMs of [3_600_000, -3_600_000]) {
      const { awaitReady } = scene({ 'shop-1': { health: 'none' } })
      const ready = awaitReady({ settleMs: 5_000, deadlineMs: 60_000 })
      await elapse(1_000)
      vi.setSystemTime(Date.now() + jumpMs)
      await elapse(3_999)
      expect(ready.outcome).toBe('waiting')
      await elapse(1)
      expect(ready.outcome).toBe('ready')
    }
  })

  test('ends at once with the reason when one dies, restarts or turns unhealthy', async () => {
    const ends: [Partial<Probe>, string][] = [
      [{ state: 'exited', exitCode: 137 }, 'it is exited with exit code 137'],
      [{ restartCount: 1, exitCode: 1 }, 'it restarted once, last with exit code 1'],
      [{ startedAt: '2026-11-21T10:00:03.000Z' }, 'it restarted while it was watched'],
      [{ health: 'unhealthy' }, 'it became unhealthy while it was watched'],
    ]
    for (const [end, reason] of ends) {
      const { watchSteady, containers, event } = scene({ 'shop-1': { health: 'none' } })
      const watch = watchSteady()
      await elapse(1)
      containers['shop-1'] = end
      await event()
      expect(watch.outcome, reason).toMatchObject({
        fault: 'rejected',
        message: `container shop-1: ${reason}`,
      })
    }
  })

  test('forgives a check that fails once, not one that goes on failing', async () => {
    let passes = false
    const { watchSteady } = scene({ 'shop-1': { health: 'healthy' } }, { checkHealth: async () => passes })
    const forgiven = watchSteady({ monitorMs: 1_000 })
    await elapse(2_000)
    expect(forgiven.outcome).toBe('waiting')
    passes = true
    await elapse(2_000)
    expect(forgiven.outcome).toBe('ready')
    passes = false
    const broken = watchSteady({ monitorMs: 1_000 })
    await elapse(10_999)
    expect(broken.outcome).toBe('waiting')
    await elapse(1)
    expect(broken.outcome).toMatchObject({ fault: 'rejected', message: /its health check does not pass/ })
  })

  test('for no time is one look at what was just started, and one check of what stood before', async () => {
    const started = scene({ 'shop-1': { health: 'healthy' } })
    const watch = started.watchSteady({ monitorMs: 0, started: ['shop-1'] })
    await elapse(0)
    expect(watch.outcome).toBe('ready')
    expect(started.checked).toEqual([])
    const stood = scene({ 'docs-site': { health: 'healthy' } })
    const checked = stood.watchSteady({ monitorMs: 0 })
    await elapse(0)
    expect(checked.outcome).toBe('waiting')
    expect(stood.checked).toEqual(['docs-site'])
  })
})

describe('an Engine that was away during a wait', () => {
  const comesBack = (state: Partial<Probe>) => {
    let isAway = false
    const there: Partial<Probe> = { health: 'healthy' }
    const { awaitReady } = scene(
      { 'shop-1': there },
      {
        probe: async () => {
          if (isAway) throw away
          return probe({ startedAt: beganAt, health: 'starting', ...there })
        },
      },
    )
    there.health = 'starting'
    const ready = awaitReady({ created: ['shop-1'] })
    return {
      ready,
      async outage() {
        await elapse(1_000)
        isAway = true
        await elapse(pollMs * 2)
        isAway = false
        Object.assign(there, state)
        await elapse(pollMs)
      },
      change: (next: Partial<Probe>) => void Object.assign(there, next),
    }
  }

  test('is given time to start its containers again before one that ended counts against the release', async () => {
    const { ready, outage, change } = comesBack({ state: 'exited', exitCode: 137 })
    await outage()
    expect(ready.outcome).toBe('waiting')
    change({ state: 'running', health: 'healthy', restartCount: 1, startedAt: '2026-11-21T10:01:00.000Z' })
    await elapse(pollMs)
    expect(ready.outcome).toBe('ready')
  })

  test('does not excuse one that stays down', async () => {
    const { ready, outage } = comesBack({ state: 'exited', exitCode: 1 })
    await outage()
    await elapse(30_000)
    expect(ready.outcome).toMatchObject({ fault: 'rejected' })
  })
})
