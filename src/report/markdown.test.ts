import { expect, test } from 'vitest'
import { block, code, duration, plain, table, textLimit, truncate } from './markdown.ts'

test('plain text can neither mark up, mention, link an issue nor break a table', () => {
  expect(plain('ping @acme/team about *a* _b_ `c` <img> [x](y) | #12 ~d~ !e \\f {g}')).toBe(
    'ping &#64;acme/team about \\*a\\* \\_b\\_ \\`c\\` \\<img\\> \\[x\\](y) \\| \\#12 \\~d\\~ \\!e \\\\f \\{g\\}',
  )
})

test('plain text stays on its line', () => {
  expect(plain('a\n  # b\r\n\n- c')).toBe('a \\# b - c')
})

test('a code span survives backticks, pipes and line breaks inside', () => {
  expect(code('nginx:1.27')).toBe('`nginx:1.27`')
  expect(code('a `b` c')).toBe('`` a `b` c ``')
  expect(code('``')).toBe('``` `` ```')
  expect(code('a | b\nc')).toBe('`a \\| b c`')
})

test('a block cannot be closed by a line inside', () => {
  expect(block(['one', '```', 'two'])).toBe('````text\none\n```\ntwo\n````')
  expect(block(['plain'])).toBe('```text\nplain\n```')
})

test('a table has a head, a rule and a line for each row', () => {
  expect(table(['a', 'b'], [['1', '2']])).toBe('| a | b |\n| --- | --- |\n| 1 | 2 |')
})

test('a text beyond the limit is cut to it exactly and says so', () => {
  expect(truncate('x'.repeat(100), 100)).toBe('x'.repeat(100))
  const cut = truncate('x'.repeat(textLimit + 1), textLimit)
  expect(cut).toHaveLength(textLimit)
  expect(cut.endsWith('x\n\n… cut: the rest is in the server log.')).toBe(true)
})

test.each([
  [-5, '0 ms'],
  [0, '0 ms'],
  [340.4, '340 ms'],
  [999, '999 ms'],
  [1_000, '1.0 s'],
  [4_230, '4.2 s'],
  [59_940, '59.9 s'],
  [60_000, '1 min 0 s'],
  [190_000, '3 min 10 s'],
  [3_600_000, '60 min 0 s'],
])('%d ms reads "%s"', (ms, text) => {
  expect(duration(ms)).toBe(text)
})

test.each([
  [999.6, '1.0 s'],
  [59_960, '1 min 0 s'],
  [119_600, '2 min 0 s'],
])('%d ms rounds up to "%s", not to a part that is whole', (ms, text) => {
  expect(duration(ms)).toBe(text)
})
