import { expect, test } from 'vitest'
import { parseSites } from './files.ts'

const rows = (...columns: string[][]) =>
  columns
    .flat()
    .map((column) => `${column}\0`)
    .join('')

test('links and releases come out by site', () => {
  const output = rows(
    ['sites/docs', 'current', 'link', 'releases/r2'],
    ['sites/docs', 'webroot', 'dangling', 'current/public'],
    ['sites/docs', 'release', 'complete', 'r2'],
    ['sites/docs', 'release', 'incomplete', 'r3'],
    ['sites/blog', 'current', 'other', ''],
    ['sites/blog', 'webroot', 'missing', ''],
  )
  expect(parseSites(output)).toEqual({
    'sites/docs': {
      folder: 'sites/docs',
      current: { kind: 'link', to: 'releases/r2', dangling: false },
      webroot: { kind: 'link', to: 'current/public', dangling: true },
      releases: [
        { id: 'r2', complete: true, damage: null },
        { id: 'r3', complete: false, damage: null },
      ],
    },
    'sites/blog': {
      folder: 'sites/blog',
      current: { kind: 'other' },
      webroot: { kind: 'missing' },
      releases: [],
    },
  })
})

test('a link somebody gave a strange target is read as it is', () => {
  const to = 'a\nb\tc'
  expect(parseSites(rows(['sites/docs', 'current', 'dangling', to]))['sites/docs']?.current).toEqual({
    kind: 'link',
    to,
    dangling: true,
  })
})

test('what bears no name of ours is nobody that could be removed', () => {
  const output = rows(
    ['sites/My Files', 'current', 'link', 'releases/r2'],
    ['sites/docs', 'current', 'missing', ''],
    ['sites/docs', 'release', 'incomplete', 'my notes'],
  )
  expect(Object.entries(parseSites(output)).map(([name, { releases }]) => [name, releases])).toEqual([
    ['sites/docs', []],
  ])
})

test('no sites are no sites', () => {
  expect(parseSites('')).toEqual({})
})
