import { expect, test } from 'vitest'
import { advance, type Deployment, type DeploymentEvent, queueDeployment } from '../rollout/deployment.ts'
import type { Problem } from '../spec/spec.ts'
import { type RevisionView, renderRevisionCheck } from './revision-check.ts'

const quiet: RevisionView = {
  commit: 'c0ffee',
  attempt: 1,
  seenAt: at(0),
  problems: [],
  deployments: [],
  isWhole: true,
  unchangedCount: 0,
  pausedTargets: [],
  removals: [],
  pruneRefused: null,
  supersededBy: null,
}
const problem: Problem = {
  path: 'apps/shop.yaml',
  line: 4,
  column: 8,
  endLine: 4,
  endColumn: 15,
  message: '/image: "Nginx" is not an image | really',
  hint: 'Write it in lower case',
}
const failure: DeploymentEvent = {
  type: 'failed',
  fault: 'rejected',
  reason: 'it is exited | with @3',
  hint: '',
  logTail: [],
  previous: '',
}

function deployment(app: string, second: number, event?: DeploymentEvent): Deployment {
  const queued = queueDeployment({
    id: `d-${app}`,
    target: `acme/config:${app}@web-1`,
    commit: 'c0ffee',
    specHash: 'spec-1',
    attempt: 1,
    trigger: 'push',
    now: at(0),
    deadlineAt: at(1_800),
  })
  return event ? advance(queued, event, at(second)) : queued
}

function at(second: number): string {
  return new Date(Date.parse('2026-11-21T10:00:00.000Z') + second * 1_000).toISOString()
}

test('a commit that rolls out is in progress, with a line for each target', () => {
  const deployments = [deployment('db', 5, { type: 'succeeded' }), deployment('shop', 0)]
  expect(renderRevisionCheck({ ...quiet, deployments, unchangedCount: 2 })).toEqual({
    name: 'towline / deploy',
    headSha: 'c0ffee',
    externalId: 'revision-c0ffee-1',
    status: 'in_progress',
    conclusion: null,
    startedAt: at(0),
    completedAt: null,
    title: '1 rolling out, 1 active, 2 unchanged',
    summary: [
      '| target | phase | why |',
      '| --- | --- | --- |',
      '| `db@web-1` | `active` |  |',
      '| `shop@web-1` | `queued` |  |',
    ].join('\n'),
    text: '',
    annotations: [],
  })
})

test('it succeeds when all of its targets are active, at the time the last one was', () => {
  const deployments = [
    deployment('db', 9, { type: 'succeeded' }),
    deployment('shop', 5, { type: 'succeeded' }),
  ]
  expect(renderRevisionCheck({ ...quiet, deployments })).toMatchObject({
    status: 'completed',
    conclusion: 'success',
    completedAt: at(9),
    title: '2 active',
  })
})

test('one failure fails it, and the reason cannot break the table or mention anybody', () => {
  const deployments = [deployment('db', 5, { type: 'succeeded' }), deployment('shop', 7, failure)]
  const check = renderRevisionCheck({ ...quiet, deployments })
  expect(check).toMatchObject({ conclusion: 'failure', title: '1 active, 1 failed' })
  expect(check.summary).toContain('| `shop@web-1` | `failed` | it is exited \\| with &#64;3 |')
})

test('it is cancelled where a newer commit took over, and names that one', () => {
  const deployments = [
    deployment('db', 5, { type: 'succeeded' }),
    deployment('shop', 6, { type: 'superseded', by: 'd-2' }),
    deployment('web', 6, { type: 'cancelled', reason: 'its host is gone' }),
  ]
  const check = renderRevisionCheck({ ...quiet, deployments, supersededBy: 'beef' })
  expect(check).toMatchObject({ conclusion: 'cancelled', title: '1 active, 2 superseded or cancelled' })
  expect(check.summary.startsWith('A newer commit took over: `beef`.\n\n')).toBe(true)
})

test('a problem fails it and is annotated where it stands', () => {
  expect(renderRevisionCheck({ ...quiet, problems: [problem], unchangedCount: 1 })).toEqual({
    name: 'towline / deploy',
    headSha: 'c0ffee',
    externalId: 'revision-c0ffee-1',
    status: 'completed',
    conclusion: 'failure',
    startedAt: at(0),
    completedAt: at(0),
    title: '1 problem, 1 unchanged',
    summary:
      '1 problem in the specs; see the annotations. The apps behind it keep their release until it is mended.',
    text: '- `apps/shop.yaml:4:8` /image: "Nginx" is not an image \\| really Write it in lower case',
    annotations: [
      {
        path: 'apps/shop.yaml',
        startLine: 4,
        endLine: 4,
        startColumn: 8,
        endColumn: 15,
        level: 'failure',
        title: 'Towline cannot use this spec',
        message: '/image: "Nginx" is not an image | really\nWrite it in lower case',
      },
    ],
  })
})

