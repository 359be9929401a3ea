import { expect, test } from 'vitest'
import { lastLines } from './text.ts'

test('only the last lines are kept, oldest first', () => {
  expect(lastLines('a\nb\nc\n', 2)).toEqual(['b', 'c'])
})

test('nothing written is no line', () => {
  expect(lastLines('', 10)).toEqual([])
})

test('an empty line in the middle stays, at whatever place it is', () => {
  expect(lastLines('a\n\nb\n', 2)).toEqual(['', 'b'])
})

test('colours, bells, line ends of Windows and other control characters do not come through', () => {
  expect(lastLines('\u001b[31mred\u001b[0m\u0007\ttext\r\n\u009b2J\u0000x', 5)).toEqual(['red text', 'x'])
})

test('a line without end is cut', () => {
  expect(lastLines('x'.repeat(50_000), 1)[0]).toHaveLength(1_001)
})
