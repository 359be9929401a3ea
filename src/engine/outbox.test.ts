import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type { CheckRun } from '../report/check-run.ts'
import { TowlineError } from '../rollout/error.ts'
import { newReport } from './config-pass.ts'
import { recordLog } from './log.fixture.ts'
import { memoryStore } from './memory-store.fixture.ts'
import { createOutbox } from './outbox.ts'
import type { GitHub, Store } from './ports.ts'
import { advanceStored, failure, queued, recordOf, revisionOf } from './records.fixture.ts'
import type { RepoRecord } from './records.ts'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

const elapse = (ms: number) => vi.advanceTimersByTimeAsync(ms)
const repo = 'acme/config'
const shop = queued('shop')

type Call = 'create' | 'update' | 'find'

/**
 * GitHub as a list of runs. `fail` answers a call with an error, which reaches us before the call has had its effect,
 * or after it where `afterEffect` is set: an answer that got lost.
 */
function gitHub() {
  const runs: (CheckRun & { id: number; annotationsSent: number })[] = []
  const calls: string[] = []
  const faults: { fail: (call: Call, name: string) => Error | null; afterEffect: boolean } = {
    fail: () => null,
    afterEffect: false,
  }
  async function answer<T>(call: Call, name: string, effect: () => T): Promise<T> {
    calls.push(`${call} ${name}`)
    const error = faults.fail(call, name)
    if (error && !faults.afterEffect) throw error
    const done = effect()
    if (error) throw error
    return done
  }
  const github: Pick<GitHub, 'createCheckRun' | 'updateCheckRun' | 'findCheckRun'> = {
    createCheckRun: (_repo, check) =>
      answer('create', check.name, () => {
        const id = runs.length + 1
        runs.push({ ...check, id, annotationsSent: check.annotations.length })
        return id
      }),
    updateCheckRun: (_repo, id, check, { annotationsFrom }) =>
      answer('update', check.name, () => {
        const run = runs.find((one) => one.id === id)
        if (!run) throw new Error(`there is no run ${id}`)
        Object.assign(run, check, {
          annotationsSent: run.annotationsSent + check.annotations.length - annotationsFrom,
        })
      }),
    findCheckRun: (_repo, { name, headSha, externalId }) =>
      answer('find', name, () => {
        const run = runs.find(
          (one) => one.name === name && one.headSha === headSha && one.externalId === externalId,
        )
        return run ? { id: run.id, annotationCount: run.annotationsSent } : null
      }),
  }
  return { github, runs, calls, faults }
}

async function scene({ store = memoryStore(), hub = gitHub() } = {}) {
  const log = recordLog()
  const start = () => createOutbox({ store, github: hub.github, writeIntervalMs: 1_000, log })
  return { store, ...hub, log, start }
}

const away = new TowlineError('GitHub does not answer', { fault: 'temporary' })

async function storeShop(store: Store) {
  await store.updateTarget(shop.target, () => recordOf('shop', [shop]))
}

function repoRecord(over: Partial<RepoRecord> = {}): RepoRecord {
  return { version: 1, repo, branch: 'main', head: 'c0ffee', revisions: [], ...over }
}

