import { expect, test } from 'vitest'
import { advance, type Deployment, type DeploymentEvent, queueDeployment } from '../rollout/deployment.ts'
import { serviceRelease } from '../rollout/release.fixture.ts'
import { renderDeploymentCheck } from './deployment-check.ts'

const queued = queueDeployment({
  id: 'd-1',
  target: 'acme/config:shop@web-1',
  commit: 'c0ffee',
  specHash: 'spec-1',
  attempt: 1,
  trigger: 'push',
  now: at(0),
  deadlineAt: at(1_800),
})
const pinned: DeploymentEvent = {
  type: 'pinned',
  release: serviceRelease({ inputHash: 'b2'.repeat(32) }),
  changes: ['create container shop-new-1 (not there yet)', 'remove container @old|1 (not part of it)'],
}
const failure: DeploymentEvent = {
  type: 'failed',
  fault: 'rejected',
  reason: 'container shop-new-1: it is exited with exit code 3',
  hint: 'Mend the app & push again.',
  logTail: ['no database at db:5432', '```', '@here'],
  previous: 'release old was never touched and serves',
}

/** A second passes before each event. */
function after(...events: DeploymentEvent[]): Deployment {
  return events.reduce((state, event, index) => advance(state, event, at(index + 1)), queued)
}

function at(second: number): string {
  return new Date(Date.parse('2026-11-21T10:00:00.000Z') + second * 1_000).toISOString()
}

test('a queued deployment', () => {
  expect(renderDeploymentCheck(queued)).toEqual({
    name: 'towline / shop@web-1',
    headSha: 'c0ffee',
    externalId: 'd-1',
    status: 'queued',
    conclusion: null,
    startedAt: null,
    completedAt: null,
    title: 'queued 0 %: waiting for a worker',
    summary: [
      '|  | phase | since (UTC) | took |',
      '| --- | --- | --- | --- |',
      '| ▶️ | `queued` | 10:00:00 |  |',
      '| ▫️ | `pulling_source` |  |  |',
      '| ▫️ | `building` |  |  |',
      '| ▫️ | `copying_files` |  |  |',
      '| ▫️ | `creating_symlinks` |  |  |',
      '| ▫️ | `updating_routes` |  |  |',
      '| ▫️ | `health_check` |  |  |',
      '| ▫️ | `active` |  |  |',
    ].join('\n'),
    text: [
      '### Details',
      '',
      '|  |  |',
      '| --- | --- |',
      '| target | `acme/config:shop@web-1` |',
      '| deployment | `d-1` |',
      '| attempt | 1 |',
      '| asked for by | push |',
    ].join('\n'),
    annotations: [],
  })
})

test('a deployment in progress shows where it stands, what it skipped and what changes', () => {
  const check = renderDeploymentCheck(
    after(
      { type: 'phase', phase: 'pulling_source', message: 'resolving' },
      pinned,
      { type: 'phase', phase: 'copying_files', message: 'create container' },
      { type: 'phase', phase: 'updating_routes', message: 'waiting until it is ready', progress: 78 },
    ),
  )
  expect(check).toMatchObject({
    status: 'in_progress',
    conclusion: null,
    startedAt: at(1),
    completedAt: null,
  })
  expect(check.title).toBe('updating_routes 78 %: waiting until it is ready')
  expect(check.summary.split('\n').slice(2)).toEqual([
    '| ✅ | `queued` | 10:00:00 | 1.0 s |',
    '| ✅ | `pulling_source` | 10:00:01 | 2.0 s |',
    '| ➖ | `building` |  |  |',
    '| ✅ | `copying_files` | 10:00:03 | 1.0 s |',
    '| ➖ | `creating_symlinks` |  |  |',
    '| ▶️ | `updating_routes` | 10:00:04 |  |',
    '| ▫️ | `health_check` |  |  |',
    '| ▫️ | `active` |  |  |',
  ])
  expect(check.text).toBe(
    [
      '### What changes',
      '',
      '- create container shop-new-1 (not there yet)',
      '- remove container &#64;old\\|1 (not part of it)',
      '',
      '### Details',
      '',
      '|  |  |',
      '| --- | --- |',
      '| target | `acme/config:shop@web-1` |',
      '| deployment | `d-1` |',
      '| attempt | 1 |',
      '| asked for by | push |',
      '| image | `shop@sha256:b2` |',
      '| input hash | `b2b2b2b2b2b2` |',
    ].join('\n'),
  )
})

test('a deployment that succeeded names its release and how long it took', () => {
  const check = renderDeploymentCheck(
    after(
      { type: 'phase', phase: 'pulling_source' },
      pinned,
      { type: 'phase', phase: 'health_check' },
      { type: 'succeeded' },
    ),
  )
  expect(check).toMatchObject({
    status: 'completed',
    conclusion: 'success',
    startedAt: at(1),
    completedAt: at(4),
    title: 'active: release new is live',
  })
  expect(check.summary.split('\n').slice(2)).toEqual([
    '| ✅ | `queued` | 10:00:00 | 1.0 s |',
    '| ✅ | `pulling_source` | 10:00:01 | 2.0 s |',
    '| ➖ | `building` |  |  |',
    '| ➖ | `copying_files` |  |  |',
    '| ➖ | `creating_symlinks` |  |  |',
    '| ➖ | `updating_routes` |  |  |',
    '| ✅ | `health_check` | 10:00:03 | 1.0 s |',
    '| ✅ | `active` | 10:00:04 |  |',
    '',
    'Took 4.0 s in all.',
  ])
})

