import type { Octokit } from '@octokit/rest'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { validateAgainstOpenApi } from './openapi.ts'
import { appJwt, installationClient, octokit, type Scene, startScene } from './scene.ts'

// Real git and real HTTP on a busy machine.
vi.setConfig({ testTimeout: 30_000, hookTimeout: 30_000 })

let scene: Scene
let client: Octokit
beforeAll(async () => {
  scene = await startScene()
  client = await installationClient(scene.github)
})
afterAll(() => scene[Symbol.asyncDispose]())

const acme = { owner: 'acme', repo: 'config' }

/** Sends a body as it is, past Octokit's types. */
async function create(body: Record<string, unknown>) {
  const { data } = await client.request('POST /repos/{owner}/{repo}/check-runs', {
    ...acme,
    name: 'deploy',
    head_sha: scene.sha,
    ...body,
  })
  return { ...data, id: Number(data.id), suiteId: Number(data.check_suite?.id) }
}

async function update(id: number, body: Record<string, unknown>) {
  const { data } = await client.request('PATCH /repos/{owner}/{repo}/check-runs/{check_run_id}', {
    ...acme,
    check_run_id: id,
    ...body,
  })
  return data
}

function annotation(more: object = {}) {
  return {
    path: 'a.yaml',
    start_line: 1,
    end_line: 1,
    annotation_level: 'failure',
    message: 'wrong',
    ...more,
  }
}

function action(more: object = {}) {
  return { label: 'Fix', description: 'Fix it', identifier: 'fix', ...more }
}

test('a check run goes through its life and keeps every write', async () => {
  const run = await create({ name: 'life', status: 'queued', external_id: 'd1' })
  await update(run.id, { status: 'in_progress', output: { title: '10 %', summary: 'pulling' } })
  const done = await update(run.id, {
    status: 'completed',
    conclusion: 'success',
    output: { title: 'active', summary: 'done', text: 'all of it' },
  })
  expect(done).toMatchObject({ status: 'completed', conclusion: 'success', external_id: 'd1' })
  expect(done.completed_at).not.toBeNull()
  const [view] = scene.github.checkRuns('acme/config', scene.sha).filter((one) => one.id === run.id)
  expect(view?.history.map(({ status, title }) => [status, title])).toEqual([
    ['queued', null],
    ['in_progress', '10 %'],
    ['completed', 'active'],
  ])
  const fetched = await client.rest.checks.get({ ...acme, check_run_id: run.id })
  expect(fetched.data.output).toMatchObject({ title: 'active', summary: 'done', text: 'all of it' })
})

test('a conclusion alone completes a run', async () => {
  const run = await create({ conclusion: 'neutral' })
  expect(run.status).toBe('completed')
})

test.each([
  ['without a name', { name: undefined }, '"name" wasn\'t supplied'],
  ['without a head_sha', { head_sha: undefined }, '"head_sha" wasn\'t supplied'],
  [
    'on a commit that does not exist',
    { head_sha: 'f'.repeat(40) },
    `No commit found for SHA: ${'f'.repeat(40)}`,
  ],
  ['on a branch name instead of a commit', { head_sha: 'main' }, 'No commit found for SHA: main'],
  ['with output that has no title', { output: { summary: 's' } }, '"title" wasn\'t supplied'],
  ['with output that has no summary', { output: { title: 't' } }, '"summary" wasn\'t supplied'],
  [
    'with a summary beyond 65,535 characters',
    { output: { title: 't', summary: 'x'.repeat(65_536) } },
    'Only 65535 characters are allowed; 65536 were supplied.',
  ],
  [
    'with a text beyond 65,535 characters',
    { output: { title: 't', summary: 's', text: 'x'.repeat(65_536) } },
    'Only 65535 characters are allowed; 65536 were supplied.',
  ],
  ['with a status only GitHub sets', { status: 'waiting' }, 'is not a member of'],
  ['with a conclusion only GitHub sets', { conclusion: 'stale' }, 'is not a member of'],
  ['completed without a conclusion', { status: 'completed' }, 'conclusion'],
  ['with completed_at and no conclusion', { completed_at: '2026-01-01T00:00:00Z' }, 'conclusion'],
  ['with a time that is none', { started_at: 'yesterday' }, 'date-time'],
  ['with a field GitHub does not have', { headSha: 'x' }, '"headSha" is not a permitted key'],
  ['with null for a text', { external_id: null }, 'is not a string'],
])('a check run %s is refused', async (_, body, message) => {
  await expect(create(body)).rejects.toMatchObject({ status: 422, message: expect.stringContaining(message) })
})

