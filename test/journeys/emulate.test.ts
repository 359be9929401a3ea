/**
 * Towline with a GitHub that others wrote: `emulate`, which signs webhooks and keeps check runs, but has no git. So the
 * commits come from our git server, and a write of the same file through its contents API makes it send the push.
 * It takes check runs for commits it does not know, but lists none of these; and it opens a run again that is asked to
 * run once more.
 */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import Docker from 'dockerode'
import { createEmulator, type Emulator } from 'emulate'
import type { FastifyInstance } from 'fastify'
import { pino } from 'pino'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { createEngine, type Engine } from '../../src/engine/engine.ts'
import { createSpecReader } from '../../src/engine/spec-reader.ts'
import { createAccess } from '../../src/github/access.ts'
import { createApp } from '../../src/github/app.ts'
import { createChecks } from '../../src/github/checks.ts'
import { createDeliveries } from '../../src/github/deliveries.ts'
import { createServer, webhookPath } from '../../src/monitor/server.ts'
import { openHosts } from '../../src/operator-config.ts'
import { openMirror } from '../../src/repo/mirror.ts'
import { readSourceFiles } from '../../src/source/files.ts'
import { parseServerConfig } from '../../src/spec/server.ts'
import { openEmbeddedStore } from '../../src/store/embedded.ts'
import {
  createBareRepo,
  type GitServer,
  openWorkTree,
  startGitServer,
  type WorkTree,
} from '../support/git-server.ts'
import { eventually, removeOwned, serverYaml } from '../support/town.ts'

const repo = 'acme/config'
const webhookSecret = 'a long random text'
const cleanUps: (() => Promise<unknown>)[] = []
let emulator: Emulator
let work: WorkTree

beforeAll(async () => {
  const folder = await mkdtemp(join(tmpdir(), 'towline-emulate-'))
  cleanUps.push(() => rm(folder, { recursive: true, force: true }))
  const git = await startGitServer({ token: 'a token for git' })
  cleanUps.push(() => git.close())
  work = await openWorkTree({ remote: await createBareRepo(git.root, repo) })
  cleanUps.push(async () => work[Symbol.asyncDispose]())
  await startTowline(folder, git)
})

afterAll(async () => {
  for (const cleanUp of cleanUps.reverse()) await cleanUp()
})

test('a push is deployed and shown, and a re-run makes a run of its own', async () => {
  const commit = await work.commit({ write: { 'apps/hello.yaml': hello } })
  await work.push()
  const change = { message: 'change', content: btoa(hello) }
  expect((await api('PUT', `/repos/${repo}/contents/apps/hello.yaml`, change)).status).toBe(201)
  expect(await runs('towline / deploy', { count: 1 })).toMatchObject([
    { conclusion: 'success', head_sha: commit },
  ])
  const [first] = await runs('towline / hello@local', { count: 1 })
  expect(first).toMatchObject({ conclusion: 'success', head_sha: commit })

  const rerequest = await api('POST', `/repos/${repo}/check-runs/${first?.id}/rerequest`)
  expect(rerequest.status).toBe(201)
  const [, second] = await runs('towline / hello@local', { count: 2 })
  expect(second).toMatchObject({ conclusion: 'success', head_sha: commit })
  expect(second?.external_id).not.toBe(first?.external_id)
})

const hello = `apiVersion: towline/v1
kind: Service
name: hello
image: towline-demo/hello:1
ports: ["8080"]
stop_grace_period: 1s
deploy: { update_config: { monitor: 200ms } }
`

/** All of the server but its settings: they have no place for an API without `/api/v3`, and git elsewhere. */
async function startTowline(folder: string, git: GitServer): Promise<void> {
  const dockerSocket = inject('dockerSocket')
  const { config } = parseServerConfig({
    path: 'server.yaml',
    text: serverYaml(dockerSocket),
    dockerHost: null,
  })
  if (!config) throw new Error('the settings of tests are wrong')
  const log = pino({ level: 'silent' })
  const server: FastifyInstance = createServer({
    webhook: (request) => app.receive(request),
    notReady: () => null,
    sweep: () => engine.sweep({ deep: true }),
    token: null,
    log,
  })
  emulator = await startEmulator(await server.listen({ host: '127.0.0.1', port: 0 }))
  cleanUps.push(() => emulator.close())
  const store = await openEmbeddedStore({ folder: join(folder, 'store'), onDamage: () => {} })
  const app = createApp({
    appId: 7,
    privateKey: emulator.generatedSecrets[0]?.value ?? '',
    webhookSecret,
    address: { apiUrl: emulator.url, gitUrl: '' },
    accept: (delivery) => engine.intake.accept(delivery),
    log,
  })
  const access = createAccess(app.probot, { configured: [{ repo, branch: 'main' }] })
  const mirror = await openMirror({
    ...{ folder: join(folder, 'mirror'), repo, url: git.url(repo), branch: 'main' },
    token: async () => 'a token for git',
  })
  const engine: Engine = createEngine({
    store,
    hosts: await openHosts(config, store.owner),
    github: { ...createChecks(access), ...createDeliveries(app.probot), repos: access.repos },
    mirror: async () => mirror,
    specs: createSpecReader({ hosts: ['local'], bindMounts: [] }),
    files: {
      treeOid: (_repo, commit, path, signal) => mirror.treeOid(commit, path, { signal }),
      read: (_repo, source, signal) => readSourceFiles(source, { tree: mirror, signal }),
    },
    siteServer: config.images.site,
    limits: config.limits,
    orphans: config.orphans,
    schedule: config.schedule,
    log,
  })
  cleanUps.push(async () => {
    await server.close()
    await engine.stop()
    await mirror.close()
    await store.close()
    await removeOwned(new Docker({ socketPath: dockerSocket }), store.owner)
  })
  await engine.start()
}

function startEmulator(url: string): Promise<Emulator> {
  return createEmulator({
    service: 'github',
    port: 0,
    seed: {
      tokens: { dev: { login: 'dev' } },
      github: {
        users: [{ login: 'dev' }],
        orgs: [{ login: 'acme', members: [{ login: 'dev', role: 'admin' }] }],
        repos: [{ owner: 'acme', name: 'config', private: true }],
        apps: [
          {
            ...{ app_id: 7, slug: 'towline', name: 'Towline' },
            permissions: { checks: 'write', contents: 'read' },
            events: ['push', 'check_run'],
            webhook_url: url + webhookPath,
            webhook_secret: webhookSecret,
            installations: [{ installation_id: 9, account: 'acme' }],
          },
        ],
      },
    },
  })
}

type Run = { id: number; name: string; status: string; conclusion: string | null; external_id: string }

/** The runs of that name, oldest first, once there are so many and the newest is complete. */
function runs(name: string, { count }: { count: number }): Promise<Run[]> {
  return eventually(`run ${count} of "${name}" to be complete`, async () => {
    const found = (await allRuns()).filter((run) => run.name === name)
    return found.length === count && found.at(-1)?.status === 'completed' ? found : null
  })
}

/** Ids count from 1. */
async function allRuns(): Promise<Run[]> {
  const found: Run[] = []
  for (;;) {
    const answer = await api('GET', `/repos/${repo}/check-runs/${found.length + 1}`)
    if (answer.status === 404) return found
    found.push((await answer.json()) as Run)
  }
}

function api(method: string, path: string, body?: object): Promise<Response> {
  return fetch(emulator.url + path, {
    method,
    headers: { authorization: 'token dev', 'content-type': 'application/json' },
    ...(body && { body: JSON.stringify(body) }),
  })
}
