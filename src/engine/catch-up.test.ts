import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { TowlineError } from '../rollout/error.ts'
import { createCatchUp } from './catch-up.ts'
import { recordLog } from './log.fixture.ts'
import { memoryStore } from './memory-store.fixture.ts'
import type { GitHub, MissedDelivery, Store } from './ports.ts'
import type { Delivery } from './records.ts'

const startMs = Date.parse('2026-11-21T10:00:00Z')
const hourMs = 60 * 60_000
const dayMs = 24 * hourMs
const away = new TowlineError('GitHub did not answer', { fault: 'temporary' })

beforeEach(() => void vi.useFakeTimers({ now: startMs, toFake: ['Date'] }))
afterEach(() => void vi.useRealTimers())

/** A record at GitHub that the test changes, and what was taken in of it. */
function scene({ store = memoryStore() }: { store?: Store } = {}) {
  const record = {
    missed: [] as MissedDelivery[],
    whole: true,
    /** By GUID: what reading it fails with; null where its content is gone. */
    unreadable: new Map<string, Error | null>(),
    listFailure: null as Error | null,
  }
  const asked = { since: [] as string[], read: [] as string[] }
  const taken: string[] = []
  const log = recordLog()
  const stopping = new AbortController()
  const github: Pick<GitHub, 'missedDeliveries' | 'readDelivery'> = {
    async missedDeliveries({ sinceMs }) {
      asked.since.push(new Date(sinceMs).toISOString())
      if (record.listFailure) throw record.listFailure
      return { missed: record.missed, whole: record.whole }
    },
    async readDelivery({ guid, event }) {
      asked.read.push(guid)
      const failure = record.unreadable.get(guid)
      if (failure) throw failure
      if (failure === null) return null
      const hint = { kind: 'repo', repo: 'acme/config' } as const
      return event === 'installation.created'
        ? [
            { guid: `${guid}:acme/a`, hint },
            { guid: `${guid}:acme/b`, hint },
          ]
        : [{ guid, hint }]
    },
  }
  async function accept({ guid, hint }: Pick<Delivery, 'guid' | 'hint'>) {
    const outcome = await store.addDelivery({ guid, hint, receivedAt: '', processedAt: null })
    if (outcome === 'stored') taken.push(guid)
    return outcome
  }
  const catchUp = createCatchUp({ github, store, accept, signal: stopping.signal, log })
  return {
    ...{ catchUp, record, asked, taken, log, stopping, accept },
    look: (force = false) => catchUp.look({ force }),
    said: () => log.lines.map(({ level, message }) => `${level} ${message}`),
  }
}

const missed = (guid: string, event = 'push'): MissedDelivery => ({ guid, attemptId: guid, event })
const elapse = (ms: number) => void vi.setSystemTime(Date.now() + ms)
const givenUp = 'warn GitHub was not asked for all missed deliveries; the next sweep goes on'

test('what was missed is taken in, in its order, and the log says how many and of what', async () => {
  const { look, record, taken, log, catchUp } = scene()
  expect(catchUp.status()).toBeNull()
  record.missed = [missed('guid-1'), missed('guid-2', 'check_run.rerequested'), missed('guid-3')]
  await look()
  expect(taken).toEqual(['guid-1', 'guid-2', 'guid-3'])
  expect(log.lines).toEqual([
    {
      level: 'info',
      message: 'recovered 3 deliveries',
      fields: { events: { push: 2, 'check_run.rerequested': 1 } },
    },
  ])
  expect(catchUp.status()).toEqual({ at: '2026-11-21T10:00:00.000Z', recoveredCount: 3, error: null })
})

test('where nothing was missed nothing is said', async () => {
  const { look, said, catchUp } = scene()
  await look()
  expect(said()).toEqual([])
  expect(catchUp.status()).toMatchObject({ recoveredCount: 0, error: null })
})

test('what came as a webhook, or was taken in before, is neither read nor counted again', async () => {
  const { look, record, asked, accept, said } = scene()
  await accept({ guid: 'guid-1', hint: { kind: 'repo', repo: 'acme/config' } })
  record.missed = [missed('guid-1'), missed('guid-2')]
  await look()
  await look(true)
  expect(asked.read).toEqual(['guid-2'])
  expect(said()).toEqual(['info recovered 1 delivery'])
})

test('what is delivered while it is read counts for its webhook', async () => {
  const { look, record, accept, taken, said } = scene({
    store: { ...memoryStore(), knowsDelivery: async () => false },
  })
  record.missed = [missed('guid-1')]
  await accept({ guid: 'guid-1', hint: { kind: 'repo', repo: 'acme/config' } })
  await look()
  expect([taken, said()]).toEqual([['guid-1'], []])
})

test('an installation on several repos is one delivery, and taken in for each repo once', async () => {
  const { look, record, taken, said, asked } = scene()
  record.missed = [missed('guid-1', 'installation.created')]
  await look()
  await look(true)
  expect(taken).toEqual(['guid-1:acme/a', 'guid-1:acme/b'])
  expect(asked.read).toEqual(['guid-1'])
  expect(said()).toEqual(['info recovered 1 delivery'])
})