test('a failure says why, what to do, what serves now, and shows the last log lines safely', () => {
  const check = renderDeploymentCheck(after({ type: 'phase', phase: 'updating_routes' }, failure))
  expect(check).toMatchObject({
    status: 'completed',
    conclusion: 'failure',
    completedAt: at(2),
    title: 'failed in updating_routes: container shop-new-1: it is exited with exit code 3',
  })
  expect(check.summary).toBe(
    [
      '**Failed in `updating_routes`:** container shop-new-1: it is exited with exit code 3',
      '',
      '**What to do:** Mend the app & push again.',
      '',
      '**The release before:** release old was never touched and serves',
      '',
      '|  | phase | since (UTC) | took |',
      '| --- | --- | --- | --- |',
      '| ✅ | `queued` | 10:00:00 | 1.0 s |',
      '| ➖ | `pulling_source` |  |  |',
      '| ➖ | `building` |  |  |',
      '| ➖ | `copying_files` |  |  |',
      '| ➖ | `creating_symlinks` |  |  |',
      '| ❌ | `updating_routes` | 10:00:01 | 1.0 s |',
      '| ➖ | `health_check` |  |  |',
      '| ➖ | `active` |  |  |',
      '',
      'Took 2.0 s in all.',
    ].join('\n'),
  )
  expect(check.text.split('\n').slice(0, 8)).toEqual([
    '### Last log lines',
    '',
    '````text',
    'no database at db:5432',
    '```',
    '@here',
    '````',
    '',
  ])
})

test('a failure told in words from outside can neither mark up nor mention anybody', () => {
  const check = renderDeploymentCheck(
    after({ ...failure, reason: '*a* @x', hint: '[b](c)\n# d', previous: '<e>' }),
  )
  expect(check.summary.split('\n\n').slice(0, 3)).toEqual([
    '**Failed in `queued`:** \\*a\\* &#64;x',
    '**What to do:** \\[b\\](c) \\# d',
    '**The release before:** \\<e\\>',
  ])
})

test('a failure without hint and log lines leaves both out', () => {
  const check = renderDeploymentCheck(after({ ...failure, hint: '', logTail: [] }))
  expect(check.summary).not.toContain('What to do')
  expect(check.text.startsWith('### Details')).toBe(true)
})

test('a superseded deployment is cancelled and names its successor', () => {
  const check = renderDeploymentCheck(after({ type: 'superseded', by: 'd-2' }))
  expect(check).toMatchObject({
    status: 'completed',
    conclusion: 'cancelled',
    startedAt: at(0),
    completedAt: at(1),
    title: 'superseded by d-2',
  })
  expect(check.summary.startsWith('A newer revision took over: `d-2`.\n\n')).toBe(true)
  expect(check.summary).toContain('| ⏹️ | `queued` | 10:00:00 | 1.0 s |')
})

test('a cancelled deployment says why', () => {
  const check = renderDeploymentCheck(after({ type: 'cancelled', reason: 'host web-1 is gone' }))
  expect(check).toMatchObject({ conclusion: 'cancelled', title: 'cancelled: host web-1 is gone' })
})

test('a deployment that was resumed says how often', () => {
  const resumed: DeploymentEvent = { type: 'resumed', message: 'resumed after restart' }
  const check = renderDeploymentCheck(after({ type: 'phase', phase: 'building' }, resumed, resumed))
  expect(check.summary.startsWith('Resumed after restart (2×).\n\n')).toBe(true)
})

test('the same deployment always gives the same run', () => {
  const make = () => after({ type: 'phase', phase: 'building' }, failure)
  expect(renderDeploymentCheck(make())).toEqual(renderDeploymentCheck(make()))
})

test("texts beyond GitHub's limits are cut", () => {
  const check = renderDeploymentCheck(
    after({
      ...failure,
      reason: 'r'.repeat(70_000),
      logTail: Array.from({ length: 30 }, () => 'l'.repeat(5_000)),
    }),
  )
  expect(check.title).toHaveLength(255)
  expect(check.title.endsWith('…')).toBe(true)
  expect(check.summary).toHaveLength(65_535)
  expect(check.text).toHaveLength(65_535)
})

test('a title of exactly 255 characters is whole', () => {
  const reason = 'r'.repeat(255 - 'cancelled: '.length)
  const { title } = renderDeploymentCheck(after({ type: 'cancelled', reason }))
  expect(title).toBe(`cancelled: ${reason}`)
})

test('a target whose key cannot be read is named by the key', () => {
  expect(renderDeploymentCheck({ ...queued, target: 'odd' }).name).toBe('towline / odd')
})
