import { expect, test } from 'vitest'
import { flows } from './flows.ts'
import { caseName, casesOf, parseCase, type Result, renderMatrix, sample } from './matrix.ts'

const [flow] = flows
if (flow === undefined) throw new Error('there are no flows')
const counted = { docker: ['a', 'b', 'c'], github: ['a'], store: [] }

test('a flow has a case before and after each of its calls, and each can be named', () => {
  const cases = casesOf(flow, counted, ['docker', 'github', 'store'])
  expect(cases.map(caseName)).toEqual([
    'service-first:docker-before:1',
    'service-first:docker-before:2',
    'service-first:docker-before:3',
    'service-first:docker-after:1',
    'service-first:docker-after:2',
    'service-first:docker-after:3',
    'service-first:github-before:1',
    'service-first:github-after:1',
  ])
  for (const one of cases) expect(parseCase(caseName(one), flows)).toEqual(one)
})

test.each([
  'service-first',
  'nowhere:docker-after:1',
  'service-first:docker:1',
  'service-first:docker-after:0',
])('%s is no case', (name) => expect(parseCase(name, flows)).toBe(null))

test('the same seed chooses the same cases, another seed others', () => {
  const items = Array.from({ length: 100 }, (_, index) => index)
  const chosen = sample(items, { seed: 7, size: 10 })
  expect(sample(items, { seed: 7, size: 10 })).toEqual(chosen)
  expect(sample(items, { seed: 8, size: 10 })).not.toEqual(chosen)
  expect(new Set(chosen).size).toBe(10)
  expect(sample(items, { seed: 7, size: 1_000 })).toEqual(items)
})

test('the table counts what passed of all, and shows what was not reached and what kept the old release', () => {
  const results: Result[] = [
    { kind: 'passed' as const, call: '', kept: null, log: '' },
    { kind: 'passed' as const, call: '', kept: 'failed in building: why', log: '' },
    { kind: 'not reached' as const, counted },
    { kind: 'failed' as const, call: null, error: '', log: '' },
  ].map((played, index) => ({
    flow,
    kill: { effect: 'docker', moment: 'after', n: index + 1 },
    played,
    tookMs: 1,
  }))
  const [, row] = renderMatrix(results).split('\n')
  expect(row?.split(/ {2,}/)).toEqual([
    'service-first',
    '2/4 (1 kept the old, 1 not reached)',
    '2/4 (1 kept the old, 1 not reached)',
  ])
})
