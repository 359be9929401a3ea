import { expect, test } from 'vitest'
import { decodeFile, maxFileBytes, readDocuments, tooLarge } from './source-document.ts'

function problemsOf(text: string): string[] {
  return readDocuments({ path: 'a.yaml', text }).problems.map(({ line, message }) => `${line} ${message}`)
}

test('bytes that are not UTF-8 are refused', () => {
  expect(decodeFile('a.yaml', Uint8Array.of(0x61, 0xff))).toMatchObject({
    text: null,
    problem: { path: 'a.yaml', line: 1, message: 'the file is not UTF-8 text' },
  })
  expect(decodeFile('a.yaml', new TextEncoder().encode('name: é'))).toEqual({
    text: 'name: é',
    problem: null,
  })
})

test('a file beyond the bound is refused unread, as bytes and as text', () => {
  const problem = tooLarge('a.yaml', maxFileBytes + 1)
  expect(decodeFile('a.yaml', new Uint8Array(maxFileBytes + 1)).problem).toEqual(problem)
  expect(readDocuments({ path: 'a.yaml', text: ' '.repeat(maxFileBytes + 1) }).problems).toEqual([problem])
})

test('an alias bomb is refused where it passes the bound', () => {
  const lines = ['x-0: &a0 [a, a, a, a, a, a, a, a, a]']
  for (let level = 1; level < 10; level++) {
    lines.push(`x-${level}: &a${level} [${Array(9).fill(`*a${level - 1}`)}]`)
  }
  expect(problemsOf(lines.join('\n'))).toEqual(['3 the document uses aliases more than 100 times'])
})

test('an alias inside its own anchor is refused', () => {
  expect(problemsOf('a: &a [*a]')).toEqual(['1 the document is nested deeper than 32 levels'])
})

test('more values than the bound are refused', () => {
  expect(problemsOf('- a\n'.repeat(20_001))).toEqual(['20000 the document has more than 20000 values'])
})

test('more documents than the bound are refused', () => {
  expect(problemsOf('---\na: b\n'.repeat(201))).toEqual(['1 the file has 201 documents, more than 200'])
})

test('nesting without end is refused', () => {
  expect(problemsOf('['.repeat(100_000))).toEqual(['1 not valid YAML: nested too deeply'])
})

test('ten thousand keys of one map are read, and a double one is found', () => {
  const text = Array.from({ length: 9999 }, (_, index) => `k${index}: v`).join('\n')
  expect(problemsOf(text)).toEqual([])
  expect(problemsOf(`${text}\nk5: again`)).toEqual(['10000 the key `k5` stands here twice'])
})

test('a redefined anchor gives each alias the value before it', () => {
  const { documents } = readDocuments({ path: 'a.yaml', text: 'a: &x 1\nb: *x\nc: &x 2\nd: [*x]\n' })
  expect(documents[0]?.value).toEqual({ a: 1, b: 1, c: 2, d: [2] })
})

test('what lacks at the end of a file is placed behind its last character, not on a line that is not there', () => {
  for (const text of ['a: [1', 'a: [1\n', 'a: [1\r\n']) {
    expect(readDocuments({ path: 'a.yaml', text }).problems).toMatchObject([{ line: 1, column: 6 }])
  }
})