describe('one check run', () => {
  test('is made once, follows its deployment, and is left alone once it is complete', async () => {
    const { store, runs, calls, start } = await scene()
    await storeShop(store)
    const outbox = start()
    outbox.markTarget(shop.target)
    await elapse(0)
    expect(runs).toMatchObject([{ name: 'towline / shop@web-1', status: 'queued', externalId: 'd-shop' }])
    await advanceStored(store, shop, { type: 'phase', phase: 'building' })
    outbox.markTarget(shop.target)
    await elapse(1_000)
    expect(runs).toMatchObject([{ status: 'in_progress' }])
    await advanceStored(store, shop, { type: 'succeeded' })
    outbox.markTarget(shop.target)
    await elapse(1_000)
    expect(runs).toMatchObject([{ status: 'completed', conclusion: 'success' }])
    outbox.markTarget(shop.target)
    await elapse(600_000)
    expect(calls).toHaveLength(3)
    await outbox.stop()
  })

  test('is not written where nothing changed', async () => {
    const { store, calls, start } = await scene()
    await storeShop(store)
    const outbox = start()
    for (let count = 0; count < 5; count += 1) {
      outbox.markTarget(shop.target)
      await elapse(2_000)
    }
    expect(calls).toHaveLength(1)
    await outbox.stop()
  })

  test('takes a burst of changes as the last of them', async () => {
    const { store, runs, calls, start } = await scene()
    await storeShop(store)
    const outbox = start()
    outbox.markTarget(shop.target)
    await elapse(0)
    for (let progress = 20; progress < 50; progress += 1) {
      await advanceStored(store, shop, { type: 'phase', phase: 'building', progress })
      outbox.markTarget(shop.target)
    }
    await elapse(10_000)
    expect(calls).toHaveLength(2)
    expect(runs).toMatchObject([{ title: 'building 49 %: waiting for a worker' }])
    await outbox.stop()
  })

  test('costs at most 12 writes however much is told of it, the final state among them', async () => {
    const { store, runs, calls, start } = await scene()
    await storeShop(store)
    const outbox = start()
    for (let count = 1; count <= 40; count += 1) {
      await advanceStored(store, shop, { type: 'phase', phase: 'building', message: `line ${count}` })
      outbox.markTarget(shop.target)
      await elapse(1_000)
    }
    expect(calls).toHaveLength(11)
    await advanceStored(store, shop, failure())
    outbox.markTarget(shop.target)
    await elapse(60_000)
    expect(calls).toHaveLength(12)
    expect(runs).toMatchObject([{ status: 'completed', conclusion: 'failure' }])
    await outbox.stop()
  })

  test('that has ended before GitHub heard of it is made complete at once', async () => {
    const { store, runs, calls, start } = await scene()
    await storeShop(store)
    await advanceStored(store, shop, { type: 'succeeded' })
    const outbox = start()
    outbox.markTarget(shop.target)
    await elapse(60_000)
    expect(calls).toEqual(['create towline / shop@web-1'])
    expect(runs).toMatchObject([{ status: 'completed' }])
    await outbox.stop()
  })

  test('is written again at once where it changed while the outbox looked', async () => {
    const store = memoryStore()
    let whileLooking = async () => {}
    const { runs, start } = await scene({
      store: {
        ...store,
        readTarget: async (key) => {
          const record = await store.readTarget(key)
          const change = whileLooking
          whileLooking = async () => {}
          await change()
          return record
        },
      },
    })
    await storeShop(store)
    const outbox = start()
    outbox.markTarget(shop.target)
    await elapse(0)
    whileLooking = async () => {
      await advanceStored(store, shop, { type: 'succeeded' })
      outbox.markTarget(shop.target)
    }
    await elapse(3_000)
    expect(runs).toMatchObject([{ status: 'completed' }])
    await outbox.stop()
  })
})

describe('while GitHub is away', () => {
  test('a run is tried again ever less often, and ends rightly once GitHub is back', async () => {
    const { store, runs, calls, faults, start } = await scene()
    faults.fail = () => away
    await storeShop(store)
    const outbox = start()
    outbox.markTarget(shop.target)
    await elapse(60_000)
    await advanceStored(store, shop, { type: 'succeeded' })
    outbox.markTarget(shop.target)
    await elapse(3 * 60 * 60_000)
    const tries = calls.filter((call) => call.startsWith('create')).length
    expect(tries).toBeLessThan(60)
    expect(runs).toEqual([])
    faults.fail = () => null
    await elapse(400_000)
    expect(runs).toMatchObject([{ status: 'completed', conclusion: 'success' }])
    await outbox.stop()
  })

  test('the time GitHub asks for is waited', async () => {
    const { store, runs, calls, faults, start } = await scene()
    faults.fail = () => new TowlineError('rate limit', { fault: 'temporary', retryAfterMs: 600_000 })
    await storeShop(store)
    const outbox = start()
    outbox.markTarget(shop.target)
    await elapse(0)
    faults.fail = () => null
    await elapse(599_000)
    expect(calls).toHaveLength(1)
    await elapse(2_000)
    expect(runs).toHaveLength(1)
    await outbox.stop()
  })

  test('what GitHub refuses for its content eight times is given up, and said', async () => {
    const { store, calls, faults, log, start } = await scene()
    const refusal = new TowlineError('GitHub did not create: 422', { fault: 'bug' })
    faults.fail = (call, name) => (call === 'create' && name.includes('shop') ? refusal : null)
    const blog = queued('blog')
    await storeShop(store)
    await store.updateTarget(blog.target, () => recordOf('blog', [blog]))
    const outbox = start()
    outbox.markTarget(shop.target)
    outbox.markTarget(blog.target)
    await elapse(60 * 60_000)
    expect(calls.filter((call) => call === 'create towline / shop@web-1')).toHaveLength(8)
    expect(calls.filter((call) => call === 'create towline / blog@web-1')).toHaveLength(1)
    expect(log.lines.filter(({ level }) => level === 'error')).toMatchObject([
      { fields: { check: 'towline / shop@web-1', reason: 'GitHub did not create: 422' } },
    ])
    await outbox.stop()
  })

  test('what the operator has to mend first is tried until it is mended', async () => {
    const { store, runs, faults, start } = await scene()
    faults.fail = () => new TowlineError('GitHub did not create: 403', { fault: 'operator' })
    await storeShop(store)
    const outbox = start()
    outbox.markTarget(shop.target)
    await elapse(24 * 60 * 60_000)
    faults.fail = () => null
    await elapse(400_000)
    expect(runs).toHaveLength(1)
    await outbox.stop()
  })
})

