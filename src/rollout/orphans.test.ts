import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Inventory, OwnedThing } from './observed.ts'
import { type Explanations, findOrphans, isPastGrace, strangeness } from './orphans.ts'

const shopLabels = { 'towline.owner': 'owner-1', 'towline.repo': 'acme/config', 'towline.app': 'shop' }
const shop = 'acme/config:shop@web-1'

function thing(over: Partial<OwnedThing> = {}): OwnedThing {
  return {
    kind: 'container',
    id: `id-${over.name ?? 'shop-1'}`,
    name: 'shop-1',
    labels: { ...shopLabels, 'towline.role': 'app' },
    createdAt: '2026-11-21T09:00:00.000Z',
    userCount: null,
    ...over,
  }
}

function inventory(...things: OwnedThing[]): Inventory {
  return { host: 'web-1', engineId: 'engine-1', at: '2026-11-21T10:00:00.000Z', things }
}

function explained(over: Partial<Explanations> = {}): Explanations {
  return {
    targets: new Map([
      [
        shop,
        { open: false, names: new Set(['shop-1', 'net-1', 'shop-data', 'sites/shop', 'shop@sha256:a1']) },
      ],
    ]),
    repos: new Set(['acme/config']),
    own: new Set(['towline-owner', 'towline-owner-files']),
    ...over,
  }
}

function orphansOf(things: OwnedThing[], over: Partial<Explanations> = {}, volumes = false) {
  return findOrphans(inventory(...things), explained(over), { volumes }).map((orphan) => [
    orphan.thing.name,
    orphan.removable,
    orphan.reason,
  ])
}

describe('what is explained is no orphan', () => {
  test.each<[string, OwnedThing]>([
    ['a container of the applied release', thing()],
    ['a network an app of its repo uses', thing({ kind: 'network', name: 'net-1', userCount: 0 })],
    ['a volume of the applied release', thing({ kind: 'volume', name: 'shop-data' })],
    ['a folder of a Site', thing({ kind: 'site', id: 'sites/shop', name: 'sites/shop', labels: {} })],
    ['an image of a release', thing({ kind: 'image', id: 'shop@sha256:a1', name: 'shop:1' })],
    ["Towline's helper", thing({ name: 'towline-owner-files', labels: { 'towline.role': 'files' } })],
    ["Towline's volume", thing({ kind: 'volume', name: 'towline-owner', labels: {} })],
  ])('%s', (_, found) => {
    expect(orphansOf([found])).toEqual([])
  })

  test('anything of a target whose deployment is under way', () => {
    const open = { targets: new Map([[shop, { open: true, names: new Set<string>() }]]) }
    const made = [
      thing({ name: 'shop-new-1' }),
      thing({ kind: 'volume', name: 'new' }),
      thing({ kind: 'network' }),
    ]
    expect(orphansOf(made, open)).toEqual([])
  })
})

describe('what nothing explains', () => {
  test.each<[string, OwnedThing, Partial<Explanations>, string]>([
    [
      'a container beside the applied release',
      thing({ name: 'shop-0' }),
      {},
      `it is no part of what ${shop} has applied`,
    ],
    [
      'a container of a target without a record',
      thing(),
      { targets: new Map() },
      `there is no record of ${shop}`,
    ],
    ['a container without a target', thing({ labels: {} }), {}, 'its labels name no target'],
    [
      'a helper under another name',
      thing({ name: 'towline-old-files', labels: { 'towline.role': 'files' } }),
      {},
      'a helper of another make',
    ],
    [
      'a network no app uses',
      thing({ kind: 'network', name: 'net-2', userCount: 0 }),
      {},
      'no app of its config repo is on this host any more',
    ],
    [
      'a folder no record names',
      thing({ kind: 'site', id: 'sites/x', name: 'sites/x', labels: {} }),
      {},
      'no record names it',
    ],
    [
      'a preview of a target that has none',
      thing({ labels: { ...shopLabels, 'towline.preview': '12' } }),
      {},
      `there is no record of ${shop}#12`,
    ],
  ])('%s is removed, with that reason', (_, found, over, reason) => {
    expect(orphansOf([found], over)).toEqual([[found.name, true, reason]])
  })

  test('a volume is removed only where the operator says so', () => {
    const lost = thing({ kind: 'volume', name: 'gone-data', userCount: 0 })
    expect(orphansOf([lost])).toEqual([['gone-data', false, expect.any(String)]])
    expect(orphansOf([lost], {}, true)).toEqual([['gone-data', true, expect.any(String)]])
  })

  test('what containers still use is left, and said to be in use', () => {
    const used = thing({ kind: 'network', name: 'net-2', userCount: 2 })
    expect(orphansOf([used])).toEqual([['net-2', false, expect.stringContaining('containers still use it')]])
  })

  test('what belongs to a config repo of another server is left alone', () => {
    const theirs = thing({ name: 'theirs-1', labels: { ...shopLabels, 'towline.repo': 'acme/other' } })
    expect(orphansOf([theirs])).toEqual([['theirs-1', false, expect.stringContaining('acme/other')]])
  })
})

