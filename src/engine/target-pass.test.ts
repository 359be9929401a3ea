import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type { Deployment } from '../rollout/deployment.ts'
import { TowlineError } from '../rollout/error.ts'
import type { Spec } from '../spec/spec.ts'
import { newTarget } from './config-pass.ts'
import { memoryStore } from './memory-store.fixture.ts'
import type { ModelHost } from './model-host.fixture.ts'
import { queued, target as targetOf } from './records.fixture.ts'
import { sweepHost } from './sweep.ts'
import { passTarget, pausedReason } from './target-pass.ts'
import { shopKey as key, shopService, shopSite, targetScene } from './target-scene.fixture.ts'

const service = shopService({ replicas: 2, order: 'start-first' })
const site = shopSite('sites/shop')

beforeEach(() => void vi.useFakeTimers({ now: Date.parse('2026-11-21T10:00:00.000Z') }))
afterEach(() => void vi.useRealTimers())

/** Names and states on the host, without the digests in them. */
function standing({ model }: ModelHost): string[] {
  return model()
    .containers.map(({ image, name, state }) => `${image.split('@')[0]} ${name.split('-').at(-1)} ${state}`)
    .sort()
}

describe('a deployment', () => {
  test('goes through its phases to active, and what was proven is the applied release', async () => {
    const { wish, pass, record, docker, changed } = targetScene()
    const id = await wish(service)
    expect(await pass()).toBeNull()
    const { applied, deployments } = await record()
    expect(deployments[0]?.result).toEqual({ kind: 'succeeded' })
    expect(deployments[0]?.history.map(({ phase }) => phase)).toEqual([
      'queued',
      'pulling_source',
      'building',
      'copying_files',
      'updating_routes',
      'health_check',
      'active',
    ])
    expect(deployments[0]?.changes).toHaveLength(6)
    expect(applied).toMatchObject({ deploymentId: id, specHash: deployments[0]?.specHash })
    expect(standing(docker)).toEqual(['shop:1 1 running', 'shop:1 2 running'])
    expect(new Set(changed)).toEqual(new Set([key]))
  })

  test('of a Site writes its release and points its links', async () => {
    const { wish, pass, result, docker } = targetScene()
    const id = await wish(site)
    await pass()
    expect(await result(id)).toEqual({ kind: 'succeeded' })
    const [folder] = Object.values(docker.model().sites)
    const [release] = folder?.releases ?? []
    expect(folder).toMatchObject({
      current: { kind: 'link', to: `releases/${release?.id}` },
      webroot: { kind: 'link', to: 'current' },
      releases: [{ complete: true }],
    })
  })

  test('replaces the release before only after its own is proven', async () => {
    const { wish, pass, docker } = targetScene()
    await wish(service)
    await pass()
    docker.acts.length = 0
    await wish({ ...service, image: 'shop:2' })
    await pass()
    expect(standing(docker)).toEqual(['shop:2 1 running', 'shop:2 2 running'])
    const verbs = docker.acts.map((act) => act.split(' ')[0])
    expect(verbs.lastIndexOf('startContainer')).toBeLessThan(verbs.indexOf('removeContainer'))
  })

  test('a pass after it does nothing', async () => {
    const { wish, pass, record, docker } = targetScene()
    await wish(service)
    await pass()
    docker.acts.length = 0
    const before = await record()
    expect(await pass()).toBeNull()
    expect(docker.acts).toEqual([])
    expect(await record()).toBe(before)
  })

  test('keeps as many proven releases of a Site as its spec says', async () => {
    const { wish, pass, docker } = targetScene()
    for (const path of ['a', 'b', 'c', 'd']) {
      await wish({ ...site, source: { files: path } })
      await pass()
    }
    const [folder] = Object.values(docker.model().sites)
    expect(folder?.releases).toHaveLength(2)
  })
})

