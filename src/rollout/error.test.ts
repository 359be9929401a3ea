import { expect, test } from 'vitest'
import { explain, faultOf, TowlineError } from './error.ts'

test('an error carries its fault, its hint, its cause and how long to wait', () => {
  const cause = new Error('ECONNREFUSED')
  const error = new TowlineError('web-1 does not answer', {
    fault: 'temporary',
    hint: 'Start Docker there.',
    cause,
    retryAfterMs: 5_000,
  })
  expect(error).toMatchObject({
    name: 'TowlineError',
    message: 'web-1 does not answer',
    fault: 'temporary',
    hint: 'Start Docker there.',
    cause,
    retryAfterMs: 5_000,
  })
  expect(faultOf(error)).toBe('temporary')
  expect(explain(error)).toEqual({ reason: 'web-1 does not answer', hint: 'Start Docker there.' })
})

test('what an error does not say is empty, not undefined', () => {
  const error = new TowlineError('gone', { fault: 'cancelled' })
  expect(error).toMatchObject({ hint: '', retryAfterMs: null })
  expect('cause' in error).toBe(false)
})

test.each([
  ['an Error', new TypeError('x is not a function'), 'x is not a function'],
  ['a text', 'boom', 'boom'],
  ['nothing', undefined, 'undefined'],
])('%s that nobody translated is a bug of ours', (_, thrown, reason) => {
  expect(faultOf(thrown)).toBe('bug')
  expect(explain(thrown)).toEqual({ reason, hint: '' })
})
