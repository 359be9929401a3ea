import fc from 'fast-check'
import { expect, test } from 'vitest'
import { formatTarget, parseTarget, type Target, targetDigest, volumeName } from './target.ts'

const shop: Target = { repo: 'acme/config', app: 'shop', host: 'web-1', preview: null }

test.each([
  ['acme/config:shop@web-1', shop],
  ['acme/config:shop@web-1#12', { ...shop, preview: 12 }],
])('%s names one target', (key, target) => {
  expect(formatTarget(target)).toBe(key)
  expect(parseTarget(key)).toEqual(target)
})

test.each([
  '',
  'shop',
  'acme/config:shop',
  'shop@web-1',
  ':shop@web-1',
  'acme/config:@web-1',
  'acme/config:shop@',
  'acme/config:shop@web-1#',
  'acme/config:shop@web-1#0',
  'acme/config:shop@web-1#012',
  'acme/config:shop@web-1#-1',
  'acme/config:shop@web-1#one',
  'acme/config:shop@web-1@web-2',
  'acme/config:shop:api@web-1',
  'acme/config:my shop@web-1',
  'acme/config:shop@web-1\n',
])('%j names no target', (key) => {
  expect(parseTarget(key)).toBeNull()
})

test('a key read back gives the target it was made of', () => {
  const name = fc.stringMatching(/^[a-z][a-z0-9.-]{0,39}$/)
  const anyTarget = fc.record({
    repo: fc.tuple(name, name).map((parts) => parts.join('/')),
    app: name,
    host: name,
    preview: fc.option(fc.integer({ min: 1, max: 1_000_000 })),
  })
  fc.assert(
    fc.property(anyTarget, (target) => {
      expect(parseTarget(formatTarget(target))).toEqual(target)
    }),
  )
})

test('a digest stands for one target of one installation, and stays the same for ever', () => {
  expect(targetDigest('owner-1', shop)).toBe('cdc62970')
  const others = [
    targetDigest('owner-2', shop),
    targetDigest('owner-1', { ...shop, repo: 'acme/other' }),
    targetDigest('owner-1', { ...shop, app: 'shop2' }),
    targetDigest('owner-1', { ...shop, host: 'web-2' }),
    targetDigest('owner-1', { ...shop, preview: 1 }),
  ]
  expect(new Set([targetDigest('owner-1', shop), ...others]).size).toBe(6)
})

test("an installation's volume is named after it", () => {
  expect(volumeName('0123456789abcdef')).toBe('towline-01234567')
})
