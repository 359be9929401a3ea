import { expect, test } from 'vitest'
import { checkGlob, isBelow, isPlainAbsolute, isSpecFile, whyNotInside } from './paths.ts'

test.each([
  ['/etc', 'is absolute'],
  ['../x', 'leaves its folder by ".."'],
  ['a/../b', 'leaves its folder by ".."'],
  ['a\\b', 'holds a backslash'],
  ['a\0b', 'holds a NUL character'],
  ['a//b', 'has an empty segment or "."'],
  ['a/', 'has an empty segment or "."'],
  ['./a', 'has an empty segment or "."'],
  ['', 'has an empty segment or "."'],
])('%j is refused: it %s', (path, why) => {
  expect(whyNotInside(path)).toBe(why)
})

test.each(['.', 'a', 'sites/docs', '..a/b..', '.well-known/x', 'naïve/ü.html'])('%j stays inside', (path) => {
  expect(whyNotInside(path)).toBeNull()
})

test.each([
  ['apps/a.yaml', true],
  ['apps/team/shop/a.yml', true],
  ['apps/a.json', false],
  ['other/a.yaml', false],
  ['apps/.hidden/a.yaml', false],
])('by default %s is a spec: %s', (path, expected) => {
  expect(isSpecFile(path, ['apps/**/*.{yaml,yml}'])).toBe(expected)
})

test.each(['../*.yaml', '/apps/*', '{a,b}{a,b}{a,b}', '{1..9999999}', '*******a', '+(a|b)'])(
  'the glob %s is refused',
  (glob) => {
    expect(() => checkGlob(glob)).toThrow(JSON.stringify(glob))
  },
)

test('a path is below a folder by whole segments', () => {
  expect(isBelow('/srv/data', '/srv/data')).toBe(true)
  expect(isBelow('/srv/data/x', '/srv/data')).toBe(true)
  expect(isBelow('/srv/database', '/srv/data')).toBe(false)
  expect(isBelow('/anything', '/')).toBe(true)
})

test('an absolute path has one spelling', () => {
  expect(['/', '/a/b'].every(isPlainAbsolute)).toBe(true)
  expect(['a', '', '/a/', '//a', '/a/../b', '/.'].some(isPlainAbsolute)).toBe(false)
})
