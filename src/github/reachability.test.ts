import { expect, test } from 'vitest'
import type { GitHub } from '../engine/ports.ts'
import { TowlineError } from '../rollout/error.ts'
import { watchReachability } from './reachability.ts'

const { signal } = new AbortController()
const at = (second: number) => `2026-11-21T10:00:0${second}.000Z`

/** A GitHub that answers, until it is told to fail with something. The clock is moved by hand. */
function scene({ listsRepos = true } = {}) {
  let error: unknown = null
  let second = 0
  const answer = async (): Promise<never[]> => {
    if (error !== null) throw error
    return []
  }
  const github: GitHub = {
    repos: answer,
    createCheckRun: async () => (await answer()).length,
    updateCheckRun: async () => void (await answer()),
    findCheckRun: async () => (await answer())[0] ?? null,
    missedDeliveries: async () => ({ missed: await answer(), whole: true }),
    readDelivery: async () => (await answer())[0] ?? null,
  }
  const watched = watchReachability(github, { listsRepos, nowMs: () => Date.parse(at(second)) })
  return {
    read: watched.read,
    async ask(next: unknown, ended = signal) {
      error = next
      second += 1
      await watched.github.repos({ signal: ended }).catch(() => {})
    },
  }
}

const away = new TowlineError('no answer', { fault: 'temporary' })

test('GitHub counts as away since the first call that got no answer, until one does', async () => {
  const { ask, read } = scene()
  expect(read()).toEqual({ unreachableSince: null, reason: null, lastAnswerAt: null })
  await ask(null)
  await ask(away)
  await ask(away)
  expect(read()).toEqual({ unreachableSince: at(2), reason: 'no answer', lastAnswerAt: at(1) })
  await ask(null)
  expect(read()).toEqual({ unreachableSince: null, reason: null, lastAnswerAt: at(4) })
})

test('a refusal is an answer', async () => {
  const { ask, read } = scene()
  await ask(away)
  await ask(new TowlineError('GitHub did not list the repos: 404', { fault: 'operator' }))
  expect(read()).toEqual({ unreachableSince: null, reason: null, lastAnswerAt: at(2) })
})

test('a call we ended ourselves says nothing of GitHub', async () => {
  const { ask, read } = scene()
  await ask(away, AbortSignal.abort())
  expect(read().unreachableSince).toBeNull()
})

test('where listing the repos asks nobody it is no answer of GitHub', async () => {
  const { ask, read } = scene({ listsRepos: false })
  await ask(null)
  expect(read().lastAnswerAt).toBeNull()
})
