import fc from 'fast-check'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { TowlineError } from '../rollout/error.ts'
import type { ContainerState } from '../rollout/observed.ts'
import type { Spec } from '../spec/spec.ts'
import type { DockerHost, Store } from './ports.ts'
import { passTarget } from './target-pass.ts'
import { shopKey, shopService, shopSite, targetScene } from './target-scene.fixture.ts'

/*
 * Any order of pushes, faults, kills and harm done by hand, on a host that is a plain value. After each history the
 * disturbances end, a few calm passes follow, and then everything must be as it should be.
 */

beforeEach(() => void vi.useFakeTimers({ now: Date.parse('2026-11-21T10:00:00.000Z') }))
afterEach(() => void vi.useRealTimers())

type Happening =
  /** The repo wants this image, whose containers answer or not. */
  | { do: 'push'; image: number; answers: boolean }
  /** One pass; every call from the n-th on meets a dead process, or the n-th alone fails. */
  | { do: 'pass'; ends: 'well' | 'killed' | 'failing'; afterCalls: number }
  | { do: 'harm'; harm: 'remove' | 'stop' | 'kill all' | 'relabel' | 'stray' | 'unlink' | 'damage' }
  | { do: 'wait'; minutes: number }

const anyHappening = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('push' as const),
      image: fc.integer({ min: 1, max: 4 }),
      answers: fc.boolean(),
    }),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant('pass' as const),
      ends: fc.constantFrom('well' as const, 'killed' as const, 'killed' as const, 'failing' as const),
      afterCalls: fc.nat({ max: 40 }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('harm' as const),
      harm: fc.constantFrom(
        ...(['remove', 'stop', 'kill all', 'relabel', 'stray', 'unlink', 'damage'] as const),
      ),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant('wait' as const), minutes: fc.integer({ min: 1, max: 90 }) }),
  },
)

class Killed extends Error {}

/** The same things through a process that dies, or stumbles once, at its n-th call to the outside. */
function processOf(
  parts: { store: Store; host: DockerHost },
  { ends, afterCalls }: { ends: 'well' | 'killed' | 'failing'; afterCalls: number },
) {
  let callCount = 0
  function through<T extends object>(target: T): T {
    return new Proxy(target, {
      get(object, name) {
        const value = Reflect.get(object, name)
        if (typeof value !== 'function') return value
        return async (...args: unknown[]) => {
          callCount += 1
          if (ends === 'killed' && callCount > afterCalls) throw new Killed('the process is dead')
          if (ends === 'failing' && callCount === afterCalls) {
            throw new TowlineError('refused on purpose', { fault: 'temporary' })
          }
          const outcome = await Reflect.apply(value, object, args)
          // Done, and nobody heard of it.
          if (ends === 'killed' && callCount === afterCalls) throw new Killed('the process is dead')
          return outcome
        }
      },
    })
  }
  return { store: through(parts.store), host: through(parts.host) }
}

type Scene = ReturnType<typeof targetScene>

function play(kind: 'Service' | 'Site') {
  const scene: Scene = targetScene()
  const answering = new Map<string, boolean>()
  scene.docker.answer((name) => {
    const image =
      scene.docker
        .model()
        .containers.find((each) => each.name === name)
        ?.image.split('@')[0] ?? ''
    return answering.get(image) === false ? { state: 'exited', exitCode: 1 } : {}
  })

  function specOf(image: number): Spec {
    return kind === 'Service'
      ? shopService({ image: `shop:${image}`, replicas: 2 })
      : shopSite(`sites/v${image}`)
  }

  async function push(image: number, answers: boolean) {
    const found = answering.get(`shop:${image}`)
    if (found === undefined) answering.set(`shop:${image}`, answers)
    const spec = specOf(image)
    const { desired, attempted } = await scene.record()
    const same = JSON.stringify(desired?.spec.spec) === JSON.stringify(spec)
    if (same && attempted !== undefined && desired) return
    await scene.wish(spec)
  }

  async function pass(how: { ends: 'well' | 'killed' | 'failing'; afterCalls: number }) {
    const { store, host } = processOf({ store: scene.store, host: scene.docker.host }, how)
    const parts = { ...scene.parts, store, hosts: new Map([[host.name, host]]) }
    const passing = passTarget(parts, shopKey, { holder: 'worker', signal: new AbortController().signal })
    passing.catch(() => {})
    for (let turn = 0; turn < 60; turn += 1) await vi.advanceTimersByTimeAsync(1_000)
    // The claim of a process that died lapses, and whatever waited in it is gone.
    await vi.advanceTimersByTimeAsync(how.ends === 'killed' ? 61_000 : 0)
    await Promise.race([passing.catch(() => {}), Promise.resolve()])
  }

  function harm(what: Extract<Happening, { do: 'harm' }>['harm']) {
    scene.docker.change((model) => {
      const [first, ...others] = model.containers
      const withState = (state: ContainerState) => model.containers.map((each) => ({ ...each, state }))
      switch (what) {
        case 'remove':
          return { ...model, containers: others }
        case 'stop':
          return { ...model, containers: first ? [{ ...first, state: 'exited' }, ...others] : [] }
        case 'kill all':
          return { ...model, containers: withState('exited') }
        case 'relabel': {
          const labels = { ...first?.labels, 'towline.input': 'another' }
          return { ...model, containers: first ? [{ ...first, labels }, ...others] : [] }
        }
        case 'stray':
          if (!first || model.containers.some(({ name }) => name === 'stray-1')) return model
          return { ...model, containers: [...model.containers, { ...first, id: 'stray', name: 'stray-1' }] }
        case 'unlink': {
          const sites = Object.entries(model.sites).map(([folder, site]) => [
            folder,
            { ...site, current: { kind: 'missing' as const } },
          ])
          return { ...model, sites: Object.fromEntries(sites) }
        }
        case 'damage': {
          const sites = Object.entries(model.sites).map(([folder, site]) => [
            folder,
            {
              ...site,
              releases: site.releases.map((each) => ({ ...each, damage: ['index.html: missing'] })),
            },
          ])
          return { ...model, sites: Object.fromEntries(sites) }
        }
        default:
          return what satisfies never
      }
    })
  }

  return { scene, answering, push, pass, harm }
}

