import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { TowlineError } from '../rollout/error.ts'
import { shopService, shopSite, targetScene } from './target-scene.fixture.ts'

beforeEach(() => void vi.useFakeTimers({ now: Date.parse('2026-11-21T10:00:00.000Z') }))
afterEach(() => void vi.useRealTimers())

type Scene = ReturnType<typeof targetScene>

/** From now on only containers of what is applied answer. */
async function breakTheRest({ docker, record }: Scene): Promise<void> {
  const applied = (await record()).applied?.release.containers.map(({ name }) => name) ?? []
  docker.answer((name) => (applied.includes(name) ? {} : { state: 'restarting' }))
}

describe('a first deployment that failed', () => {
  test('leaves no volume it made', async () => {
    const scene = targetScene()
    await breakTheRest(scene)
    await scene.wish(shopService({}, ['data', 'cache']))
    await scene.pass()
    expect([scene.containers(), scene.volumes()]).toEqual([[], []])
  })

  test('leaves a volume that was there before it', async () => {
    const scene = targetScene()
    await scene.wish(shopService({}, ['data']))
    await scene.pass()
    await scene.tell()
    await scene.leave()
    await scene.pass()
    expect(scene.volumes()).toEqual(['data'])
    await breakTheRest(scene)
    const id = await scene.wish(shopService({ image: 'shop:2' }, ['data', 'cache']))
    await scene.pass()
    expect(await scene.result(id)).toMatchObject({ kind: 'failed' })
    expect(scene.volumes()).toEqual(['data'])
  })
})

describe('an update that failed', () => {
  test('leaves none of its own volumes, and those of the release that serves', async () => {
    const scene = targetScene()
    await scene.wish(shopService({}, ['data']))
    await scene.pass()
    await breakTheRest(scene)
    const id = await scene.wish(shopService({ image: 'shop:2' }, ['data', 'cache']))
    await scene.pass()
    expect(await scene.result(id)).toMatchObject({
      kind: 'failed',
      previous: expect.stringContaining('serves'),
    })
    expect([scene.containers(), scene.volumes()]).toEqual([['shop:1'], ['data']])
  })

  test('leaves no release directory, and those a rollback needs', async () => {
    const scene = targetScene()
    for (const files of ['a', 'b']) {
      await scene.wish(shopSite(files))
      await scene.pass()
    }
    const proven = scene.releases()
    expect(proven).toHaveLength(2)
    scene.docker.refuse((act) => {
      if (act.startsWith('pointLinks')) throw new TowlineError('the disk is full', { fault: 'operator' })
    })
    const id = await scene.wish(shopSite('c'))
    await scene.pass()
    expect(await scene.result(id)).toMatchObject({ kind: 'failed' })
    expect(scene.releases()).toEqual(proven)
  })

  test('to a Site leaves no folder where a Service serves', async () => {
    const scene = targetScene()
    await scene.wish(shopService())
    await scene.pass()
    await breakTheRest(scene)
    await scene.wish(shopSite('a'))
    await scene.pass()
    expect([scene.containers(), scene.docker.model().sites]).toEqual([['shop:1'], {}])
  })

  test('is told as failed though what it left could not be removed', async () => {
    const scene = targetScene()
    await scene.wish(shopService({}, ['data']))
    await scene.pass()
    await breakTheRest(scene)
    scene.docker.host.inventory = () => Promise.reject(new TowlineError('no answer', { fault: 'temporary' }))
    const id = await scene.wish(shopService({ image: 'shop:2' }, ['data', 'cache']))
    await scene.pass()
    expect(await scene.result(id)).toMatchObject({ previous: expect.stringContaining('serves') })
    expect(scene.containers()).toEqual(['shop:1'])
    expect(scene.log.lines.at(-1)).toMatchObject({ level: 'warn' })
  })
})

describe('a deployment that was superseded', () => {
  /** The one before stands still in the middle; the newer one is wished meanwhile. */
  async function overtaken(scene: Scene, before: Parameters<Scene['wish']>[0]): Promise<void> {
    const process = new AbortController()
    await scene.wish(before)
    scene.docker.refuse((act) => {
      if (!/^(startContainer|pointLinks)/.test(act)) return
      process.abort(new TowlineError('a newer revision took over', { fault: 'cancelled' }))
      throw process.signal.reason
    })
    await expect(scene.pass(process.signal)).rejects.toMatchObject({ fault: 'cancelled' })
    scene.docker.refuse(() => {})
  }

  test.each(['succeeds', 'fails'])('leaves no volume once the newer one %s', async (end) => {
    const scene = targetScene()
    await scene.wish(shopService({}, ['data']))
    await scene.pass()
    await overtaken(scene, shopService({ image: 'shop:2' }, ['data', 'cache']))
    expect(scene.volumes().sort()).toEqual(['cache', 'data'])
    if (end === 'fails') await breakTheRest(scene)
    await scene.wish(shopService({ image: 'shop:3' }, ['data']))
    await scene.pass()
    expect(scene.containers()).toEqual([end === 'fails' ? 'shop:1' : 'shop:3'])
    expect(scene.volumes()).toEqual(['data'])
  })

  test('leaves no release directory once the newer one ends', async () => {
    const scene = targetScene()
    await scene.wish(shopSite('a'))
    await scene.pass()
    await overtaken(scene, shopSite('b'))
    expect(scene.releases()).toHaveLength(2)
    const [proven] = scene.releases()
    await scene.wish(shopSite('c'))
    await scene.pass()
    expect(scene.releases()).toHaveLength(2)
    expect(scene.releases()[0]).toEqual(proven)
    expect((await scene.record()).applied?.release.id).toBe(scene.releases()[1]?.id)
  })
})