describe('a deployment that fails', () => {
  test('says where and why with the last words of its container, and leaves nothing where there was nothing', async () => {
    const { wish, pass, result, docker } = targetScene()
    const id = await wish(service)
    docker.answer(() => ({ state: 'exited', exitCode: 3, healthLog: ['no answer'] }))
    await pass()
    expect(await result(id)).toMatchObject({
      kind: 'failed',
      phase: 'updating_routes',
      fault: 'rejected',
      reason: expect.stringMatching(/^container towline-shop-.*: it is exited with exit code 3$/),
      logTail: [expect.stringMatching(/^last words of towline-shop-/), 'health check: no answer'],
      previous: 'there was none; nothing of this attempt was left on the host',
    })
    expect(standing(docker)).toEqual([])
  })

  test('leaves the release before in place and says that it serves', async () => {
    const { wish, pass, record, result, docker } = targetScene()
    await wish(service)
    await pass()
    const { applied } = await record()
    docker.answer((name) => (name.includes(applied?.release.id ?? '?') ? {} : { state: 'restarting' }))
    const id = await wish({ ...service, image: 'shop:2' })
    await pass()
    expect(await result(id)).toMatchObject({
      kind: 'failed',
      previous: `release ${applied?.release.id} was never touched and serves`,
    })
    expect((await record()).applied).toEqual(applied)
    expect(standing(docker)).toEqual(['shop:1 1 running', 'shop:1 2 running'])
  })

  test('puts a release back that it had to stop first', async () => {
    const { wish, pass, record, result, docker } = targetScene()
    const one: Spec = { ...service, replicas: 1, order: 'stop-first' }
    await wish(one)
    await pass()
    const { applied } = await record()
    docker.answer((name) => (name.includes(applied?.release.id ?? '?') ? {} : { state: 'restarting' }))
    const id = await wish({ ...one, image: 'shop:2' })
    await pass()
    expect(await result(id)).toMatchObject({
      previous: `release ${applied?.release.id} was put back and serves`,
    })
    expect(standing(docker)).toEqual(['shop:1 1 running'])
  })

  test('says so where the release before could not be put back', async () => {
    for (const [before, previous] of [
      [null, 'there was none; what this attempt left could not be removed (the disk is full)'],
      [service, 'could not be put back yet (the disk is full); healing goes on trying'],
    ] as const) {
      const { wish, pass, result, docker } = targetScene()
      if (before) {
        await wish(before)
        await pass()
      }
      const id = await wish({ ...service, image: 'shop:2' })
      docker.refuse((act) => {
        if (act.startsWith('startContainer') || act.startsWith('removeContainer')) {
          throw new TowlineError('the disk is full', { fault: 'operator', hint: 'Make room.' })
        }
      })
      await pass()
      expect(await result(id)).toMatchObject({ reason: 'the disk is full', hint: 'Make room.', previous })
    }
  })

  test('is not tried again by itself', async () => {
    const { wish, pass, docker } = targetScene()
    await wish(service)
    docker.answer(() => ({ state: 'dead' }))
    await pass()
    docker.acts.length = 0
    expect(await pass()).toBeNull()
    expect(docker.acts).toEqual([])
  })

  test('a folder that is gone is for the repo to mend', async () => {
    const { wish, pass, result } = targetScene()
    const id = await wish({ ...site, source: { files: 'missing' } })
    await pass()
    expect(await result(id)).toMatchObject({
      phase: 'pulling_source',
      fault: 'input',
      reason: 'folder missing does not exist at commit c1',
    })
  })

  test('an error nobody foresaw is logged as a bug of ours', async () => {
    const { wish, pass, result, docker, log } = targetScene()
    const id = await wish(service)
    docker.refuse(() => {
      throw new Error('cannot read properties of undefined')
    })
    await pass()
    expect(await result(id)).toMatchObject({ fault: 'bug' })
    expect(log.lines.filter(({ level }) => level === 'error')).toMatchObject([
      { message: 'deployment failed by a bug of ours' },
    ])
  })

  test('what may pass is tried five times, not more', async () => {
    for (const [failures, kind] of [
      [4, 'succeeded'],
      [5, 'failed'],
    ] as const) {
      const { wish, pass, result, docker } = targetScene()
      const id = await wish(service)
      let count = 0
      docker.refuse((act) => {
        if (act !== 'ensureImage') return
        count += 1
        if (count <= failures) throw new TowlineError('no answer', { fault: 'temporary' })
      })
      await pass()
      expect([count, (await result(id))?.kind]).toEqual([5, kind])
    }
  })

  test('a host where something else undoes all work ends it', async () => {
    const { wish, pass, result, docker } = targetScene()
    const id = await wish(service)
    // Whatever was started is stopped again before the next look.
    const { observe } = docker.host
    docker.host.observe = (options) => {
      docker.change((model) => ({
        ...model,
        containers: model.containers.map((each) =>
          each.state === 'running' ? { ...each, state: 'exited' } : each,
        ),
      }))
      return observe(options)
    }
    docker.answer(() => ({ state: 'running' }))
    await pass()
    expect(await result(id)).toMatchObject({ kind: 'failed', fault: 'operator' })
  })
})