async function live(kind: 'Service' | 'Site', happenings: Happening[]) {
  const town = play(kind)
  await town.push(1, true)
  for (const happening of happenings) {
    switch (happening.do) {
      case 'push':
        await town.push(happening.image, happening.answers)
        break
      case 'pass':
        await town.pass(happening)
        break
      case 'harm':
        town.harm(happening.harm)
        break
      case 'wait':
        await vi.advanceTimersByTimeAsync(happening.minutes * 60_000)
        break
      default:
        happening satisfies never
    }
  }
  // Backoffs and what was given up end within the hour.
  for (let calm = 0; calm < 4; calm += 1) {
    await vi.advanceTimersByTimeAsync(61 * 60_000)
    for (let look = 0; look < 3; look += 1) await town.pass({ ends: 'well', afterCalls: 0 })
  }
  return town
}

/** What has to hold whatever happened. */
async function expectRight({ scene }: ReturnType<typeof play>) {
  const { deployments, applied, desired, drift } = await scene.record()
  for (const { id, result, history } of deployments) {
    expect(result, `${id} has ended`).not.toBeNull()
    const ranks = history.map(({ progress }) => progress)
    const rising = ranks.slice(0, result?.kind === 'succeeded' ? undefined : -1)
    expect(rising).toEqual([...rising].sort((a, b) => a - b))
  }
  expect(new Set(deployments.map(({ id }) => id)).size).toBe(deployments.length)
  const newest = deployments.at(-1)
  if (newest?.result?.kind === 'succeeded') expect(applied?.specHash).toBe(desired?.specHash)
  const { containers, sites } = scene.docker.model()
  const standing = containers.map(({ name, state }) => `${name} ${state}`).sort()
  const wanted = (applied?.release.containers ?? []).map(({ name }) => `${name} running`).sort()
  // What a first deployment left because even its clean-up failed goes by the search for orphans, which looks at whole hosts.
  const orphans = applied ? [] : deployments.flatMap(({ release }) => release?.containers ?? [])
  const left = new Set(orphans.map(({ name }) => name))
  expect(standing.filter((each) => !left.has(each.split(' ')[0] ?? ''))).toEqual(wanted)
  if (applied?.release.site) {
    const site = sites[applied.release.site.folder]
    expect(site?.current).toMatchObject({ kind: 'link', to: `releases/${applied.release.id}` })
    const release = site?.releases.find(({ id }) => id === applied.release.id)
    expect(release).toMatchObject({ complete: true })
    expect(release?.damage ?? []).toEqual([])
  }
  expect(drift?.episode.endedAt ?? 'ended').not.toBeNull()
}

test.each(['Service', 'Site'] as const)(
  'whatever happens to a %s, it comes to rest as the repo or its last proven release says',
  async (kind) => {
    await fc.assert(
      fc.asyncProperty(fc.array(anyHappening, { minLength: 1, maxLength: 12 }), async (happenings) => {
        vi.setSystemTime(Date.parse('2026-11-21T10:00:00.000Z'))
        const town = await live(kind, happenings)
        await expectRight(town)
        const before = [await town.scene.record(), town.scene.docker.model()]
        town.scene.docker.acts.length = 0
        await town.pass({ ends: 'well', afterCalls: 0 })
        expect(town.scene.docker.acts).toEqual([])
        expect([await town.scene.record(), town.scene.docker.model()]).toEqual(before)
      }),
      { numRuns: 150 },
    )
  },
  120_000,
)
