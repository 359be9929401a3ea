import { expect, test } from 'vitest'
import { frozen } from './frozen.ts'

test('a record is frozen all the way down, also below a part that was frozen at its top only', () => {
  const record = frozen({ list: [{ name: 'a' }], part: Object.freeze({ inner: { count: 1 } }), none: null })
  expect(() => record.list.push({ name: 'b' })).toThrow(TypeError)
  expect(() => {
    record.part.inner.count = 2
  }).toThrow(TypeError)
})
