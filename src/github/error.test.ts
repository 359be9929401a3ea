import { expect, test } from 'vitest'
import { TowlineError } from '../rollout/error.ts'
import { callGitHub } from './error.ts'

const signal = new AbortController().signal

/** What a call that fails like this is translated to. */
async function translated(failure: unknown): Promise<TowlineError> {
  const outcome = await callGitHub('do it', signal, () => Promise.reject(failure)).catch((error) => error)
  if (outcome instanceof TowlineError) return outcome
  throw new Error('it was not translated')
}

function refusal(status: number, headers: Record<string, unknown> = {}, message = 'said so'): object {
  return Object.assign(new Error(message), { status, response: { headers } })
}

test('what a call gives is passed through', async () => {
  await expect(callGitHub('do it', signal, async () => 'done')).resolves.toBe('done')
})

test.each([
  [500, 'temporary', 'Towline tries again.'],
  [502, 'temporary', 'Towline tries again.'],
  [401, 'operator', 'Check APP_ID and the private key, and the clock of this machine.'],
  [403, 'operator', 'Give the App the permissions of app.yml and accept them where it is installed.'],
  [404, 'operator', 'Check that the repository exists and the App is installed on it.'],
  [400, 'bug', 'GitHub refused the content of this request.'],
  [422, 'bug', 'GitHub refused the content of this request.'],
])('a %d is of fault %s', async (status, fault, hint) => {
  const error = await translated(refusal(status))
  expect(error).toMatchObject({
    message: `GitHub did not do it: ${status} said so`,
    fault,
    hint,
    retryAfterMs: null,
  })
})

test.each([
  ['a broken connection', new Error('socket hang up'), ' (socket hang up)'],
  ['what Octokit calls a 500 without an answer', { status: 500, message: 'closed' }, ' (closed)'],
  ['anything that is no error', 'oops', ''],
  ['nothing at all', null, ''],
])('%s is no answer, and temporary', async (_what, failure, said) => {
  const error = await translated(failure)
  expect(error).toMatchObject({ message: `GitHub did not do it: no answer${said}`, fault: 'temporary' })
  expect(error.cause).toBe(failure)
})

test.each<[string, object, number]>([
  ['429 with retry-after', refusal(429, { 'retry-after': '7' }), 7_000],
  ['429 without a word', refusal(429), 60_000],
  ['403 with retry-after', refusal(403, { 'retry-after': '30' }), 30_000],
  ['403 by words alone', refusal(403, {}, 'You have exceeded a secondary rate limit'), 60_000],
  ['a wait beyond an hour', refusal(429, { 'retry-after': '86400' }), 3_600_000],
  ['a reset in the past', refusal(403, { 'x-ratelimit-remaining': '0', 'x-ratelimit-reset': '1' }), 60_000],
])('a rate limit is temporary and waits as asked: %s', async (_what, failure, retryAfterMs) => {
  const { fault, retryAfterMs: asked } = await translated(failure)
  expect([fault, asked]).toEqual(['temporary', retryAfterMs])
})

test('a spent limit is waited for until it resets', async () => {
  const resetS = Math.ceil(Date.now() / 1_000) + 600
  const headers = { 'x-ratelimit-remaining': '0', 'x-ratelimit-reset': String(resetS) }
  const { retryAfterMs } = await translated(refusal(403, headers))
  expect(retryAfterMs).toBeGreaterThan(590_000)
  expect(retryAfterMs).toBeLessThanOrEqual(601_000)
})

test('a long answer is cut', async () => {
  expect((await translated(refusal(422, {}, 'x'.repeat(10_000)))).message.length).toBeLessThan(400)
})

test('a call that is called off fails with the reason of the one who did', async () => {
  const controller = new AbortController()
  const reason = new TowlineError('stopping', { fault: 'cancelled' })
  const call = callGitHub('do it', controller.signal, ({ signal: given }) => {
    return new Promise((_resolve, reject) => {
      given.addEventListener('abort', () => reject(new Error('The operation was aborted')))
    })
  })
  controller.abort(reason)
  await expect(call).rejects.toBe(reason)
})
