import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { appJwt, installationClient, installationToken, octokit, type Scene, startScene } from './scene.ts'

// Real git and real HTTP on a busy machine.
vi.setConfig({ testTimeout: 30_000, hookTimeout: 30_000 })

let scene: Scene
beforeAll(async () => {
  scene = await startScene()
})
afterAll(() => scene[Symbol.asyncDispose]())

const acme = { owner: 'acme', repo: 'config' }
const now = () => Math.floor(Date.now() / 1000)

test('an App with its JWT learns who it is and where it is installed', async () => {
  const { github, installationId } = scene
  const client = octokit(github, appJwt(github.app))
  const { data: app } = await client.rest.apps.getAuthenticated()
  expect(app).toMatchObject({ id: github.app.id, slug: 'towline', permissions: { checks: 'write' } })
  const { data: installations } = await client.rest.apps.listInstallations()
  expect(installations).toMatchObject([{ id: installationId, account: { login: 'acme' } }])
  const { data: one } = await client.rest.apps.getInstallation({ installation_id: installationId })
  expect(one.repository_selection).toBe('selected')
})

test.each([
  ['has expired', () => ({ iat: now() - 700, exp: now() - 100 }), 401, "('exp') must be a numeric value"],
  ['lives longer than ten minutes', () => ({ exp: now() + 700 }), 401, "('exp') is too far in the future"],
  ['was issued in the future', () => ({ iat: now() + 120 }), 401, "('iat') must be an Integer"],
  ['names no App', () => ({ iss: 1 }), 404, 'Integration not found'],
])('a JWT that %s is refused as GitHub words it', async (_, claims, status, message) => {
  const client = octokit(scene.github, appJwt(scene.github.app, claims()))
  await expect(client.rest.apps.getAuthenticated()).rejects.toMatchObject({
    status,
    message: expect.stringContaining(message),
  })
})

test('a JWT signed with the key of another App is refused', async () => {
  const other = await scene.github.registerApp({ slug: 'other' })
  const client = octokit(scene.github, appJwt(scene.github.app, {}, other.privateKey))
  await expect(client.rest.apps.getAuthenticated()).rejects.toMatchObject({
    status: 401,
    message: expect.stringContaining('A JSON web token could not be decoded'),
  })
})

test('an App cannot get a token for the installation of another', async () => {
  const other = await scene.github.registerApp({ slug: 'other' })
  const client = octokit(scene.github, appJwt(other))
  const asked = client.rest.apps.createInstallationAccessToken({ installation_id: scene.installationId })
  await expect(asked).rejects.toMatchObject({ status: 404 })
})

test('an installation token is long, holds dots and underscores and lives an hour', async () => {
  const client = octokit(scene.github, appJwt(scene.github.app))
  const { data } = await client.rest.apps.createInstallationAccessToken({
    installation_id: scene.installationId,
  })
  expect(data.token).toMatch(/^ghs_\d+_[\w-]+\.[\w-]+\.[\w-]+$/)
  expect(data.token.length).toBeGreaterThan(100)
  expect(Date.parse(data.expires_at) - Date.now()).toBeGreaterThan(59 * 60 * 1000)
})

test('a token for more than was granted is refused', async () => {
  const client = octokit(scene.github, appJwt(scene.github.app))
  const installation_id = scene.installationId
  await expect(
    client.rest.apps.createInstallationAccessToken({ installation_id, permissions: { contents: 'write' } }),
  ).rejects.toMatchObject({
    status: 422,
    message: expect.stringContaining('not granted to this installation'),
  })
  await expect(
    client.rest.apps.createInstallationAccessToken({ installation_id, repositories: ['secrets'] }),
  ).rejects.toMatchObject({ status: 422, message: expect.stringContaining('not accessible to the parent') })
})

test('a narrowed token may do only what it was narrowed to', async () => {
  const client = await installationClient(scene.github, { permissions: { contents: 'read' } })
  const { data: branch } = await client.rest.repos.getBranch({ ...acme, branch: 'main' })
  expect(branch.commit.sha).toBe(scene.sha)
  await expect(
    client.rest.checks.create({ ...acme, name: 'deploy', head_sha: scene.sha }),
  ).rejects.toMatchObject({
    status: 403,
    message: expect.stringContaining('Resource not accessible by integration'),
  })
})

test('repositories of an installation come in pages', async () => {
  const { github } = scene
  const app = await github.registerApp({ slug: 'everywhere' })
  for (const name of ['one', 'two', 'three']) await github.addRepo(`beta/${name}`)
  github.installApp({ app, account: 'beta', repos: 'all' })
  const jwt = octokit(github, appJwt(app))
  const { data: installation } = await jwt.rest.apps.getRepoInstallation({ owner: 'beta', repo: 'one' })
  const { data } = await jwt.rest.apps.createInstallationAccessToken({ installation_id: installation.id })
  const client = octokit(github, data.token)
  const first = await client.rest.apps.listReposAccessibleToInstallation({ per_page: 2 })
  expect(first.data.total_count).toBe(3)
  expect(first.headers.link).toContain('rel="next"')
  const names = await client.paginate(client.rest.apps.listReposAccessibleToInstallation, { per_page: 2 })
  expect(names.map((repo) => repo.full_name)).toEqual(['beta/one', 'beta/two', 'beta/three'])
})

test('a private repository does not exist for who may not see it', async () => {
  const anonymous = octokit(scene.github)
  await expect(anonymous.rest.repos.get(acme)).rejects.toMatchObject({ status: 404 })
  const client = await installationClient(scene.github)
  expect((await client.rest.repos.get(acme)).data).toMatchObject({ full_name: 'acme/config', private: true })
})

test('an unknown or expired token is bad credentials', async () => {
  await expect(octokit(scene.github, 'ghs_1_a.b.c').rest.repos.get(acme)).rejects.toMatchObject({
    status: 401,
    message: expect.stringContaining('Bad credentials'),
  })
  const client = octokit(scene.github, await installationToken(scene.github))
  await client.rest.repos.get(acme)
  scene.github.expireTokens()
  await expect(client.rest.repos.get(acme)).rejects.toMatchObject({ status: 401 })
})

test('branches with slashes and commits by ref, branch or SHA are found', async () => {
  await scene.tree.push({ branch: 'feature/x' })
  const client = await installationClient(scene.github)
  const { data: branch } = await client.rest.repos.getBranch({ ...acme, branch: 'feature/x' })
  expect(branch.name).toBe('feature/x')
  for (const ref of ['main', 'feature/x', scene.sha, 'heads/main']) {
    const { data: commit } = await client.rest.repos.getCommit({ ...acme, ref })
    expect(commit).toMatchObject({ sha: scene.sha, commit: { message: 'Add hello' } })
  }
  await expect(client.rest.repos.getBranch({ ...acme, branch: 'gone' })).rejects.toMatchObject({
    status: 404,
  })
})
