import { Probot } from 'probot'
import { expect, test } from 'vitest'
import { validateAgainstOpenApi } from './openapi.ts'
import { eventually, startScene } from './scene.ts'

test('Probot gets a token, writes a check run and accepts the webhooks', { timeout: 30_000 }, async () => {
  await using scene = await startScene()
  const { github, sink, sha, installationId } = scene
  const probot = new Probot({
    appId: github.app.id,
    privateKey: github.app.privateKey,
    secret: 'a webhook secret',
    baseUrl: `${github.url}/api/v3`,
    logLevel: 'fatal',
  })
  await probot.ready()
  const client = await probot.auth(installationId)
  const acme = { owner: 'acme', repo: 'config' }
  const { data: run } = await client.rest.checks.create({ ...acme, name: 'deploy', head_sha: sha })
  await client.rest.checks.update({ ...acme, check_run_id: Number(run.id), conclusion: 'success' })
  expect(github.checkRuns('acme/config')).toMatchObject([{ status: 'completed', conclusion: 'success' }])

  await eventually(() => expect(sink.payloads('check_run').map((one) => one.action)).toContain('completed'))
  for (const { headers, body } of sink.received) {
    const signature = String(headers['x-hub-signature-256'])
    expect(await probot.webhooks.verify(body, signature)).toBe(true)
    expect(await probot.webhooks.verify(`${body} `, signature)).toBe(false)
  }
  expect(github.unknownRequests).toEqual([])
  expect(validateAgainstOpenApi(github.requests)).toEqual([])
})