describe('a process that ends', () => {
  test('after any act leaves a deployment the next one completes, with exactly its release', async () => {
    const whole = targetScene()
    await whole.wish(service)
    await whole.pass()
    await whole.wish({ ...service, image: 'shop:2' })
    whole.docker.acts.length = 0
    await whole.pass()
    const actCount = whole.docker.acts.length
    expect(actCount).toBeGreaterThan(7)

    for (let cut = 0; cut < actCount; cut += 1) {
      const { wish, pass, result, record, docker } = targetScene()
      await wish(service)
      await pass()
      const id = await wish({ ...service, image: 'shop:2' })
      const process = new AbortController()
      let left = cut
      docker.refuse(() => {
        left -= 1
        if (left >= 0) return
        // The end of a process: nothing is acted on and nothing is stored after it.
        process.abort(new TowlineError('stopping', { fault: 'cancelled' }))
        throw process.signal.reason
      })
      await pass(process.signal).catch(() => {})
      docker.refuse(() => {})
      await pass()
      expect(await result(id)).toEqual({ kind: 'succeeded' })
      expect(standing(docker)).toEqual(['shop:2 1 running', 'shop:2 2 running'])
      expect((await record()).applied?.deploymentId).toBe(id)
    }
  })

  test('is told in the history of what it left', async () => {
    const { wish, pass, record, docker } = targetScene()
    await wish(service)
    const process = new AbortController()
    docker.refuse(() => process.abort(new TowlineError('stopping', { fault: 'cancelled' })))
    await expect(pass(process.signal)).rejects.toMatchObject({ fault: 'cancelled' })
    expect((await record()).deployments[0]).toMatchObject({ result: null, resumedCount: 0 })
    docker.refuse(() => {})
    await pass()
    expect((await record()).deployments[0]).toMatchObject({
      result: { kind: 'succeeded' },
      resumedCount: 1,
    })
  })

  test('leaves what was pinned: the next one goes on with it, though the tag moved meanwhile', async () => {
    const { wish, pass, record, docker } = targetScene()
    const id = await wish(service)
    const process = new AbortController()
    docker.refuse(() => process.abort(new TowlineError('stopping', { fault: 'cancelled' })))
    await expect(pass(process.signal)).rejects.toMatchObject({ fault: 'cancelled' })
    docker.refuse(() => {})
    docker.host.resolveImage = async (reference) => ({ reference, pinned: `${reference}@sha256:moved` })
    await pass()
    expect((await record()).applied).toMatchObject({
      deploymentId: id,
      release: { image: { pinned: 'shop:1@sha256:aa' } },
    })
  })
})

