import { createHmac } from 'node:crypto'
import { expect, test } from 'vitest'
import type { Delivery } from '../engine/records.ts'
import { TowlineError } from '../rollout/error.ts'
import { gitHubAddress, type WebhookRequest } from './app.ts'
import { startApp, webhookSecret } from './github-api.fixture.ts'

const repository = { full_name: 'acme/config' }

function sign(body: Buffer, secret = webhookSecret): string {
  return `sha256=${createHmac('sha256', secret).update(body).digest('hex')}`
}

function webhook(event: string, payload: unknown, over: Partial<WebhookRequest> = {}): WebhookRequest {
  const body = Buffer.from(JSON.stringify(payload))
  return { body, deliveryGuid: 'guid-0001', event, signature: sign(body), ...over }
}

/** The answer to a webhook, and what was stored of it. */
async function receive(request: WebhookRequest) {
  const stored: Pick<Delivery, 'guid' | 'hint'>[] = []
  await using started = await startApp(
    () => null,
    async (delivery) => {
      stored.push(delivery)
      return 'stored'
    },
  )
  return { answer: await started.app.receive(request), stored }
}

test('github.com and an Enterprise Server have their API and git at the documented places', () => {
  expect(gitHubAddress({ host: null, protocol: 'https' })).toEqual({
    apiUrl: 'https://api.github.com',
    gitUrl: 'https://github.com',
  })
  expect(gitHubAddress({ host: 'ghe.example', protocol: 'https' })).toEqual({
    apiUrl: 'https://ghe.example/api/v3',
    gitUrl: 'https://ghe.example',
  })
})

test.each(['push', 'pull_request'])('a %s is the hint to look at the repo again', async (event) => {
  const { answer, stored } = await receive(webhook(event, { action: 'opened', repository }))
  expect(answer).toEqual({ status: 202, message: 'stored' })
  expect(stored).toEqual([{ guid: 'guid-0001', hint: { kind: 'repo', repo: 'acme/config' } }])
})

test('Re-run of a check run says which run it was', async () => {
  const run = { head_sha: 'c0ffee', name: 'towline / shop@web-1', external_id: 'd-1' }
  const request = webhook('check_run', { action: 'rerequested', repository, check_run: run })
  expect((await receive(request)).stored).toEqual([
    {
      guid: 'guid-0001',
      hint: {
        kind: 'rerunCheck',
        repo: 'acme/config',
        headSha: 'c0ffee',
        name: 'towline / shop@web-1',
        externalId: 'd-1',
      },
    },
  ])
})

test('"Re-run all checks" says which commit it was', async () => {
  const payload = { action: 'rerequested', repository, check_suite: { head_sha: 'c0ffee' } }
  expect((await receive(webhook('check_suite', payload))).stored).toEqual([
    { guid: 'guid-0001', hint: { kind: 'rerunSuite', repo: 'acme/config', headSha: 'c0ffee' } },
  ])
})

test('each repo the App is newly installed on is looked at, under an id of its own', async () => {
  const repos = [{ full_name: 'acme/a' }, { full_name: 'acme/b' }]
  const stored = [
    { guid: 'guid-0001:acme/a', hint: { kind: 'repo', repo: 'acme/a' } },
    { guid: 'guid-0001:acme/b', hint: { kind: 'repo', repo: 'acme/b' } },
  ]
  const created = webhook('installation', { action: 'created', repositories: repos })
  expect((await receive(created)).stored).toEqual(stored)
  const added = webhook('installation_repositories', { action: 'added', repositories_added: repos })
  expect((await receive(added)).stored).toEqual(stored)
})

test.each([
  ['ping', { zen: 'Keep it logically awesome.' }],
  ['check_run', { action: 'completed', repository }],
  ['issues', { action: 'opened', repository }],
])('a %s is acknowledged and means nothing', async (event, payload) => {
  const { answer, stored } = await receive(webhook(event, payload))
  expect([answer.status, stored]).toEqual([202, []])
})

const push = webhook('push', { repository })

test.each<[string, Partial<WebhookRequest>, number, string]>([
  ['without a delivery id', { deliveryGuid: undefined }, 400, 'X-GitHub-Delivery'],
  ['with an id no file could have', { deliveryGuid: '../../etc/passwd' }, 400, 'X-GitHub-Delivery'],
  ['with an endless id', { deliveryGuid: 'a'.repeat(65) }, 400, 'X-GitHub-Delivery'],
  ['without an event', { event: undefined }, 400, 'X-GitHub-Event'],
  ['without a signature', { signature: undefined }, 401, 'X-Hub-Signature-256'],
  ['signed with another secret', { signature: sign(push.body, 'wrong') }, 401, 'signature'],
  ['with a changed body', { body: Buffer.from('{}') }, 401, 'signature'],
  ['with a signature of no form', { signature: 'nonsense' }, 401, 'signature'],
  ['with an empty body', { body: Buffer.alloc(0), signature: sign(Buffer.alloc(0)) }, 401, 'signature'],
])('a webhook %s is refused and nothing is stored', async (_what, over, status, said) => {
  const { answer, stored } = await receive({ ...push, ...over })
  expect(answer.status).toBe(status)
  expect(answer.message).toContain(said)
  expect(stored).toEqual([])
})

test.each(['not JSON', '"a text"', 'null', '3'])('a signed body that is %s is refused', async (content) => {
  const body = Buffer.from(content)
  const { answer } = await receive({ ...push, body, signature: sign(body) })
  expect(answer).toEqual({ status: 400, message: 'the body is not a JSON object' })
})

test('a webhook that cannot be stored is not acknowledged', async () => {
  const full = () => Promise.reject(new TowlineError('the disk is full', { fault: 'operator' }))
  await using started = await startApp(() => null, full)
  await expect(started.app.receive(push)).rejects.toThrow()
})