test('what is announced while the run over all is being completed is told by a run of its own', async () => {
  const { store, runs, faults, start } = await scene()
  await store.updateRepo(repo, () => repoRecord({ revisions: [revisionOf('c0ffee', [])] }))
  const removals = [{ target: shop.target, removeAfter: '2026-11-21T11:00:00.000Z', volumes: false }]
  faults.fail = () => {
    void store.updateRepo(repo, (stored) =>
      repoRecord({ revisions: stored?.revisions.map((one) => ({ ...one, removals })) ?? [] }),
    )
    return null
  }
  const outbox = start()
  outbox.markRepo(repo)
  await elapse(2_000)
  expect(runs).toMatchObject([
    { externalId: 'revision-c0ffee-1', title: 'no specs found' },
    { externalId: 'revision-c0ffee-2', title: '1 to be removed' },
  ])
  await outbox.stop()
})

describe('no run is made twice', () => {
  test('where the answer to its making got lost', async () => {
    const { store, runs, calls, faults, start } = await scene()
    faults.afterEffect = true
    faults.fail = (call) => (call === 'create' ? away : null)
    await storeShop(store)
    const outbox = start()
    outbox.markTarget(shop.target)
    await elapse(60_000)
    expect(runs).toHaveLength(1)
    expect(calls).toEqual([
      'create towline / shop@web-1',
      'find towline / shop@web-1',
      'update towline / shop@web-1',
    ])
    expect((await store.readTarget(shop.target))?.reports['d-shop']?.checkRunId).toBe(1)
    await outbox.stop()
  })

  test('where the process was killed between asking and storing the answer', async () => {
    const hub = gitHub()
    const store = memoryStore()
    const killed = await scene({
      hub,
      store: {
        ...store,
        updateTarget: async (key, change) => {
          if (hub.runs.length > 0) return new Promise(() => {})
          return store.updateTarget(key, change)
        },
      },
    })
    await storeShop(store)
    killed.start().markTarget(shop.target)
    await elapse(0)
    expect(hub.runs).toHaveLength(1)
    await advanceStored(store, shop, { type: 'succeeded' })
    const outbox = (await scene({ hub, store })).start()
    outbox.markTarget(shop.target)
    await elapse(0)
    expect(hub.runs).toMatchObject([{ id: 1, status: 'completed' }])
    await outbox.stop()
  })

  test('and one that was only intended is made', async () => {
    const { store, runs, start } = await scene()
    const reports = { 'd-shop': { ...newReport, createIntended: true } }
    await store.updateTarget(shop.target, () => recordOf('shop', [shop], { reports }))
    const outbox = start()
    outbox.markTarget(shop.target)
    await elapse(0)
    expect(runs).toHaveLength(1)
    await outbox.stop()
  })
})

describe('many check runs', () => {
  test('are written one at a time with a pause between, final states first, then new ones, then progress', async () => {
    const { store, calls, start } = await scene()
    const [done, fresh, rolling] = [queued('done'), queued('fresh'), queued('rolling')]
    await store.updateTarget(rolling.target, () => recordOf('rolling', [rolling]))
    const outbox = start()
    outbox.markTarget(rolling.target)
    await elapse(0)
    await store.updateTarget(fresh.target, () => recordOf('fresh', [fresh]))
    await store.updateTarget(done.target, () => recordOf('done', [done]))
    await advanceStored(store, done, { type: 'succeeded' })
    await advanceStored(store, rolling, { type: 'phase', phase: 'building' })
    for (const key of [rolling.target, fresh.target, done.target]) outbox.markTarget(key)
    await elapse(999)
    expect(calls).toEqual(['create towline / rolling@web-1'])
    await elapse(1)
    expect(calls.slice(1)).toEqual(['create towline / done@web-1'])
    await elapse(1_000)
    expect(calls.slice(2)).toEqual(['create towline / fresh@web-1'])
    await elapse(1_000)
    expect(calls.slice(3)).toEqual(['update towline / rolling@web-1'])
    await outbox.stop()
  })

  test('one that fails holds up no other', async () => {
    const { store, runs, faults, start } = await scene()
    const blog = queued('blog')
    faults.fail = (_call, name) => (name.includes('shop') ? away : null)
    await storeShop(store)
    await store.updateTarget(blog.target, () => recordOf('blog', [blog]))
    const outbox = start()
    outbox.markTarget(shop.target)
    outbox.markTarget(blog.target)
    await elapse(5_000)
    expect(runs).toMatchObject([{ name: 'towline / blog@web-1' }])
    await outbox.stop()
  })
})