describe('several at once', () => {
  test('the newest wish is deployed; those before it are superseded and name it', async () => {
    const { wish, pass, result, docker } = targetScene()
    const [first, second, third] = [
      await wish(service),
      await wish({ ...service, image: 'shop:2' }),
      await wish({ ...service, image: 'shop:3' }),
    ]
    await pass()
    expect(await result(first)).toEqual({ kind: 'superseded', phase: 'queued', by: third })
    expect(await result(second)).toEqual({ kind: 'superseded', phase: 'queued', by: third })
    expect(await result(third)).toEqual({ kind: 'succeeded' })
    expect(standing(docker)).toEqual(['shop:3 1 running', 'shop:3 2 running'])
  })

  test('a target another worker holds is left to it', async () => {
    const { wish, store, parts, docker } = targetScene()
    await wish(service)
    const claim = await store.claimTarget(key, { holder: 'other', ttlMs: 60_000 })
    const { signal } = new AbortController()
    expect(await passTarget(parts, key, { holder: 'worker', signal })).toEqual({ delayMs: 5_000 })
    expect(docker.acts).toEqual([])
    if (claim) await store.releaseClaim(claim)
  })

  test('the claim is free again after a pass, also after one that failed', async () => {
    const { wish, pass, store, docker } = targetScene()
    await wish(service)
    await pass()
    docker.host.observe = () => Promise.reject(new TowlineError('no answer', { fault: 'temporary' }))
    await expect(pass()).rejects.toThrow('no answer')
    expect(await store.claimTarget(key, { holder: 'other', ttlMs: 1 })).not.toBeNull()
  })

  test('a worker that lost its claim stores nothing more', async () => {
    const inner = memoryStore()
    const { wish, pass, docker, result } = targetScene(inner)
    const id = await wish(service)
    docker.refuse((act) => {
      if (act !== 'ensureNetwork') return
      vi.setSystemTime(Date.now() + 120_000)
      void inner.claimTarget(key, { holder: 'other', ttlMs: 60_000 })
    })
    await expect(pass()).rejects.toMatchObject({ fault: 'stale' })
    expect(await result(id)).toBeNull()
  })
})

describe('what waits', () => {
  test('a dependency that is not there yet is waited for, and the deployment says so', async () => {
    const { wish, pass, record, store } = targetScene()
    await wish({ ...service, dependsOn: ['db'] })
    await store.updateTarget('acme/config:db@web-1', () => ({
      ...newTarget('acme/config:db@web-1', { ...targetOf('shop'), app: 'db' }),
      desired: { commit: 'c1', specHash: 'db-1', spec: { spec: service, path: '', line: 1, hash: '' } },
    }))
    expect(await pass()).toEqual({ delayMs: expect.any(Number) })
    expect((await record()).deployments[0]).toMatchObject({ phase: 'queued', message: 'waiting for db' })
  })

  test('a dependency that failed refuses it', async () => {
    const { wish, pass, result, store } = targetScene()
    const id = await wish({ ...service, dependsOn: ['db'] })
    const failed: Deployment = {
      ...queued('db'),
      phase: 'failed',
      result: {
        kind: 'failed',
        phase: 'building',
        fault: 'input',
        reason: '',
        hint: '',
        logTail: [],
        previous: '',
      },
    }
    await store.updateTarget('acme/config:db@web-1', () => ({
      ...newTarget('acme/config:db@web-1', { ...targetOf('shop'), app: 'db' }),
      desired: { commit: 'c1', specHash: 'db-1', spec: { spec: service, path: '', line: 1, hash: '' } },
      deployments: [failed],
    }))
    await pass()
    expect(await result(id)).toMatchObject({
      kind: 'failed',
      phase: 'queued',
      reason: 'depends on db, which failed',
    })
  })

  test('a pause holds what is queued', async () => {
    const { wish, pass, record, docker } = targetScene()
    await wish({ ...service, paused: { reason: 'migration', until: null } })
    expect(await pass()).toBeNull()
    expect((await record()).deployments[0]).toMatchObject({ phase: 'queued', message: 'paused: migration' })
    expect(docker.acts).toEqual([])
  })

  test('a pause ends at its time', () => {
    const paused = { reason: 'migration', until: '2026-12-01T00:00:00.000Z' }
    const untilMs = Date.parse(paused.until)
    expect(pausedReason(paused, untilMs - 1)).toBe('migration')
    expect(pausedReason(paused, untilMs)).toBeNull()
    expect(pausedReason({ ...paused, until: null }, untilMs)).toBe('migration')
    expect(pausedReason(null, untilMs)).toBeNull()
  })

  test('deployments to a host that left server.yaml are cancelled', async () => {
    const { wish, result, parts } = targetScene()
    const id = await wish(service)
    const { signal } = new AbortController()
    await passTarget({ ...parts, hosts: new Map() }, key, { holder: 'worker', signal })
    expect(await result(id)).toMatchObject({
      kind: 'cancelled',
      reason: 'host web-1 is not in server.yaml any more',
    })
  })

  test('an unknown target is nothing to do', async () => {
    const { pass } = targetScene()
    expect(await pass()).toBeNull()
  })
})

