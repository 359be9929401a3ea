import { expect, test } from 'vitest'
import { isDue, type Leaver, type PruneRules, planPrune, type Removal } from './prune.ts'

const nowMs = Date.parse('2026-11-21T10:00:00.000Z')
const rules: PruneRules = { enabled: true, delayMs: 3_600_000, max: 2, volumes: false }
const context = { rules, hasProblems: false, commit: 'c2', nowMs }
const shop = leaver('shop')
const blog = leaver('blog')
const earlier: Removal = {
  since: '2026-11-21T09:30:00.000Z',
  removeAfter: '2026-11-21T10:30:00.000Z',
  commit: 'c1',
  volumes: false,
}

function leaver(app: string, over: Partial<Leaver> = {}): Leaver {
  return { target: `acme/config:${app}@web-1`, stands: true, removal: null, ...over }
}

test('an app that left is removed once the delay has passed, at the word of the commit it left with', () => {
  expect(planPrune([shop], context)).toEqual({
    removals: [
      {
        target: shop.target,
        removal: {
          since: '2026-11-21T10:00:00.000Z',
          removeAfter: '2026-11-21T11:00:00.000Z',
          commit: 'c2',
          volumes: false,
        },
      },
    ],
    refused: null,
  })
})

test('a later commit neither puts off nor brings forward what an earlier one announced', () => {
  const { removals } = planPrune([leaver('shop', { removal: earlier })], context)
  expect(removals).toEqual([{ target: shop.target, removal: earlier }])
})

test('the delay and the volumes are those of the newest commit', () => {
  const { removals } = planPrune([leaver('shop', { removal: earlier })], {
    ...context,
    rules: { ...rules, delayMs: 60_000, volumes: true },
  })
  expect(removals[0]?.removal).toEqual({
    ...earlier,
    removeAfter: '2026-11-21T09:31:00.000Z',
    volumes: true,
  })
})

test('nothing is removed where pruning is off, also not what was announced while it was on', () => {
  const off = { ...context, rules: { ...rules, enabled: false } }
  expect(planPrune([leaver('shop', { removal: earlier })], off)).toEqual({ removals: [], refused: null })
})

test('as many as prune.max go; one more and none goes, not even those announced before', () => {
  expect(planPrune([shop, blog], context).removals).toHaveLength(2)
  expect(planPrune([leaver('shop', { removal: earlier }), blog, leaver('news')], context)).toEqual({
    removals: [],
    refused:
      'Nothing is removed: 3 targets left the repo, and prune.max is 2. ' +
      'Raise prune.max in towline.yaml, or put specs back and delete them in parts of at most 2.',
  })
})

test('what is off its host already does not count against the others', () => {
  const gone = leaver('news', { stands: false, removal: earlier })
  expect(planPrune([shop, blog, gone], context).removals).toHaveLength(3)
})

test('nothing is removed while specs have problems, and where something was announced the reason is said', () => {
  const broken = { ...context, hasProblems: true }
  expect(planPrune([shop], broken)).toEqual({ removals: [], refused: null })
  expect(planPrune([leaver('shop', { removal: earlier })], broken)).toEqual({
    removals: [],
    refused: 'Nothing is removed while specs have problems: the spec that seems gone may be a broken one.',
  })
})

test('a removal is due from its time on', () => {
  const atMs = Date.parse(earlier.removeAfter)
  expect([atMs - 1, atMs, atMs + 1].map((ms) => isDue(earlier, ms))).toEqual([false, true, true])
})
