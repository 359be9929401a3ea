import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { validateAgainstSchema } from './openapi.ts'
import { appJwt, eventually, installationClient, octokit, type Scene, startScene } from './scene.ts'

// Real git and real HTTP on a busy machine.
vi.setConfig({ testTimeout: 30_000, hookTimeout: 30_000 })

let scene: Scene
beforeAll(async () => {
  scene = await startScene()
  const client = await installationClient(scene.github)
  const { data: run } = await client.rest.checks.create({
    ...acme,
    name: 'deploy',
    head_sha: scene.sha,
    conclusion: 'failure',
    output: {
      title: 'failed',
      summary: 'no',
      annotations: [
        { path: 'a.yaml', start_line: 1, end_line: 1, annotation_level: 'failure', message: 'no' },
      ],
    },
  })
  scene.github.rerequestRun(Number(run.id))
  await scene.github.rerequestSuite(scene.sha)
  await scene.tree.push({ branch: 'gone' })
  await scene.tree.deleteRemoteBranch('gone')
  await eventually(() => {
    expect(payload('check_run', (one) => one.action === 'rerequested')).toBeDefined()
    expect(payload('check_suite', (one) => one.action === 'rerequested')).toBeDefined()
    expect(payload('push', (one) => one.deleted === true)).toBeDefined()
    expect(payload('installation', () => true)).toBeDefined()
  })
})
afterAll(() => scene[Symbol.asyncDispose]())

const acme = { owner: 'acme', repo: 'config' }

function payload(event: string, is: (one: Record<string, unknown>) => boolean) {
  return scene.sink.payloads(event).find(is)
}

/** To the validator a bigint is no integer. */
function rounded(answer: { id: number | bigint }): object {
  return { ...answer, id: Number(answer.id) }
}

const asApp = () => octokit(scene.github, appJwt(scene.github.app))
const run = () => scene.github.checkRuns('acme/config')[0]?.id ?? 0

test.each([
  ['integration', async () => (await asApp().rest.apps.getAuthenticated()).data],
  ['installation', async () => (await asApp().rest.apps.getRepoInstallation(acme)).data],
  [
    'hook-delivery-item',
    async () => rounded((await asApp().rest.apps.listWebhookDeliveries()).data[0] ?? { id: 0 }),
  ],
  [
    'hook-delivery',
    async () => {
      const id = scene.github.deliveries[0]?.id
      return rounded((await asApp().request(`GET /app/hook/deliveries/${id}`)).data)
    },
  ],
  [
    'installation-token',
    async () => {
      const client = asApp()
      const asked = { installation_id: scene.installationId, repositories: ['config'] }
      return (await client.rest.apps.createInstallationAccessToken(asked)).data
    },
  ],
])('the answer %s fits the schema GitHub publishes', async (schema, read) => {
  expect(validateAgainstSchema(schema, await read())).toEqual([])
})

test.each([
  ['full-repository', (client) => client.rest.repos.get(acme)],
  ['branch-with-protection', (client) => client.rest.repos.getBranch({ ...acme, branch: 'main' })],
  ['commit', (client) => client.rest.repos.getCommit({ ...acme, ref: 'main' })],
  ['check-run', (client) => client.rest.checks.get({ ...acme, check_run_id: run() })],
  [
    'check-suite',
    (client) => {
      const check_suite_id = scene.github.checkRuns('acme/config')[0]?.suiteId ?? 0
      return client.rest.checks.getSuite({ ...acme, check_suite_id })
    },
  ],
] satisfies [
  string,
  (client: Awaited<ReturnType<typeof installationClient>>) => Promise<{ data: unknown }>,
][])('the answer %s to an installation fits the schema GitHub publishes', async (schema, read) => {
  const { data } = await read(await installationClient(scene.github))
  expect(validateAgainstSchema(schema, data)).toEqual([])
})

test('a listed annotation fits the schema GitHub publishes', async () => {
  const client = await installationClient(scene.github)
  const { data } = await client.rest.checks.listAnnotations({ ...acme, check_run_id: run() })
  expect(data).toHaveLength(1)
  expect(validateAgainstSchema('check-annotation', data[0])).toEqual([])
})

const isAction = (action: string) => (one: Record<string, unknown>) => one.action === action

test.each([
  ['webhook-push', 'push', (one: Record<string, unknown>) => one.created === true],
  ['webhook-push', 'push', (one: Record<string, unknown>) => one.deleted === true],
  ['webhook-check-run-created', 'check_run', isAction('created')],
  ['webhook-check-run-completed', 'check_run', isAction('completed')],
  ['webhook-check-run-rerequested', 'check_run', isAction('rerequested')],
  ['webhook-check-suite-requested', 'check_suite', isAction('requested')],
  ['webhook-check-suite-completed', 'check_suite', isAction('completed')],
  ['webhook-check-suite-rerequested', 'check_suite', isAction('rerequested')],
  ['webhook-installation-created', 'installation', isAction('created')],
])('the payload %s fits the schema GitHub publishes', (schema, event, is) => {
  expect(validateAgainstSchema(schema, payload(event, is))).toEqual([])
})

test.each([
  ['push.json', 'push', (one: Record<string, unknown>) => one.created === true],
  ['push-branch-deleted.json', 'push', (one: Record<string, unknown>) => one.deleted === true],
  ['check-run-rerequested.json', 'check_run', isAction('rerequested')],
  ['check-suite-rerequested.json', 'check_suite', isAction('rerequested')],
])('the fixture %s has no field that the payload sent here lacks', (file, event, is) => {
  const fixture = JSON.parse(
    readFileSync(new URL(`../../../fixtures/webhooks/${file}`, import.meta.url), 'utf8'),
  )
  const known = new Set(fieldPaths(payload(event, is)))
  expect(fieldPaths(fixture).filter((path) => !known.has(path))).toEqual([])
})

/** Every field of a value as a dotted path; items of a list share one. */
function fieldPaths(value: unknown, at = ''): string[] {
  if (Array.isArray(value)) return value.flatMap((item) => fieldPaths(item, `${at}[]`))
  if (typeof value !== 'object' || value === null) return []
  return [at, ...Object.entries(value).flatMap(([key, item]) => fieldPaths(item, `${at}.${key}`))]
}