describe('healing', () => {
  async function drifted() {
    const made = targetScene()
    await made.wish(service)
    await made.pass()
    made.docker.acts.length = 0
    made.docker.change((model) => ({
      ...model,
      containers: model.containers.map((each, index) => (index === 0 ? { ...each, state: 'exited' } : each)),
    }))
    return made
  }

  test('puts right what drifted and nothing else, and says what it was', async () => {
    const { pass, record, docker } = await drifted()
    expect(await pass()).toBeNull()
    expect(docker.acts).toEqual([expect.stringMatching(/^startContainer .*-1$/)])
    expect((await record()).healing).toMatchObject({
      failureCount: 0,
      lastDrift: [{ field: 'state', expected: 'running', found: 'exited' }],
      lastHealedAt: expect.any(String),
    })
    expect((await record()).deployments).toHaveLength(1)
  })

  test('backs off while it fails, and goes on after', async () => {
    const { pass, record, docker } = await drifted()
    docker.refuse(() => {
      throw new TowlineError('no', { fault: 'operator' })
    })
    expect(await pass()).toEqual({ delayMs: 2_000 })
    expect((await record()).healing).toMatchObject({ failureCount: 1, lastHealedAt: null })
    expect(await pass()).toEqual({ delayMs: 6_000 })
    docker.refuse(() => {})
    expect(await pass()).toBeNull()
    expect((await record()).healing).toMatchObject({ failureCount: 0 })
    expect(standing(docker)).toEqual(['shop:1 1 running', 'shop:1 2 running'])
  })

  test('is due in a sweep, which acts on nothing itself', async () => {
    const { parts, docker } = await drifted()
    const { signal } = new AbortController()
    expect(await sweepHost(parts, docker.host, { deep: true, signal })).toEqual({
      host: 'web-1',
      targetCount: 1,
      due: [
        {
          target: key,
          reason: 'the host drifted from the applied release',
          drift: [expect.objectContaining({ field: 'state', found: 'exited' })],
        },
      ],
    })
    expect(docker.acts).toEqual([])
  })
})

describe('a sweep', () => {
  test('of a host as it should be finds nothing due', async () => {
    const { wish, pass, parts, docker } = targetScene()
    await wish(service)
    await pass()
    const { signal } = new AbortController()
    const found = await sweepHost(parts, docker.host, { deep: false, signal })
    expect(found).toEqual({ host: 'web-1', targetCount: 1, due: [] })
  })

  test('of a host nothing is known of does not even ask it', async () => {
    const { parts, docker } = targetScene()
    docker.host.observe = () => expect.unreachable()
    const { signal } = new AbortController()
    expect(await sweepHost(parts, docker.host, { deep: true, signal })).toEqual({
      host: 'web-1',
      targetCount: 0,
      due: [],
    })
  })

  test('of a host that is away says so and does not take that for drift', async () => {
    const { wish, parts, docker, log } = targetScene()
    await wish(service)
    docker.host.observe = () =>
      Promise.reject(new TowlineError('no answer', { fault: 'temporary', hint: 'Is it up?' }))
    const { signal } = new AbortController()
    expect(await sweepHost(parts, docker.host, { deep: true, signal })).toEqual({
      host: 'web-1',
      error: 'no answer',
      hint: 'Is it up?',
    })
    expect(log.lines).toMatchObject([{ level: 'warn', message: 'a host could not be swept' }])
  })

  test('reads the files of Sites only where there are some', async () => {
    const asked: (boolean | undefined)[] = []
    for (const spec of [service, site]) {
      const { wish, pass, parts, docker } = targetScene()
      await wish(spec)
      await pass()
      const { observe } = docker.host
      docker.host.observe = (options) => {
        asked.push(options.sites)
        return observe(options)
      }
      await sweepHost(parts, docker.host, { deep: true, signal: new AbortController().signal })
    }
    expect(asked).toEqual([false, true])
  })
})
