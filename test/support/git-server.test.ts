import { execFile } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type Server } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { gzipSync } from 'node:zlib'
import { afterEach, beforeEach, expect, test } from 'vitest'
import {
  createBareRepo,
  type GitPush,
  type GitRequest,
  type GitVerdict,
  gitHttpHandler,
  openWorkTree,
} from './git-server.ts'

let root: string
let listener: Server
let base: string
let verdict: (request: GitRequest) => GitVerdict
let asked: GitRequest[]
let pushes: GitPush[]

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'towline-git-server-'))
  verdict = () => 'ok'
  asked = []
  pushes = []
  const handle = gitHttpHandler({
    root,
    authorize: (request) => {
      asked.push(request)
      return verdict(request)
    },
    onPush: (push) => pushes.push(push),
  })
  listener = createServer((req, res) => {
    if (!handle(req, res)) res.writeHead(418).end()
  })
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve))
  const address = listener.address()
  base = typeof address === 'object' ? `127.0.0.1:${address?.port}` : ''
  await createBareRepo(root, 'acme/config')
})

afterEach(async () => {
  listener.closeAllConnections()
  await new Promise<void>((resolve) => listener.close(() => resolve()))
  await rm(root, { recursive: true, force: true })
})

test('git pushes and clones through it, and each changed ref is reported once', async () => {
  verdict = ({ user }) => (user === null ? 'unauthorized' : 'ok') // Git asks without a name first.
  await using work = await openWorkTree({ remote: `http://me:secret@${base}/acme/config.git` })
  const first = await work.commit({ write: { a: '1' } })
  await work.push()
  const second = await work.commit({ write: { a: 'x'.repeat(2_000_000) } })
  await work.push()
  await work.push()
  await work.push({ branch: 'preview' })
  await work.deleteRemoteBranch('preview')
  const none = '0'.repeat(40)
  expect(pushes).toEqual([
    { repo: 'acme/config', ref: 'refs/heads/main', before: none, after: first },
    { repo: 'acme/config', ref: 'refs/heads/main', before: first, after: second },
    { repo: 'acme/config', ref: 'refs/heads/preview', before: none, after: second },
    { repo: 'acme/config', ref: 'refs/heads/preview', before: second, after: none },
  ])
  expect(asked).toContainEqual({
    repo: 'acme/config',
    service: 'receive-pack',
    user: 'me',
    password: 'secret',
  })
  await using clone = await openWorkTree({ remote: `http://me:secret@${base}/acme/config.git` })
  expect(await clone.git(['rev-parse', 'HEAD'])).toBe(second)
})

test('a compressed request of protocol 2 is understood', async () => {
  await using work = await openWorkTree({ remote: `http://${base}/acme/config.git` })
  const head = await work.commit({ write: { a: '1' } })
  await work.push()
  const response = await fetch(`http://${base}/acme/config.git/git-upload-pack`, {
    method: 'POST',
    headers: {
      'content-type': 'application/x-git-upload-pack-request',
      'content-encoding': 'gzip',
      'git-protocol': 'version=2',
    },
    body: gzipSync('0014command=ls-refs\n00010000'),
  })
  expect(await response.text()).toContain(`${head} refs/heads/main`)
})

test.each([
  ['unauthorized', 401],
  ['forbidden', 403],
  ['not-found', 404],
] as const)('%s is answered with %i', async (answer, status) => {
  verdict = () => answer
  const response = await fetch(`http://${base}/acme/config.git/info/refs?service=git-upload-pack`)
  expect(response.status).toBe(status)
  expect(response.headers.has('www-authenticate')).toBe(status === 401)
})

test('a repository or a service that does not exist is not found; other paths are left alone', async () => {
  const status = async (path: string) => (await fetch(`http://${base}${path}`)).status
  expect(await status('/acme/other.git/info/refs?service=git-upload-pack')).toBe(404)
  expect(await status('/acme/config.git/config')).toBe(404)
  expect(await status('/acme/config')).toBe(418)
  expect(await status('/..%2f/config.git/info/refs?service=git-upload-pack')).toBe(418)
})

test('git is refused with a wrong password', async () => {
  verdict = () => 'unauthorized'
  const env = { PATH: process.env.PATH, GIT_TERMINAL_PROMPT: '0' }
  const run = promisify(execFile)('git', ['ls-remote', `http://a:b@${base}/acme/config.git`], { env })
  await expect(run).rejects.toThrow('Authentication failed')
})