describe('a host is left alone', () => {
  const many = Array.from({ length: 6 }, (_, index) => thing({ name: `stray-${index}` }))
  const orphansIn = (...things: OwnedThing[]) =>
    findOrphans(inventory(...things), explained(), { volumes: false })
  const known = { engineId: 'engine-1', recordCount: 1 }

  test('where another Engine answers under its name', () => {
    expect(strangeness(inventory(), [], { ...known, engineId: 'engine-0' })).toContain('engine-0')
    expect(strangeness(inventory(), [], { ...known, engineId: null })).toBeNull()
  })

  test('where nothing is known of it, yet many things stand on it', () => {
    expect(strangeness(inventory(...many), orphansIn(...many), { ...known, recordCount: 0 })).toContain(
      '6 things',
    )
    const few = many.slice(0, 2)
    expect(strangeness(inventory(...few), orphansIn(...few), { ...known, recordCount: 0 })).toBeNull()
  })

  test('where nearly everything would be removed at once', () => {
    expect(strangeness(inventory(...many, thing()), orphansIn(...many), known)).toContain('6 of 7')
    const rest = Array.from({ length: 6 }, () => thing())
    expect(strangeness(inventory(...many, ...rest), orphansIn(...many), known)).toBeNull()
  })
})

test('the grace counts by the clock of the host, and what comes from its future waits', () => {
  const at = (createdAt: string | null) => isPastGrace(thing({ createdAt }), inventory(), 300_000)
  expect(at('2026-11-21T09:55:00.000Z')).toBe(true)
  expect(at('2026-11-21T09:55:01.000Z')).toBe(false)
  expect(at('2027-01-01T00:00:00.000Z')).toBe(false)
  expect(at('no time')).toBe(false)
  expect(at(null)).toBe(true)
})

test('whatever stands on a host, nothing that is explained is ever named an orphan', () => {
  const anyThing = fc
    .record({
      kind: fc.constantFrom<OwnedThing['kind']>('container', 'network', 'volume', 'image', 'site'),
      name: fc.constantFrom('shop-1', 'shop-2', 'net-1', 'net-2', 'shop-data', 'sites/shop', 'towline-owner'),
      repo: fc.constantFrom('acme/config', 'acme/other', undefined),
      app: fc.constantFrom('shop', 'blog', undefined),
      userCount: fc.constantFrom(null, 0, 1),
    })
    .map(({ kind, name, repo, app, userCount }) =>
      thing({
        kind,
        name,
        id: name,
        userCount,
        labels: { ...(repo && { 'towline.repo': repo }), ...(app && { 'towline.app': app }) },
      }),
    )
  fc.assert(
    fc.property(fc.array(anyThing), fc.boolean(), fc.boolean(), (things, open, volumes) => {
      const names = new Set(['shop-1', 'net-1', 'shop-data', 'sites/shop'])
      const known = explained({ targets: new Map([[shop, { open, names }]]) })
      for (const { thing: found, removable } of findOrphans(inventory(...things), known, { volumes })) {
        const isOurs = found.labels['towline.repo'] !== 'acme/other'
        const isNamed = names.has(found.name) && found.labels['towline.app'] === 'shop'
        expect(known.own.has(found.name)).toBe(false)
        if (found.labels['towline.repo'] === 'acme/config') expect(isNamed).toBe(false)
        if (removable) {
          expect(isOurs).toBe(true)
          expect(found.userCount ?? 0).toBe(0)
          expect(found.kind === 'volume' && !volumes).toBe(false)
        }
      }
    }),
  )
})
