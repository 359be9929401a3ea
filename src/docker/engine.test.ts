import { expect, test } from 'vitest'
import { chooseApiVersion } from './engine.ts'

test('an older Engine is spoken to in its own version, a newer one in the newest that was checked', () => {
  expect(chooseApiVersion({ ApiVersion: '1.41', MinAPIVersion: '1.12' }, 'web-1')).toBe('v1.41')
  expect(chooseApiVersion({ ApiVersion: '1.99', MinAPIVersion: '1.44' }, 'web-1')).toBe('v1.51')
})

test('an Engine that wants more than Towline knows is refused, with its name', () => {
  expect(() => chooseApiVersion({ ApiVersion: '1.99', MinAPIVersion: '1.90' }, 'web-1')).toThrow(
    /web-1.*1\.90/,
  )
})

test('what is no version is refused', () => {
  expect(() => chooseApiVersion({ ApiVersion: 'latest' }, 'web-1')).toThrow(/"latest"/)
})
