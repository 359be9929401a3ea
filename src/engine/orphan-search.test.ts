import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import type { OwnedThing } from '../rollout/observed.ts'
import type { HostStep } from '../rollout/step.ts'
import { dockerHost } from './host.fixture.ts'
import { recordLog } from './log.fixture.ts'
import { memoryStore } from './memory-store.fixture.ts'
import { createOrphanSearch } from './orphan-search.ts'
import { queued, recordOf } from './records.fixture.ts'
import { createStatistics } from './statistics.ts'

const at = '2026-11-21T10:00:00.000Z'
const graceMs = 300_000
beforeEach(() => void vi.useFakeTimers({ now: Date.parse(at) }))
afterEach(() => void vi.useRealTimers())

const { signal } = new AbortController()
const key = 'acme/config:gone@web-1'

function stray(name: string, over: Partial<OwnedThing> = {}): OwnedThing {
  const labels = { 'towline.repo': 'acme/config', 'towline.app': 'gone', 'towline.role': 'app' }
  return { kind: 'container', id: `id-${name}`, name, labels, createdAt: null, userCount: null, ...over }
}

function scene({ remove = true } = {}) {
  const store = memoryStore()
  const statistics = createStatistics()
  const log = recordLog()
  const steps: HostStep[] = []
  let things = [stray('gone-1')]
  let engineId = 'engine-1'
  const host = dockerHost({
    inventory: async () => ({ host: 'web-1', engineId, at: new Date().toISOString(), things }),
    apply: async (step) => void steps.push(step),
  })
  const search = createOrphanSearch({
    store,
    repos: () => ['acme/config'],
    settings: { remove, volumes: false, graceMs },
    holder: 'worker',
    statistics,
    log,
  })
  return {
    store,
    statistics,
    log,
    search,
    removed: () => steps.map((step) => `${step.do} ${'name' in step ? step.name : ''}`),
    stands: (next: OwnedThing[]) => {
      things = next
    },
    answersAs: (next: string) => {
      engineId = next
    },
    look: (options: { dryRun?: boolean } = {}) => search.look(host, { dryRun: false, signal, ...options }),
  }
}

test('an orphan is told at once and removed after its grace', async () => {
  const { look, removed, search, statistics } = scene()
  expect(await look()).toMatchObject([
    { name: 'gone-1', firstSeenAt: at, removeAfter: '2026-11-21T10:05:00.000Z' },
  ])
  vi.advanceTimersByTime(graceMs - 1)
  await look()
  expect(removed()).toEqual([])
  vi.advanceTimersByTime(1)
  expect(await look()).toEqual([])
  expect(removed()).toEqual(['removeContainer gone-1'])
  expect(search.found()).toEqual([])
  expect(statistics.read().orphansRemoved).toBe(1)
})

test.each<[string, { dryRun: boolean }, { remove: boolean }]>([
  ['a dry run', { dryRun: true }, { remove: true }],
  ['an operator who only wants to be told', { dryRun: false }, { remove: false }],
])('%s removes nothing, however old it is', async (_, options, settings) => {
  const { look, removed } = scene(settings)
  await look(options)
  vi.advanceTimersByTime(graceMs * 10)
  expect(await look(options)).toMatchObject([{ name: 'gone-1' }])
  expect(removed()).toEqual([])
})

test('a wall clock that jumps hastens nothing', async () => {
  const { look, removed } = scene()
  await look()
  vi.setSystemTime(Date.parse('2027-11-21T10:00:00.000Z'))
  await look()
  expect(removed()).toEqual([])
})

test('what was explained for a while starts its grace anew', async () => {
  const { look, removed, stands } = scene()
  await look()
  vi.advanceTimersByTime(graceMs - 1)
  stands([])
  await look()
  stands([stray('gone-1')])
  await look()
  vi.advanceTimersByTime(graceMs - 1)
  await look()
  expect(removed()).toEqual([])
})

test('what a deployment may have just made is spared, also where it began after the look', async () => {
  const { look, removed, store } = scene()
  await look()
  vi.advanceTimersByTime(graceMs)
  const claim = await store.claimTarget(key, { holder: 'a worker', ttlMs: 60_000 })
  expect(await look()).toMatchObject([{ name: 'gone-1' }])
  expect(removed()).toEqual([])
  if (claim) await store.releaseClaim(claim)
  const record = recordOf('gone', [queued('gone')])
  await store.updateTarget(record.key, () => record)
  expect(await look()).toEqual([])
  expect(removed()).toEqual([])
})

test('a host where another Engine answers is left alone for an hour, then trusted', async () => {
  const { look, removed, answersAs, log } = scene()
  await look()
  answersAs('engine-2')
  for (let minutes = 0; minutes < 60; minutes += 10) {
    expect(await look()).toMatchObject([{ removeAfter: null, reason: expect.stringContaining('engine-2') }])
    vi.advanceTimersByTime(10 * 60_000)
  }
  expect(removed()).toEqual([])
  expect(log.lines.some(({ message }) => message.includes('answers strangely'))).toBe(true)
  await look()
  expect(removed()).toEqual(['removeContainer gone-1'])
})