test('an annotation over several lines has no columns, as GitHub demands', () => {
  const problems = [{ ...problem, endLine: 6, hint: '' }, problem]
  const { annotations, summary, title } = renderRevisionCheck({ ...quiet, problems })
  expect(annotations[0]).toMatchObject({ startLine: 4, endLine: 6, startColumn: null, endColumn: null })
  expect(annotations[0]?.message).toBe('/image: "Nginx" is not an image | really')
  expect(title).toBe('2 problems')
  expect(summary).toContain('The apps behind them keep their release until they are mended.')
})

test('a problem told in words from the spec can neither mark up nor mention anybody', () => {
  const check = renderRevisionCheck({
    ...quiet,
    problems: [{ ...problem, message: '*a* @x', hint: 'Write `b`\n# c' }],
  })
  expect(check.text).toBe('- `apps/shop.yaml:4:8` \\*a\\* &#64;x Write \\`b\\` \\# c')
})

test('problems fail it only when what could be deployed has ended', () => {
  const check = renderRevisionCheck({ ...quiet, problems: [problem], deployments: [deployment('db', 0)] })
  expect(check).toMatchObject({
    status: 'in_progress',
    conclusion: null,
    title: '1 problem, 1 rolling out',
  })
  expect(check.annotations).toHaveLength(1)
})

test('paused targets are named with their reason and fail nothing', () => {
  const pausedTargets = [{ target: 'acme/config:shop@web-1', reason: 'a *migration*' }]
  expect(renderRevisionCheck({ ...quiet, pausedTargets })).toMatchObject({
    conclusion: 'success',
    title: '1 paused',
    summary: '`shop@web-1` is paused: a \\*migration\\*',
  })
})

test('what left the repo is announced before it is removed: when, and what of its data', () => {
  const removals = [
    { target: 'acme/config:old@web-1', removeAfter: at(3_600), volumes: false },
    { target: 'acme/config:older@web-1', removeAfter: at(0), volumes: true },
  ]
  expect(renderRevisionCheck({ ...quiet, unchangedCount: 1, removals })).toMatchObject({
    conclusion: 'success',
    title: '1 unchanged, 2 to be removed',
    summary: [
      '`old@web-1` left the repo and is removed after 2026-11-21T11:00:00Z; its volumes stay.',
      '`older@web-1` left the repo and is removed now; with its volumes and the data in them.',
    ].join('\n\n'),
  })
})

test('a refused removal fails it, with the reason', () => {
  const pruneRefused = 'Nothing is removed: 4 targets left the repo. Raise prune.max.'
  expect(renderRevisionCheck({ ...quiet, unchangedCount: 1, pruneRefused })).toMatchObject({
    conclusion: 'failure',
    title: '1 unchanged, removal refused',
    summary: pruneRefused,
  })
})

test('a commit that changes nothing succeeds and says so', () => {
  expect(renderRevisionCheck({ ...quiet, unchangedCount: 3 })).toMatchObject({
    status: 'completed',
    conclusion: 'success',
    title: '3 unchanged',
    summary: 'Nothing to deploy: 3 targets unchanged.',
  })
})

test('a commit without specs says where they are looked for', () => {
  const check = renderRevisionCheck(quiet)
  expect(check).toMatchObject({ conclusion: 'success', title: 'no specs found' })
  expect(check.summary).toContain('`apps/**/*.{yaml,yml}`')
})

test('a re-run has an id of its own', () => {
  expect(renderRevisionCheck({ ...quiet, attempt: 2 }).externalId).toBe('revision-c0ffee-2')
})

test("more problems than fit are cut to GitHub's limit", () => {
  const problems = Array.from({ length: 500 }, () => ({ ...problem, message: 'm'.repeat(300) }))
  const check = renderRevisionCheck({ ...quiet, problems })
  expect(check.text).toHaveLength(65_535)
  expect(check.annotations).toHaveLength(500)
})

test('a revision whose deployments are not all stored yet has not ended, however well the others did', () => {
  expect(renderRevisionCheck({ ...quiet, isWhole: false })).toMatchObject({
    status: 'in_progress',
    conclusion: null,
  })
})
