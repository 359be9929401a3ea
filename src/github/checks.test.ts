import { expect, test } from 'vitest'
import type { Annotation, CheckRun } from '../report/check-run.ts'
import { createAccess } from './access.ts'
import { createChecks } from './checks.ts'
import { type ApiRequest, startApp } from './github-api.fixture.ts'

const { signal } = new AbortController()
const repo = 'acme/config'

const queued: CheckRun = {
  name: 'towline / shop@web-1',
  headSha: 'c0ffee',
  externalId: 'd-1',
  status: 'queued',
  conclusion: null,
  startedAt: null,
  completedAt: null,
  title: 'queued',
  summary: 'waits',
  text: '',
  annotations: [],
}
const failed: CheckRun = {
  ...queued,
  status: 'completed',
  conclusion: 'failure',
  startedAt: '2026-11-21T10:00:00.000Z',
  completedAt: '2026-11-21T10:00:09.000Z',
  title: 'failed',
  text: 'why',
}

function annotations(count: number): Annotation[] {
  return Array.from({ length: count }, (_, index) => ({
    path: 'apps/shop.yaml',
    startLine: index + 1,
    endLine: index + 1,
    startColumn: 2,
    endColumn: 5,
    level: 'failure',
    title: 'Towline cannot use this spec',
    message: `problem ${index + 1}`,
  }))
}

/** Checks against an API that makes run 7 and finds the given runs. */
async function startChecks(runs: object[] = []) {
  const started = await startApp(({ method, path }) => {
    if (path.endsWith('/installation')) return { body: { id: 5 } }
    if (path.endsWith('/commits/c0ffee/check-runs')) {
      return { body: { total_count: runs.length, check_runs: runs } }
    }
    return method === 'GET' ? null : { status: method === 'POST' ? 201 : 200, body: { id: 7 } }
  })
  return {
    checks: createChecks(createAccess(started.app.probot, { configured: [] })),
    writes: () => started.requests.filter(({ path }) => /check-runs(\/7)?$/.test(path)),
    [Symbol.asyncDispose]: () => started[Symbol.asyncDispose](),
  }
}

function annotated({ body: { output } }: ApiRequest): number {
  const found = typeof output === 'object' && output !== null && 'annotations' in output && output.annotations
  return Array.isArray(found) ? found.length : 0
}

test('a queued run is made with what GitHub needs and nothing that would end it', async () => {
  await using started = await startChecks()
  expect(await started.checks.createCheckRun(repo, queued, { signal })).toBe(7)
  expect(started.writes()).toMatchObject([{ method: 'POST', path: '/repos/acme/config/check-runs' }])
  expect(started.writes()[0]?.body).toEqual({
    name: 'towline / shop@web-1',
    head_sha: 'c0ffee',
    external_id: 'd-1',
    status: 'queued',
    output: { title: 'queued', summary: 'waits' },
  })
})

test('a complete run is sent with its conclusion, times and text', async () => {
  await using started = await startChecks()
  await started.checks.updateCheckRun(repo, 7, failed, { annotationsFrom: 0, signal })
  expect(started.writes()).toMatchObject([{ method: 'PATCH', path: '/repos/acme/config/check-runs/7' }])
  expect(started.writes()[0]?.body).toEqual({
    status: 'completed',
    conclusion: 'failure',
    started_at: '2026-11-21T10:00:00.000Z',
    completed_at: '2026-11-21T10:00:09.000Z',
    output: { title: 'failed', summary: 'waits', text: 'why' },
  })
})

test('more than 50 annotations go out in pages, and only the last page ends the run', async () => {
  await using started = await startChecks()
  await started.checks.createCheckRun(repo, { ...failed, annotations: annotations(120) }, { signal })
  const writes = started.writes()
  expect(writes.map(({ method, body }) => [method, body.status, body.conclusion])).toEqual([
    ['POST', 'in_progress', undefined],
    ['PATCH', 'in_progress', undefined],
    ['PATCH', 'completed', 'failure'],
  ])
  expect(writes.map(annotated)).toEqual([50, 50, 20])
  const lines = writes.flatMap(({ body }) => JSON.stringify(body).match(/"start_line":\d+/g) ?? [])
  expect(lines).toEqual(Array.from({ length: 120 }, (_, index) => `"start_line":${index + 1}`))
})

test('exactly 50 annotations need one request', async () => {
  await using started = await startChecks()
  await started.checks.createCheckRun(repo, { ...failed, annotations: annotations(50) }, { signal })
  expect(started.writes().map(({ body }) => body.status)).toEqual(['completed'])
})

test('an update sends only the annotations GitHub lacks, and always the state', async () => {
  await using started = await startChecks()
  const check = { ...failed, annotations: annotations(60) }
  await started.checks.updateCheckRun(repo, 7, check, { annotationsFrom: 55, signal })
  await started.checks.updateCheckRun(repo, 7, check, { annotationsFrom: 60, signal })
  expect(started.writes().map(annotated)).toEqual([5, 0])
  expect(started.writes().map(({ body }) => body.status)).toEqual(['completed', 'completed'])
})

test('an annotation without columns is sent without columns', async () => {
  await using started = await startChecks()
  const [first] = annotations(1).map((each) => ({ ...each, startColumn: null, endColumn: null, endLine: 3 }))
  await started.checks.createCheckRun(repo, { ...failed, annotations: first ? [first] : [] }, { signal })
  expect(started.writes()[0]?.body.output).toMatchObject({
    annotations: [
      {
        path: 'apps/shop.yaml',
        start_line: 1,
        end_line: 3,
        annotation_level: 'failure',
        title: 'Towline cannot use this spec',
        message: 'problem 1',
      },
    ],
  })
  expect(JSON.stringify(started.writes()[0]?.body)).not.toContain('column')
})

test('a run is found by its external id among all of its name, with what is annotated already', async () => {
  const runs = [
    { id: 8, external_id: 'd-0', output: { annotations_count: 0 } },
    { id: 9, external_id: 'd-1', output: { annotations_count: 50 } },
  ]
  await using started = await startChecks(runs)
  const query = { name: queued.name, headSha: 'c0ffee', externalId: 'd-1' }
  expect(await started.checks.findCheckRun(repo, query, { signal })).toEqual({ id: 9, annotationCount: 50 })
  expect(await started.checks.findCheckRun(repo, { ...query, externalId: 'd-9' }, { signal })).toBeNull()
  const [asked] = started.writes()
  expect([asked?.query.get('check_name'), asked?.query.get('filter')]).toEqual([queued.name, 'all'])
})
