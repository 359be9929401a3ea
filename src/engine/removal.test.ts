import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { TowlineError } from '../rollout/error.ts'
import { newReport } from './config-pass.ts'
import { revisionOf } from './records.fixture.ts'
import { sweepHost } from './sweep.ts'
import { passTarget } from './target-pass.ts'
import { shopKey, shopService, shopSite, targetScene } from './target-scene.fixture.ts'

beforeEach(() => void vi.useFakeTimers({ now: Date.parse('2026-11-21T10:00:00.000Z') }))
afterEach(() => void vi.useRealTimers())

const { signal } = new AbortController()

/** A Service that runs, with its past told to GitHub. */
async function running(...volumes: string[]) {
  const scene = targetScene()
  await scene.wish(shopService({ stopGraceMs: 7_000 }, volumes))
  await scene.pass()
  await scene.tell()
  scene.docker.acts.length = 0
  return scene
}

describe('an app that left the repo', () => {
  test('is taken off its host once it is due, and its record goes with it', async () => {
    const { leave, pass, store, containers, statistics, log } = await running('data')
    await leave()
    expect(await pass()).toBeNull()
    expect(containers()).toEqual([])
    expect(await store.readTarget(shopKey)).toBeNull()
    expect(statistics.read().targetsPruned).toBe(1)
    expect(log.lines.filter(({ level }) => level === 'info').at(-1)).toMatchObject({
      message: `removed ${shopKey}`,
    })
  })

  test('of a Site leaves no folder behind', async () => {
    const { wish, tell, leave, pass, store, docker } = targetScene()
    await wish(shopSite('sites/shop'))
    await pass()
    await tell()
    await leave()
    await pass()
    expect(docker.model().sites).toEqual({})
    expect(await store.readTarget(shopKey)).toBeNull()
  })

  test('is stopped with its own grace', async () => {
    const { leave, pass, docker } = await running()
    const graces: number[] = []
    const { apply } = docker.host
    docker.host.apply = (step, options) => {
      if (step.do === 'removeContainer') graces.push(step.graceMs)
      return apply(step, options)
    }
    await leave()
    await pass()
    expect(graces).toEqual([7_000])
  })

  test('keeps its volumes, unless the repo says that they go too', async () => {
    const kept = await running('data')
    await kept.leave()
    await kept.pass()
    expect(kept.volumes()).toEqual(['data'])
    const lost = await running('data', 'cache')
    lost.docker.change((model) => ({
      ...model,
      volumeLabels: { ...model.volumeLabels, 'blog-data': { 'towline.app': 'blog' } },
    }))
    await lost.leave({ volumes: true })
    await lost.pass()
    expect(lost.volumes()).toEqual(['data'])
    expect(Object.keys(lost.docker.model().volumeLabels)).toEqual(['blog-data'])
  })

  test('keeps running until it is due, when the sweep finds it too', async () => {
    const { leave, pass, containers, parts, docker } = await running()
    await leave({ delayMs: 3_600_000 })
    const before = await pass()
    expect(before?.delayMs).toBeGreaterThan(3_500_000)
    expect(containers()).toEqual(['shop:1'])
    expect(await sweepHost(parts, docker.host, { deep: false, signal })).toMatchObject({ due: [] })
    vi.setSystemTime(Date.now() + 3_600_000)
    expect(await sweepHost(parts, docker.host, { deep: false, signal })).toMatchObject({
      due: [{ target: shopKey, reason: 'the app left the config repo' }],
    })
    expect(await pass()).toBeNull()
    expect(containers()).toEqual([])
  })

  test('keeps running where it has no tombstone', async () => {
    const { leave, pass, docker, record } = await running()
    await leave({ delayMs: null })
    expect(await pass()).toBeNull()
    expect(docker.acts).toEqual([])
    expect((await record()).applied).not.toBeNull()
  })

  test('is deployed anew, not removed further, where the repo takes it back meanwhile', async () => {
    const { leave, wish, pass, result, docker, volumes, containers, record } = await running('data')
    await leave({ volumes: true })
    let id = ''
    docker.refuse((act) => {
      if (act.startsWith('removeContainer') && id === '') {
        id = 'on its way'
        void wish(shopService({}, ['data'])).then((made) => {
          id = made
        })
      }
    })
    expect(await pass()).toEqual({ delayMs: 0 })
    expect(volumes()).toEqual(['data'])
    expect((await record()).desired).not.toBeNull()
    await pass()
    expect(await result(id)).toEqual({ kind: 'succeeded' })
    expect(containers()).toEqual(['shop:1'])
  })

  test('is removed whole though the process ends after any act', async () => {
    const whole = await running('data')
    await whole.leave({ volumes: true })
    await whole.pass()
    const actCount = whole.docker.acts.length
    expect(actCount).toBe(2)
    for (let cut = 0; cut < actCount; cut += 1) {
      const { leave, pass, store, docker, containers, volumes, statistics } = await running('data')
      await leave({ volumes: true })
      const process = new AbortController()
      let left = cut
      docker.refuse(() => {
        left -= 1
        if (left >= 0) return
        process.abort(new TowlineError('stopping', { fault: 'cancelled' }))
        throw process.signal.reason
      })
      await expect(pass(process.signal)).rejects.toMatchObject({ fault: 'cancelled' })
      expect(await store.readTarget(shopKey)).not.toBeNull()
      docker.refuse(() => {})
      expect(await pass()).toBeNull()
      expect([containers(), volumes()]).toEqual([[], []])
      expect(await store.readTarget(shopKey)).toBeNull()
      expect(statistics.read().targetsPruned).toBe(1)
    }
  })

  test('keeps its record while something of it stays on the host, and says what', async () => {
    const { leave, pass, store, docker, log } = await running('data')
    const [volume = ''] = Object.keys(docker.model().volumeLabels)
    await leave({ volumes: true })
    const { apply } = docker.host
    docker.host.apply = async (step, options) => {
      if (step.do !== 'removeVolume') return apply(step, options)
    }
    expect(await pass()).toBeNull()
    expect(await store.readTarget(shopKey)).not.toBeNull()
    expect(log.lines.at(-1)).toMatchObject({
      level: 'warn',
      fields: { left: [`remove volume ${volume} and what is in it`] },
    })
    docker.host.apply = apply
    await pass()
    expect(await store.readTarget(shopKey)).toBeNull()
  })
})