test.each([
  [
    '51 of them',
    Array.from({ length: 51 }, () => annotation()),
    'No more than 50 items are allowed; 51 were supplied.',
  ],
  ['no path', [annotation({ path: undefined })], '"path" wasn\'t supplied'],
  ['an unknown level', [annotation({ annotation_level: 'error' })], 'is not a member of'],
  ['line 0', [annotation({ start_line: 0 })], 'must be >= 1'],
  ['an end before the start', [annotation({ start_line: 3, end_line: 2 })], 'annotations'],
  ['columns over several lines', [annotation({ end_line: 2, start_column: 1 })], 'annotations'],
  ['a message beyond 64 KB', [annotation({ message: 'x'.repeat(65_537) })], 'annotations'],
  [
    'a title beyond 255 characters',
    [annotation({ title: 'x'.repeat(256) })],
    'Only 255 characters are allowed',
  ],
])('annotations with %s are refused', async (_, annotations, message) => {
  const refused = create({ output: { title: 't', summary: 's', annotations } })
  await expect(refused).rejects.toMatchObject({ status: 422, message: expect.stringContaining(message) })
})

test.each([
  ['four of them', Array.from({ length: 4 }, () => action())],
  ['a label beyond 20 characters', [action({ label: 'x'.repeat(21) })]],
  ['a description beyond 40 characters', [action({ description: 'x'.repeat(41) })]],
  ['an identifier beyond 20 characters', [action({ identifier: 'x'.repeat(21) })]],
  ['no identifier', [action({ identifier: undefined })]],
])('actions with %s are refused', async (_, actions) => {
  await expect(create({ actions })).rejects.toMatchObject({ status: 422 })
})

test('annotations of later requests are appended and listed in pages', async () => {
  const fifty = Array.from({ length: 50 }, (_, index) =>
    annotation({ start_line: index + 1, end_line: index + 1 }),
  )
  const run = await create({ output: { title: 't', summary: 's', annotations: fifty } })
  const more = [annotation({ start_line: 51, end_line: 51, start_column: 2, end_column: 9 })]
  const updated = await update(run.id, { output: { title: 't', summary: 's', annotations: more } })
  expect(updated.output.annotations_count).toBe(51)
  const all = await client.paginate(client.rest.checks.listAnnotations, {
    ...acme,
    check_run_id: run.id,
    per_page: 20,
  })
  expect(all.map((one) => one.start_line)).toEqual(Array.from({ length: 51 }, (_, index) => index + 1))
  expect(all.at(-1)).toMatchObject({ start_column: 2, end_column: 9 })
})

test('a completed run does not go back, but its text may change', async () => {
  const run = await create({ conclusion: 'failure' })
  await expect(update(run.id, { status: 'in_progress' })).rejects.toMatchObject({ status: 422 })
  const changed = await update(run.id, { output: { summary: 'later words' } })
  expect(changed).toMatchObject({
    status: 'completed',
    conclusion: 'failure',
    output: { summary: 'later words' },
  })
})

test('only Apps write check runs, and only the App that made one changes it', async () => {
  const { github } = scene
  const user = octokit(github, github.userToken())
  await expect(user.rest.checks.create({ ...acme, name: 'x', head_sha: scene.sha })).rejects.toMatchObject({
    status: 403,
    message: expect.stringContaining('You must authenticate via a GitHub App'),
  })
  const other = await github.registerApp({ slug: 'other' })
  github.installApp({ app: other, repos: ['acme/config'] })
  const theirs = await installationClient(github, { app: other })
  const run = await create({})
  await expect(
    theirs.rest.checks.update({ ...acme, check_run_id: run.id, conclusion: 'success' }),
  ).rejects.toMatchObject({ status: 403, message: expect.stringContaining('Invalid app_id') })
})

