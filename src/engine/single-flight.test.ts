import { expect, test } from 'vitest'
import { singleFlight } from './single-flight.ts'

/** Work that a test ends by hand, one run after another. */
function handWork() {
  const runs: { key: string; force: boolean; end: (value: string) => void; fail: (error: Error) => void }[] =
    []
  const work = (key: string, force: boolean) =>
    new Promise<string>((resolve, reject) => runs.push({ key, force, end: resolve, fail: reject }))
  return { runs, flights: singleFlight(work) }
}

test('work for a key never runs twice at once, and all who ask meanwhile share one more run', async () => {
  const { runs, flights } = handWork()
  const first = flights.run('a')
  const second = flights.run('a')
  const third = flights.run('a')
  expect(runs).toHaveLength(1)
  runs[0]?.end('one')
  expect(await first).toBe('one')
  await until(() => runs.length === 2)
  runs[1]?.end('two')
  expect(await Promise.all([second, third])).toEqual(['two', 'two'])
  await flights.idle()
  expect(runs).toHaveLength(2)
})

test('who asks while the shared run is under way gets a run that begins after it', async () => {
  const { runs, flights } = handWork()
  void flights.run('a')
  const shared = flights.run('a')
  runs[0]?.end('one')
  await until(() => runs.length === 2)
  const late = flights.run('a')
  expect(runs).toHaveLength(2)
  runs[1]?.end('two')
  expect(await shared).toBe('two')
  await until(() => runs.length === 3)
  runs[2]?.end('three')
  expect(await late).toBe('three')
})

test('different keys do not wait for one another', () => {
  const { runs, flights } = handWork()
  void flights.run('a')
  void flights.run('b')
  expect(runs.map(({ key }) => key)).toEqual(['a', 'b'])
})

test('"force" of any who share a run holds for that run, and for no later one', async () => {
  const { runs, flights } = handWork()
  void flights.run('a')
  void flights.run('a')
  void flights.run('a', { force: true })
  void flights.run('a')
  runs[0]?.end('')
  await until(() => runs.length === 2)
  void flights.run('a')
  runs[1]?.end('')
  await until(() => runs.length === 3)
  expect(runs.map(({ force }) => force)).toEqual([false, true, false])
})

test('a run that fails tells its own callers and does not keep the next one from running', async () => {
  const { runs, flights } = handWork()
  const first = flights.run('a')
  const second = flights.run('a')
  runs[0]?.fail(new Error('no answer'))
  await expect(first).rejects.toThrow('no answer')
  await until(() => runs.length === 2)
  runs[1]?.end('two')
  expect(await second).toBe('two')
})

test('it is idle only once the run that was asked for meanwhile has ended too, well or not', async () => {
  const { runs, flights } = handWork()
  let isIdle = false
  flights.run('a').catch(() => {})
  flights.run('a').catch(() => {})
  const idle = flights.idle().then(() => {
    isIdle = true
  })
  runs[0]?.end('')
  await until(() => runs.length === 2)
  expect(isIdle).toBe(false)
  runs[1]?.fail(new Error('no answer'))
  await idle
  expect(isIdle).toBe(true)
})

/** Lets promises go on until the condition holds; bounded, so that a test fails instead of hanging. */
async function until(holds: () => boolean): Promise<void> {
  for (let turn = 0; turn < 100 && !holds(); turn += 1) await Promise.resolve()
  expect(holds()).toBe(true)
}