describe('the record of an app that was removed', () => {
  test('stays until GitHub was told of its deployments, with nothing applied', async () => {
    const { leave, pass, tell, record, store, containers } = await running()
    await leave()
    const { deployments } = await record()
    await store.updateTarget(shopKey, (stored) => ({
      ...(stored ?? expect.unreachable()),
      reports: { [deployments[0]?.id ?? '']: newReport },
    }))
    expect(await pass()).toEqual({ delayMs: 30_000 })
    expect(containers()).toEqual([])
    expect(await record()).toMatchObject({ applied: null, deployments: [{ id: 'd-1' }] })
    await tell()
    expect(await pass()).toBeNull()
    expect(await store.readTarget(shopKey)).toBeNull()
  })

  test('stays until the run over all that counts its deployments was told too', async () => {
    const { leave, pass, record, store } = await running()
    await leave()
    const { deployments } = await record()
    const tellRevision = (done: boolean) =>
      store.updateRepo('acme/config', () => ({
        version: 2,
        repo: 'acme/config',
        branch: 'main',
        head: 'c1',
        revisions: [revisionOf('c1', deployments, { report: { ...newReport, done } })],
      }))
    await tellRevision(false)
    expect(await pass()).toEqual({ delayMs: 30_000 })
    await tellRevision(true)
    expect(await pass()).toBeNull()
    expect(await store.readTarget(shopKey)).toBeNull()
  })

  test('waits for nobody where no check runs are written, save for one already begun', async () => {
    const { leave, change, record, store, parts } = await running()
    await leave()
    const [id = ''] = Object.keys((await record()).reports)
    const silent = { ...parts, isReporting: false }
    await change({ reports: { [id]: { ...newReport, createIntended: true, checkRunId: 7 } } })
    expect(await passTarget(silent, shopKey, { holder: 'cli', signal })).toBeNull()
    expect(await store.readTarget(shopKey)).not.toBeNull()
    await change({ reports: { [id]: newReport } })
    expect(await passTarget(silent, shopKey, { holder: 'cli', signal })).toBeNull()
    expect(await store.readTarget(shopKey)).toBeNull()
  })

  test('is forgotten where its host left server.yaml, once it is due', async () => {
    const { leave, store, parts, log } = await running()
    const hostless = { ...parts, hosts: new Map() }
    await leave({ delayMs: 1_000 })
    await passTarget(hostless, shopKey, { holder: 'worker', signal })
    expect(await store.readTarget(shopKey)).not.toBeNull()
    vi.setSystemTime(Date.now() + 1_000)
    await passTarget(hostless, shopKey, { holder: 'worker', signal })
    expect(await store.readTarget(shopKey)).toBeNull()
    expect(log.lines.at(-1)).toMatchObject({ level: 'warn' })
  })
})

describe('an open deployment of an app that left', () => {
  test('is cancelled where it had not started, and says with which commit', async () => {
    const { wish, leave, pass, result, store, docker } = targetScene()
    await store.updateRepo('acme/config', () => ({
      version: 2,
      repo: 'acme/config',
      branch: 'main',
      head: 'c0ffeec0ffeec0ffee',
      revisions: [],
    }))
    const ids = [await wish(shopService()), await wish(shopService({ image: 'shop:2' }))]
    await leave({ delayMs: null })
    expect(await pass()).toEqual({ delayMs: 0 })
    for (const id of ids) {
      expect(await result(id)).toEqual({
        kind: 'cancelled',
        phase: 'queued',
        reason: 'the app left the config repo at commit c0ffeec0ffee',
      })
    }
    expect(docker.acts).toEqual([])
  })

  test('ends first where it had started, and only then the app is removed', async () => {
    const { wish, leave, tell, pass, result, containers, docker, store } = targetScene()
    const id = await wish(shopService())
    const process = new AbortController()
    docker.refuse(() => process.abort(new TowlineError('stopping', { fault: 'cancelled' })))
    await expect(pass(process.signal)).rejects.toMatchObject({ fault: 'cancelled' })
    docker.refuse(() => {})
    await leave()
    await pass()
    expect(await result(id)).toEqual({ kind: 'succeeded' })
    expect(containers()).toEqual(['shop:1'])
    await tell()
    await pass()
    expect(containers()).toEqual([])
    expect(await store.readTarget(shopKey)).toBeNull()
  })
})
