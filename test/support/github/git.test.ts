import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { installationToken, type Scene, startScene } from './scene.ts'

// Real git and real HTTP on a busy machine.
vi.setConfig({ testTimeout: 30_000, hookTimeout: 30_000 })

let scene: Scene
let folder: string
beforeAll(async () => {
  scene = await startScene()
  folder = await mkdtemp(join(tmpdir(), 'towline-git-test-'))
})
afterAll(async () => {
  await scene[Symbol.asyncDispose]()
  await rm(folder, { recursive: true, force: true })
})

/** The real git, without the configuration of the machine. */
async function git(args: string[]): Promise<string> {
  const env = {
    PATH: process.env.PATH,
    HOME: folder,
    GIT_CONFIG_GLOBAL: '/dev/null',
    GIT_CONFIG_NOSYSTEM: '1',
    GIT_TERMINAL_PROMPT: '0',
  }
  const { stdout } = await promisify(execFile)('git', args, { env, timeout: 20_000 })
  return stdout
}

function withToken(token: string): string[] {
  const credentials = Buffer.from(`x-access-token:${token}`).toString('base64')
  return ['-c', `http.extraHeader=Authorization: Basic ${credentials}`]
}

test('git clones with an installation token that may read contents', async () => {
  const token = await installationToken(scene.github, { permissions: { contents: 'read' } })
  const target = join(folder, 'clone')
  await git([...withToken(token), 'clone', '--quiet', scene.github.gitUrl('acme/config'), target])
  expect(await readFile(join(target, 'apps/hello.yaml'), 'utf8')).toBe('name: hello\n')
})

test.each([
  ['without credentials', async () => []],
  ['with an unknown token', async () => withToken('ghs_1_a.b.c')],
  [
    'with a token that may not read contents',
    async () => withToken(await installationToken(scene.github, { permissions: { checks: 'write' } })),
  ],
])('git cannot read a private repository %s', async (_, args) => {
  const read = git([...(await args()), 'ls-remote', scene.github.gitUrl('acme/config')])
  await expect(read).rejects.toThrow()
})

test('git cannot read a repository the token does not reach', async () => {
  await scene.github.addRepo('acme/secrets')
  const token = await installationToken(scene.github)
  const read = git([...withToken(token), 'ls-remote', scene.github.gitUrl('acme/secrets')])
  await expect(read).rejects.toThrow(/not found/)
})

test('anyone reads a public repository, only people push to it', async () => {
  await scene.github.addRepo('acme/open', { private: false })
  const url = scene.github.gitUrl('acme/open')
  await git(['ls-remote', url])
  const push = (args: string[]) =>
    git([...args, '--git-dir', join(folder, 'clone', '.git'), 'push', '--quiet', url, 'main'])
  await expect(push([])).rejects.toThrow()
  await expect(push(withToken(await installationToken(scene.github)))).rejects.toThrow()
  await push(scene.github.pushArgs())
  expect(await git(['ls-remote', url])).toContain(scene.sha)
})

test('no token stands in a URL or in the record of requests', async () => {
  const token = await installationToken(scene.github)
  await git([...withToken(token), 'ls-remote', scene.github.gitUrl('acme/config')])
  const record = JSON.stringify(scene.github.requests)
  expect(record).toContain('/acme/config.git/info/refs')
  expect(record).not.toMatch(/gh[sp]_|eyJ/)
  expect(scene.github.requests.some((one) => /^installation \d+$/.test(one.caller))).toBe(true)
  expect(scene.github.requests.some((one) => one.caller === 'user dev')).toBe(true)
})