test('runs of a commit are filtered by name, status, App and newest of a name', async () => {
  const sha = await scene.tree.commit({ message: 'filters' })
  await scene.tree.push()
  const first = await create({ head_sha: sha, name: 'a', conclusion: 'failure' })
  const again = await create({ head_sha: sha, name: 'a', status: 'in_progress' })
  const other = await create({ head_sha: sha, name: 'b' })
  const list = async (query: object) => {
    const { data } = await client.rest.checks.listForRef({ ...acme, ref: sha, ...query })
    return data.check_runs.map((run) => run.id)
  }
  expect(await list({})).toEqual([other.id, again.id])
  expect(await list({ filter: 'all' })).toEqual([other.id, again.id, first.id])
  expect(await list({ check_name: 'a' })).toEqual([again.id])
  expect(await list({ status: 'in_progress' })).toEqual([again.id])
  expect(await list({ app_id: scene.github.app.id })).toEqual([other.id, again.id])
  expect(await list({ app_id: 1 })).toEqual([])
  expect(await list({ per_page: 1, page: 2 })).toEqual([again.id])
})

test('there is one suite for an App and a commit, settled by its latest runs', async () => {
  const sha = await scene.tree.commit({ message: 'suites' })
  await scene.tree.push()
  const run = await create({ head_sha: sha, name: 'a', conclusion: 'failure' })
  const suiteOf = async () => {
    const { data } = await client.rest.checks.listSuitesForRef({ ...acme, ref: sha })
    return data.check_suites.filter((suite) => suite.app?.id === scene.github.app.id)
  }
  expect(await suiteOf()).toMatchObject([{ id: run.suiteId, status: 'completed', conclusion: 'failure' }])
  await create({ head_sha: sha, name: 'a', conclusion: 'success' })
  expect(await suiteOf()).toMatchObject([{ id: run.suiteId, status: 'completed', conclusion: 'success' }])
  const { data: runs } = await client.rest.checks.listForSuite({
    ...acme,
    check_suite_id: run.suiteId,
  })
  expect(runs.total_count).toBe(1)
})

test('a re-run leaves the run as it is and resets the suite', async () => {
  const { github } = scene
  const run = await create({ name: 'again', conclusion: 'failure' })
  const user = octokit(github, github.userToken('mallory'))
  await user.rest.checks.rerequestRun({ ...acme, check_run_id: run.id })
  const { data: after } = await client.rest.checks.get({ ...acme, check_run_id: run.id })
  expect(after).toMatchObject({ status: 'completed', conclusion: 'failure' })
  const { data: suite } = await client.rest.checks.getSuite({
    ...acme,
    check_suite_id: run.suiteId,
  })
  expect(suite).toMatchObject({ status: 'queued', conclusion: null })
  await user.rest.checks.rerequestSuite({ ...acme, check_suite_id: run.suiteId })

  const open = await create({ name: 'still running', status: 'in_progress' })
  await expect(user.rest.checks.rerequestRun({ ...acme, check_run_id: open.id })).rejects.toMatchObject({
    status: 422,
  })
})

test('an App that has no installation on the repository sees nothing of it', async () => {
  const stranger = await scene.github.registerApp({ slug: 'stranger' })
  const jwt = octokit(scene.github, appJwt(stranger))
  await expect(jwt.rest.apps.getRepoInstallation(acme)).rejects.toMatchObject({ status: 404 })
})

test('all that was accepted here fits the description GitHub publishes', () => {
  const accepted = scene.github.requests.filter(({ status }) => status !== null && status < 300)
  expect(accepted.filter(({ method }) => method === 'PATCH').length).toBeGreaterThan(0)
  expect(validateAgainstOpenApi(accepted)).toEqual([])
})