test('three days are looked through at first, then what came since, with time for what is listed late', async () => {
  const { look, asked } = scene()
  await look()
  elapse(hourMs)
  await look()
  elapse(5 * dayMs)
  await look()
  expect(asked.since).toEqual([
    '2026-11-18T10:00:00.000Z',
    '2026-11-21T09:50:00.000Z',
    '2026-11-23T11:00:00.000Z',
  ])
})

test('it is looked for at most once an hour, unless it is asked for', async () => {
  const { look, asked } = scene()
  await look()
  elapse(hourMs - 1)
  await look()
  expect(asked.since).toHaveLength(1)
  await look(true)
  expect(asked.since).toHaveLength(2)
})

test('while GitHub is away each call tries again, says so once, and looks as far back as before', async () => {
  const { look, record, asked, said, taken, catchUp } = scene()
  record.listFailure = away
  for (let minute = 0; minute < 3; minute += 1) {
    await look()
    elapse(60_000)
  }
  expect(catchUp.status()).toMatchObject({ recoveredCount: 0, error: 'GitHub did not answer' })
  record.listFailure = null
  record.missed = [missed('guid-1')]
  await look()
  expect(said().filter((line) => !line.startsWith('debug'))).toEqual([givenUp, 'info recovered 1 delivery'])
  expect(asked.since.at(-1)).toBe('2026-11-18T10:03:00.000Z')
  expect([taken, catchUp.status()?.error]).toEqual([['guid-1'], null])
})

test('the time GitHub asks to wait is waited, whoever asks', async () => {
  const { look, record, asked } = scene()
  record.listFailure = new TowlineError('slow down', { fault: 'temporary', retryAfterMs: 60_000 })
  await look()
  elapse(59_999)
  await look(true)
  expect(asked.since).toHaveLength(1)
  elapse(1)
  await look()
  expect(asked.since).toHaveLength(2)
})

test('where GitHub goes away in the middle, what was taken in counts, and the rest follows', async () => {
  const { look, record, taken, asked, catchUp } = scene()
  record.missed = [missed('guid-1'), missed('guid-2'), missed('guid-3')]
  record.unreadable.set('guid-2', away)
  await look()
  expect(asked.read).toEqual(['guid-1', 'guid-2'])
  expect(catchUp.status()).toMatchObject({ recoveredCount: 1, error: 'GitHub did not answer' })
  record.unreadable.clear()
  await look()
  expect(taken).toEqual(['guid-1', 'guid-2', 'guid-3'])
  expect(asked.read).toEqual(['guid-1', 'guid-2', 'guid-2', 'guid-3'])
})

test('one that GitHub refuses to give holds up no other, and is asked for again', async () => {
  const { look, record, taken, catchUp } = scene()
  record.missed = [missed('guid-1'), missed('guid-2')]
  record.unreadable.set('guid-1', new TowlineError('GitHub did not give it: 422', { fault: 'bug' }))
  await look()
  expect([taken, catchUp.status()?.error]).toEqual([['guid-2'], 'GitHub did not give it: 422'])
  record.unreadable.clear()
  await look()
  expect(taken).toEqual(['guid-2', 'guid-1'])
})

test('one whose content is gone is said to be lost, and not waited for', async () => {
  const { look, record, taken, log, catchUp } = scene()
  record.missed = [missed('guid-1'), missed('guid-2')]
  record.unreadable.set('guid-1', null)
  await look()
  expect([taken, catchUp.status()?.error]).toEqual([['guid-2'], null])
  await look(true)
  expect(log.lines).toHaveLength(2)
  expect(log.lines[0]).toMatchObject({ level: 'warn', fields: { guid: 'guid-1', event: 'push' } })
})

test('one that cannot be stored is taken in once it can', async () => {
  const store = memoryStore()
  const addDelivery = vi
    .fn(store.addDelivery)
    .mockRejectedValueOnce(new TowlineError('the disk is full', { fault: 'operator' }))
  const { look, record, taken, catchUp } = scene({ store: { ...store, addDelivery } })
  record.missed = [missed('guid-1')]
  await look()
  expect([taken, catchUp.status()?.error]).toEqual([[], 'the disk is full'])
  await look()
  expect([taken, catchUp.status()?.error]).toEqual([['guid-1'], null])
})

test('at most 500 are read at once; the next call goes on', async () => {
  const { look, record, taken, asked } = scene()
  record.missed = Array.from({ length: 700 }, (_, index) => missed(`guid-${index}`))
  await look()
  expect(taken).toHaveLength(500)
  await look()
  expect(taken).toHaveLength(700)
  expect(asked.read).toHaveLength(700)
})

test('more than are looked through is said', async () => {
  const { look, record, said } = scene()
  record.whole = false
  await look()
  expect(said()).toEqual([expect.stringMatching(/^warn GitHub has more deliveries than/)])
})

test('those who ask while one look runs share the next one', async () => {
  const { look, asked, catchUp } = scene()
  void look(true)
  void look(true)
  void look(true)
  await catchUp.idle()
  expect(asked.since).toHaveLength(2)
})

test('a look that is cut off by stopping says nothing and fails nobody', async () => {
  const { look, record, said, stopping, catchUp } = scene()
  record.missed = [missed('guid-1')]
  record.unreadable.set('guid-1', new TowlineError('stopping', { fault: 'cancelled' }))
  stopping.abort()
  await look()
  expect([said(), catchUp.status()]).toEqual([[], null])
})
