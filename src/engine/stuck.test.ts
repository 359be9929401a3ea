import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { passTarget } from './target-pass.ts'
import { shopKey, shopService, targetScene } from './target-scene.fixture.ts'

beforeEach(() => void vi.useFakeTimers({ now: Date.parse('2026-11-21T10:00:00.000Z') }))
afterEach(() => void vi.useRealTimers())

type Scene = ReturnType<typeof targetScene>

async function passStuck({ parts }: Scene, stuck: 'deadline' | 'progress' | 'claim') {
  const passing = passTarget(parts, shopKey, {
    holder: 'worker',
    signal: new AbortController().signal,
    stuck,
  })
  passing.catch(() => {})
  for (let turn = 0; turn < 40; turn += 1) await vi.advanceTimersByTimeAsync(1_000)
  return passing
}

/** A second deployment that hangs in its wait for readiness; the pass that works on it is ended as the watch does. */
async function hanging(): Promise<{ scene: Scene; id: string }> {
  const scene = targetScene()
  await scene.wish(shopService())
  await scene.pass()
  scene.docker.answer(() => ({ health: 'starting' }))
  scene.docker.host.checkHealth = async () => false
  const id = await scene.wish(shopService({ image: 'shop:2' }))
  const stop = new AbortController()
  const passing = scene.pass(stop.signal)
  passing.catch(() => {})
  await vi.advanceTimersByTimeAsync(20_000)
  stop.abort(new Error('ended by the watch'))
  await passing.catch(() => {})
  expect((await scene.record()).deployments.at(-1)?.result).toBeNull()
  scene.docker.answer(() => ({}))
  scene.docker.host.checkHealth = async () => true
  return { scene, id }
}

test.each([
  ['deadline', 'the limit of a whole deployment', 'stuckDeadline'],
  ['progress', 'did not get on', 'stuckProgress'],
  ['claim', 'nobody works on it', 'stuckClaim'],
] as const)(
  'a deployment stuck by its %s ends with that reason, and the release before is back',
  async (stuck, words, counter) => {
    const { scene, id } = await hanging()
    expect(await passStuck(scene, stuck)).toEqual({ delayMs: 0 })
    expect(await scene.result(id)).toMatchObject({
      kind: 'failed',
      fault: 'rejected',
      stuck,
      reason: expect.stringContaining(words),
      previous: expect.stringMatching(/was put back and serves|was never touched and serves/),
    })
    expect(scene.containers()).toEqual(['shop:1'])
    expect(scene.docker.model().containers.map(({ state }) => state)).toEqual(['running'])
    expect(scene.statistics.read()).toMatchObject({ [counter]: 1, deploymentsFailed: 1 })
  },
)

test('where it has ended meanwhile there is nothing to end', async () => {
  const scene = targetScene()
  await scene.wish(shopService())
  await scene.pass()
  const before = await scene.record()
  await passStuck(scene, 'progress')
  expect(await scene.record()).toEqual(before)
})

test('what brings Towline down each time is given up after ten times', async () => {
  const { scene, id } = await hanging()
  await scene.change({
    deployments: (await scene.record()).deployments.map((each) =>
      each.id === id ? { ...each, resumedCount: 10 } : each,
    ),
  })
  await scene.pass()
  expect(await scene.result(id)).toMatchObject({
    kind: 'failed',
    fault: 'operator',
    reason: expect.stringContaining('Towline ended 10 times'),
  })
  expect(scene.containers()).toEqual(['shop:1'])
})

test('time in which nobody worked on it does not count against its deadline', async () => {
  const { scene, id } = await hanging()
  await vi.advanceTimersByTimeAsync(24 * 3_600_000)
  await scene.pass()
  expect(await scene.result(id)).toEqual({ kind: 'succeeded' })
})