describe('the run over all', () => {
  const blog = queued('blog')
  const revision = revisionOf('c0ffee', [shop, blog])

  async function storeRevision(store: Store) {
    await storeShop(store)
    await store.updateTarget(blog.target, () => recordOf('blog', [blog]))
    await store.updateRepo(repo, () => repoRecord({ revisions: [revision] }))
  }

  test('is complete once every deployment of the commit has ended', async () => {
    const { store, runs, start } = await scene()
    await storeRevision(store)
    const outbox = start()
    await advanceStored(store, shop, { type: 'succeeded' })
    outbox.markRepo(repo)
    await elapse(0)
    expect(runs).toMatchObject([{ name: 'towline / deploy', status: 'in_progress' }])
    await advanceStored(store, blog, failure())
    outbox.markRepo(repo)
    await elapse(1_000)
    expect(runs).toMatchObject([{ status: 'completed', conclusion: 'failure', title: '1 active, 1 failed' }])
    await outbox.stop()
  })

  test('gets each annotation once, also where its making was not answered', async () => {
    const problems = [1, 2, 3].map((line) => ({
      path: 'apps/shop.yaml',
      line,
      column: 1,
      endLine: line,
      endColumn: 2,
      message: `/ports/${line}: is no port`,
      hint: '',
    }))
    const { store, runs, faults, start } = await scene()
    await storeShop(store)
    await store.updateRepo(repo, () =>
      repoRecord({ revisions: [revisionOf('c0ffee', [shop], { problems })] }),
    )
    faults.afterEffect = true
    faults.fail = (call) => (call === 'create' ? away : null)
    const outbox = start()
    outbox.markRepo(repo)
    await elapse(2_000)
    await advanceStored(store, shop, { type: 'succeeded' })
    outbox.markRepo(repo)
    await elapse(2_000)
    expect(runs).toMatchObject([{ status: 'completed', annotationsSent: 3 }])
    await outbox.stop()
  })

  test('that is asked for again while it is written gets a run of its own', async () => {
    const hub = gitHub()
    const { store, runs, start } = await scene({ hub })
    await storeRevision(store)
    await advanceStored(store, shop, { type: 'succeeded' })
    await advanceStored(store, blog, { type: 'succeeded' })
    const { createCheckRun } = hub.github
    const renewed = { ...revision, attempt: 2 }
    hub.github.createCheckRun = async (...call) => {
      const id = await createCheckRun(...call)
      hub.github.createCheckRun = createCheckRun
      await store.updateRepo(repo, () => repoRecord({ revisions: [renewed] }))
      return id
    }
    const outbox = start()
    outbox.markRepo(repo)
    await elapse(3_000)
    expect(runs.map(({ externalId }) => externalId)).toEqual(['revision-c0ffee-1', 'revision-c0ffee-2'])
    expect((await store.readRepo(repo))?.revisions).toMatchObject([
      { attempt: 2, report: { checkRunId: 2, done: true } },
    ])
    await outbox.stop()
  })
})

test('a store that cannot be read stops nothing: the outbox says so and looks again', async () => {
  const store = memoryStore()
  let isBroken = true
  const { runs, log, start } = await scene({
    store: {
      ...store,
      readTarget: async (key) => {
        if (isBroken) throw new TowlineError('the disk is away', { fault: 'operator' })
        return store.readTarget(key)
      },
    },
  })
  await storeShop(store)
  const outbox = start()
  outbox.markTarget(shop.target)
  await elapse(0)
  expect(log.lines).toMatchObject([{ level: 'error', message: 'the outbox stumbled' }])
  isBroken = false
  await elapse(5_000)
  expect(runs).toHaveLength(1)
  await outbox.stop()
})

test('stopping ends the wait and writes nothing more', async () => {
  const { store, calls, start } = await scene()
  const outbox = start()
  await elapse(0)
  await outbox.stop()
  await storeShop(store)
  outbox.markTarget(shop.target)
  await elapse(600_000)
  expect(calls).toEqual([])
  expect(vi.getTimerCount()).toBe(0)
})

test('a commit whose deployments a kill kept from being stored is not told to be done, and has one run in the end', async () => {
  const { store, runs, start } = await scene()
  const asked = queued('shop')
  await store.updateRepo(repo, () => repoRecord({ revisions: [revisionOf('c0ffee', [asked])] }))
  const outbox = start()
  outbox.markRepo(repo)
  await elapse(5_000)
  expect(runs).toMatchObject([{ name: 'towline / deploy', status: 'in_progress', conclusion: null }])
  await storeShop(store)
  await advanceStored(store, asked, { type: 'succeeded' })
  outbox.markRepo(repo)
  await elapse(5_000)
  expect(runs).toMatchObject([{ name: 'towline / deploy', status: 'completed', conclusion: 'success' }])
  await outbox.stop()
})
