import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { createWorkQueue } from './work-queue.ts'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

/** A queue whose work ends when the test says so. The group of `app@host` is its host. */
function handQueue({ total = 100, perGroup = 100 } = {}) {
  const started: string[] = []
  const errors: unknown[] = []
  const ends = new Map<string, { resolve: () => void; reject: (error: unknown) => void }>()
  const queue = createWorkQueue({
    total,
    perGroup,
    groupOf: (key) => key.split('@')[1] ?? '',
    run: (key) => {
      started.push(key)
      return new Promise((resolve, reject) => ends.set(key, { resolve, reject }))
    },
    onError: (key, error) => errors.push([key, error]),
  })
  queue.start()
  /** Lets what follows from the end happen too. */
  const end = async (key: string, error?: Error) => {
    const work = ends.get(key)
    if (error) work?.reject(error)
    else work?.resolve()
    await vi.advanceTimersByTimeAsync(0)
  }
  return { queue, started, errors, end }
}

describe('one key', () => {
  test('is worked on once however often it was added while it waited', async () => {
    const { queue, started, end } = handQueue({ total: 1 })
    queue.add('busy')
    for (let count = 0; count < 5; count += 1) queue.add('a')
    await end('busy')
    await end('a')
    expect(started).toEqual(['busy', 'a'])
    expect(queue.size()).toEqual({ waiting: 0, running: 0 })
  })

  test('is never worked on twice at once, but exactly once more when it was added meanwhile', async () => {
    const { queue, started, end } = handQueue()
    queue.add('a')
    queue.add('a')
    queue.add('a')
    expect(started).toEqual(['a'])
    expect(queue.size()).toEqual({ waiting: 1, running: 1 })
    await end('a')
    expect(started).toEqual(['a', 'a'])
    await end('a')
    expect(started).toEqual(['a', 'a'])
  })

  test('waits for its delay', async () => {
    const { queue, started } = handQueue()
    queue.add('a', { delayMs: 1_000 })
    await vi.advanceTimersByTimeAsync(999)
    expect(started).toEqual([])
    await vi.advanceTimersByTimeAsync(1)
    expect(started).toEqual(['a'])
  })

  test('is not forgotten where it becomes due between two looks at the clock', async () => {
    const { queue, started } = handQueue()
    vi.setSystemTime(0)
    vi.spyOn(Date, 'now').mockReturnValueOnce(0).mockReturnValueOnce(0).mockReturnValueOnce(1)
    queue.add('a', { delayMs: 1 })
    vi.restoreAllMocks()
    await vi.advanceTimersByTimeAsync(1_000)
    expect(started).toEqual(['a'])
  })

  test('keeps the earliest time it was asked for', async () => {
    const { queue, started } = handQueue()
    queue.add('a', { delayMs: 1_000 })
    queue.add('a', { delayMs: 60_000 })
    await vi.advanceTimersByTimeAsync(1_000)
    expect(started).toEqual(['a'])
    queue.add('b', { delayMs: 60_000 })
    queue.add('b')
    expect(started).toEqual(['a', 'b'])
  })

  test('that fails is reported, frees its place and may come again', async () => {
    const { queue, started, errors, end } = handQueue({ total: 1 })
    const error = new Error('broken')
    queue.add('a')
    queue.add('b')
    await end('a', error)
    expect(errors).toEqual([['a', error]])
    queue.add('a')
    await end('b')
    expect(started).toEqual(['a', 'b', 'a'])
  })
})

describe('many keys', () => {
  test('no more run at once than there is room for, and each that ends lets the next one in', async () => {
    const { queue, started, end } = handQueue({ total: 2 })
    for (const key of ['a', 'b', 'c', 'd']) queue.add(key)
    expect(started).toEqual(['a', 'b'])
    await end('b')
    expect(started).toEqual(['a', 'b', 'c'])
    expect(queue.size()).toEqual({ waiting: 1, running: 2 })
  })

  test('a host that is full holds up no other', async () => {
    const { queue, started, end } = handQueue({ perGroup: 1 })
    for (const key of ['a@web-1', 'b@web-1', 'c@web-2']) queue.add(key)
    expect(started).toEqual(['a@web-1', 'c@web-2'])
    await end('c@web-2')
    expect(started).toEqual(['a@web-1', 'c@web-2'])
    await end('a@web-1')
    expect(started).toEqual(['a@web-1', 'c@web-2', 'b@web-1'])
  })

  test('what a person waits for comes before what the sweep found, also where the sweep found it first', async () => {
    const { queue, started, end } = handQueue({ total: 1 })
    queue.add('busy')
    queue.add('swept')
    queue.add('found')
    queue.add('asked', { priority: 'user' })
    queue.add('found', { priority: 'user' })
    queue.add('found')
    for (const key of ['busy', 'found', 'asked', 'swept']) await end(key)
    expect(started).toEqual(['busy', 'found', 'asked', 'swept'])
  })

  test('a key that comes again and again does not starve the others', async () => {
    const { queue, started, end } = handQueue({ total: 1 })
    queue.add('greedy')
    queue.add('a')
    queue.add('b')
    queue.add('greedy')
    await end('greedy')
    queue.add('greedy')
    await end('a')
    await end('b')
    expect(started).toEqual(['greedy', 'a', 'b', 'greedy'])
  })

  test('one that waits for its time takes no place', () => {
    const { queue, started } = handQueue({ total: 1 })
    queue.add('later', { delayMs: 1_000 })
    queue.add('now')
    expect(started).toEqual(['now'])
  })
})

describe('stopping', () => {
  test('waits for what runs, starts nothing that waits and takes nothing more', async () => {
    const { queue, started, end } = handQueue({ total: 1 })
    const stopped = vi.fn()
    queue.add('a')
    queue.add('b')
    queue.add('later', { delayMs: 10 })
    const stop = queue.stop().then(stopped)
    queue.add('c')
    await vi.advanceTimersByTimeAsync(1_000)
    expect(stopped).not.toHaveBeenCalled()
    await end('a')
    await stop
    expect(started).toEqual(['a'])
    expect(queue.size()).toEqual({ waiting: 0, running: 0 })
  })
})
