import { describe, expect, test } from 'vitest'
import { judgeReady, judgeSteady, type Sample } from './gate.ts'

const running: Sample = {
  state: 'running',
  health: 'none',
  restartCount: 0,
  startedAt: '2026-11-21T10:00:10.000Z',
  runningSinceMs: 10_000,
  exitCode: null,
  checkPassed: null,
}

describe('before the switch', () => {
  const options = { baselineRestarts: 0, settleMs: 5_000, nowMs: 12_000 }

  test('without a health check a container is ready after it has run for the settle time', () => {
    expect(judgeReady(running, options)).toEqual({
      kind: 'waiting',
      message: 'running, not settled yet',
      lookAgainAtMs: 15_000,
    })
    expect(judgeReady(running, { ...options, nowMs: 14_999 }).kind).toBe('waiting')
    expect(judgeReady(running, { ...options, nowMs: 15_000 })).toEqual({ kind: 'ready' })
  })

  test('a healthy container is ready at once', () => {
    expect(judgeReady({ ...running, health: 'healthy' }, options)).toEqual({ kind: 'ready' })
  })

  test('a starting container is ready once its own check passes, and waited for until then', () => {
    const starting: Sample = { ...running, health: 'starting' }
    const waiting = { kind: 'waiting', message: 'health check not passed yet', lookAgainAtMs: null }
    expect(judgeReady({ ...starting, checkPassed: null }, options)).toEqual(waiting)
    expect(judgeReady({ ...starting, checkPassed: false }, options)).toEqual(waiting)
    expect(judgeReady({ ...starting, checkPassed: true }, options)).toEqual({ kind: 'ready' })
  })

  test('an unhealthy container fails, also where the last check passed', () => {
    expect(judgeReady({ ...running, health: 'unhealthy', checkPassed: true }, options)).toEqual({
      kind: 'failed',
      reason: 'its health check failed as often as retries allow',
    })
  })

  test('a created container is waited for', () => {
    expect(judgeReady({ ...running, state: 'created' }, options)).toEqual({
      kind: 'waiting',
      message: 'created, not started yet',
      lookAgainAtMs: null,
    })
  })

  test.each<[string, Partial<Sample>, string]>([
    ['gone', { state: 'missing' }, 'it is gone'],
    ['exited', { state: 'exited', exitCode: 3 }, 'it is exited with exit code 3'],
    ['dead', { state: 'dead', exitCode: 137 }, 'it is dead with exit code 137'],
    ['paused', { state: 'paused' }, 'it is paused with no exit code'],
    ['being removed', { state: 'removing' }, 'it is removing with no exit code'],
    ['restarting', { state: 'restarting', exitCode: 1 }, 'it keeps restarting, last with exit code 1'],
    ['back after one restart', { restartCount: 1, exitCode: 0 }, 'it restarted once, last with exit code 0'],
    ['back after three', { restartCount: 3, exitCode: 2 }, 'it restarted 3 times, last with exit code 2'],
  ])('a container that is %s fails, however healthy it looks', (_, found, reason) => {
    expect(judgeReady({ ...running, health: 'healthy', ...found }, options)).toEqual({
      kind: 'failed',
      reason,
    })
  })

  test('restarts from before the wait do not count', () => {
    const old: Sample = { ...running, health: 'healthy', restartCount: 4 }
    expect(judgeReady(old, { ...options, baselineRestarts: 4 })).toEqual({ kind: 'ready' })
    expect(judgeReady({ ...old, restartCount: 5 }, { ...options, baselineRestarts: 4 })).toMatchObject({
      reason: 'it restarted once, last with no exit code',
    })
  })
})

describe('while it is watched', () => {
  const first: Sample = { ...running, restartCount: 2 }

  test('a container that runs on is well', () => {
    expect(judgeSteady(first, first)).toEqual({ kind: 'ready' })
    expect(judgeSteady(first, { ...first, health: 'healthy', checkPassed: true })).toEqual({ kind: 'ready' })
  })

  test('one failed check is looked at again, not a failure', () => {
    expect(judgeSteady(first, { ...first, health: 'healthy', checkPassed: false })).toEqual({
      kind: 'waiting',
      message: 'its health check does not pass',
      lookAgainAtMs: null,
    })
  })

  test.each<[string, Partial<Sample>, string]>([
    ['restarts by its policy', { restartCount: 3 }, 'it restarted once, last with no exit code'],
    [
      'is started again by somebody',
      { startedAt: '2026-11-21T10:00:11.000Z' },
      'it restarted while it was watched',
    ],
    ['becomes unhealthy', { health: 'unhealthy' }, 'it became unhealthy while it was watched'],
    ['ends', { state: 'exited', exitCode: 0 }, 'it is exited with exit code 0'],
    ['disappears', { state: 'missing' }, 'it is gone'],
  ])('a container that %s fails', (_, found, reason) => {
    expect(judgeSteady(first, { ...first, ...found })).toEqual({ kind: 'failed', reason })
  })
})
