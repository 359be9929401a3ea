import { randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { createServer as createHttpServer } from 'node:http'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { setTimeout } from 'node:timers/promises'
import { inspect } from 'node:util'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import {
  createBareRepo,
  type GitServer,
  openWorkTree,
  startGitServer,
} from '../../test/support/git-server.ts'
import { TowlineError } from '../rollout/error.ts'
import { type MirrorOptions, openMirror } from './mirror.ts'

// Each test runs a few dozen git processes; a busy machine takes its time.
vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 })

const token = 'ghs_12_a.very-secret_token'
const repo = 'acme/config'
const signal = new AbortController().signal

let server: GitServer
let folder: string
let cleanUps: (() => PromiseLike<unknown>)[]

beforeEach(async () => {
  cleanUps = []
  server = await startGitServer({ token })
  await createBareRepo(server.root, repo)
  folder = await mkdtemp(join(tmpdir(), 'towline-mirror-'))
  cleanUps.push(
    () => rm(folder, { recursive: true, force: true }),
    () => server.close(),
  )
})

afterEach(async () => {
  for (const cleanUp of cleanUps.reverse()) await cleanUp()
})

describe('following a branch', () => {
  test('the first fetch brings the files of the head', async () => {
    const work = await workTree()
    const head = await work.commit({ write: { 'apps/a.yaml': 'a: 1\n', 'README.md': 'hi\n' } })
    await work.push()
    const mirror = await open()
    expect(await mirror.probe({ signal })).toBe(head)
    expect(await mirror.fetch({ signal })).toBe(head)
    const entries = await mirror.list(head, { signal })
    expect(entries.map(({ path, kind }) => [path, kind])).toEqual([
      ['README.md', 'file'],
      ['apps/a.yaml', 'file'],
    ])
    expect(await text(mirror, entries[1]?.oid)).toBe('a: 1\n')
  })

  test('a fetch with nothing new keeps the head and adds no pack', async () => {
    const work = await workTree()
    const head = await work.commit({ write: { a: '1' } })
    await work.push()
    const mirror = await open()
    await mirror.fetch({ signal })
    const before = await packNames()
    expect(await mirror.fetch({ signal })).toBe(head)
    expect(await packNames()).toEqual(before)
  })

  test('a new commit is fetched without the files already here', async () => {
    const work = await workTree()
    await work.commit({ write: { 'big.bin': randomBytes(300_000), 'apps/a.yaml': 'a: 1\n' } })
    await work.push()
    const mirror = await open()
    await mirror.fetch({ signal })
    const before = await packNames()
    const head = await work.commit({ write: { 'apps/a.yaml': 'a: 2\n' } })
    await work.push()
    expect(await mirror.fetch({ signal })).toBe(head)
    const added = (await packNames()).filter((name) => !before.includes(name))
    expect(added).toHaveLength(1)
    expect((await readFile(added[0] ?? '')).byteLength).toBeLessThan(10_000)
    const [entry] = await mirror.list(head, { under: 'apps', signal })
    expect(await text(mirror, entry?.oid)).toBe('a: 2\n')
  })

  test('the commit before stays readable after a fetch', async () => {
    const work = await workTree()
    const first = await work.commit({ write: { a: 'old' } })
    await work.push()
    const mirror = await open()
    await mirror.fetch({ signal })
    await work.commit({ write: { a: 'new' } })
    await work.push()
    await mirror.fetch({ signal })
    expect(await content(mirror, first, 'a')).toBe('old')
  })

  test('a force-push is followed by a fresh clone, without the history it would drag in', async () => {
    const work = await workTree()
    const base = await work.commit({ write: { a: '0' } })
    const left = await work.commit({ write: { a: '1' } })
    await work.push()
    const mirror = await open()
    await mirror.fetch({ signal })
    await work.reset(base)
    const right = await work.commit({ write: { a: '2' } })
    await work.push({ force: true })
    expect(await mirror.fetch({ signal })).toBe(right)
    expect(await content(mirror, right, 'a')).toBe('2')
    expect(await content(mirror, left, 'a')).toBe('1')
    expect(await clones()).toEqual(['clone-1', 'clone-2'])
  })

  test('a branch moved back to an older commit is followed', async () => {
    const work = await workTree()
    const base = await work.commit({ write: { a: '0' } })
    await work.commit({ write: { a: '1' } })
    await work.push()
    const mirror = await open()
    await mirror.fetch({ signal })
    await work.reset(base)
    await work.push({ force: true })
    expect(await mirror.fetch({ signal })).toBe(base)
    expect(await content(mirror, base, 'a')).toBe('0')
  })

  test('a deleted branch is null, and one made again under its name is followed', async () => {
    const work = await workTree()
    await work.commit({ write: { a: '1' } })
    await work.push()
    await work.push({ branch: 'live' })
    const mirror = await open({ branch: 'live' })
    expect(await mirror.fetch({ signal })).not.toBeNull()
    await work.deleteRemoteBranch('live')
    expect(await mirror.probe({ signal })).toBeNull()
    expect(await mirror.fetch({ signal })).toBeNull()
    await work.startOver()
    const head = await work.commit({ write: { b: '2' } })
    await work.push({ branch: 'live' })
    expect(await mirror.fetch({ signal })).toBe(head)
    expect((await mirror.list(head, { signal })).map(({ path }) => path)).toEqual(['b'])
  })

  test('an empty repository and a branch that never was are null', async () => {
    const empty = await open()
    expect(await empty.probe({ signal })).toBeNull()
    expect(await empty.fetch({ signal })).toBeNull()
    const work = await workTree()
    await work.commit({ write: { a: '1' } })
    await work.push()
    const absent = await open({ branch: 'mai', folder: join(folder, 'absent') })
    expect(await absent.probe({ signal })).toBeNull()
    expect(await absent.fetch({ signal })).toBeNull()
  })

  test('a tag with the name of the branch does not stand in for it', async () => {
    const work = await workTree()
    await work.commit({ write: { a: 'tagged' } })
    await work.git(['tag', 'main'])
    await work.git(['push', '--quiet', 'origin', 'refs/tags/main'])
    const head = await work.commit({ write: { a: 'branch' } })
    await work.push()
    const mirror = await open()
    expect(await mirror.probe({ signal })).toBe(head)
    expect(await mirror.fetch({ signal })).toBe(head)
  })

  test('at fifty packs the mirror is cloned anew', async () => {
    const work = await workTree()
    await work.commit({ write: { a: '0' } })
    await work.push()
    const mirror = await open()
    await mirror.fetch({ signal })
    for (let count = 1; count < 50; count++) {
      await work.commit({ write: { a: String(count) } })
      await work.push()
      await mirror.fetch({ signal })
    }
    expect(await clones()).toEqual(['clone-1'])
    const head = await work.commit({ write: { a: 'last' } })
    await work.push()
    expect(await mirror.fetch({ signal })).toBe(head)
    expect(await clones()).toEqual(['clone-1', 'clone-2'])
    expect(await content(mirror, head, 'a')).toBe('last')
  })

  test('each call costs two requests: the token is sent from the first one on', async () => {
    const work = await workTree()
    await work.commit({ write: { a: '1' } })
    await work.push()
    const mirror = await open()
    await mirror.probe({ signal })
    expect(server.requests).toEqual([
      'GET /acme/config.git/info/refs?service=git-upload-pack',
      'POST /acme/config.git/git-upload-pack',
    ])
  })
})

describe('reading', () => {
  test('links, submodules and executables are told apart and never followed', async () => {
    const work = await workTree()
    const target = await work.commit({ write: { 'run.sh': '#!/bin/sh\n' }, executable: ['run.sh'] })
    const head = await work.commit({
      links: { 'apps/passwd': '/etc/passwd' },
      submodules: { vendor: target },
    })
    await work.push()
    const mirror = await open()
    await mirror.fetch({ signal })
    const entries = await mirror.list(head, { signal })
    expect(entries.map(({ path, kind }) => [path, kind])).toEqual([
      ['apps/passwd', 'link'],
      ['run.sh', 'executable'],
      ['vendor', 'submodule'],
    ])
    expect(await text(mirror, entries[0]?.oid)).toBe('/etc/passwd')
  })

  test('a folder is listed with paths from the root, sorted; what is no folder is empty', async () => {
    const work = await workTree()
    const head = await work.commit({ write: { 'a/b.txt': '', 'a/b/c': '', 'a/b-c': '', d: '' } })
    await work.push()
    const mirror = await open()
    await mirror.fetch({ signal })
    const paths = async (under: string) =>
      (await mirror.list(head, { under, signal })).map(({ path }) => path)
    expect(await paths('a')).toEqual(['a/b-c', 'a/b.txt', 'a/b/c'])
    expect(await paths('./a/b/')).toEqual(['a/b/c'])
    expect(await paths('.')).toEqual(['a/b-c', 'a/b.txt', 'a/b/c', 'd'])
    expect(await paths('d')).toEqual([])
    expect(await paths('nowhere')).toEqual([])
  })

  test('the id of a folder is git’s own and changes with its content only', async () => {
    const work = await workTree()
    const first = await work.commit({ write: { 'site/index.html': 'x', other: '1' } })
    const second = await work.commit({ write: { other: '2' } })
    await work.push()
    const mirror = await open()
    await mirror.fetch({ signal })
    const oid = await mirror.treeOid(second, 'site', { signal })
    expect(oid).toBe(await work.git(['rev-parse', 'HEAD:site']))
    expect(await mirror.treeOid(first, 'site', { signal })).toBe(oid)
    expect(await mirror.treeOid(second, 'other', { signal })).toBeNull()
    expect(await mirror.treeOid(second, '.', { signal })).toBe(await work.git(['rev-parse', 'HEAD^{tree}']))
  })

  test('every object of a repacked history reads as git reads it', async () => {
    const work = await workTree()
    const lines = Array.from({ length: 400 }, (_, line) => `line ${line} ${line * 7919}`)
    const files = (version: number) =>
      Object.fromEntries(
        Array.from({ length: 30 }, (_, file) => [
          `f${file}.txt`,
          lines.map((line, at) => (at % 40 === file ? `${line} v${version}` : line)).join('\n'),
        ]),
      )
    for (let version = 0; version < 5; version++) await work.commit({ write: files(version) })
    const head = await work.commit({ write: { empty: '', 'data.bin': randomBytes(100_000) } })
    await work.git(['repack', '-a', '-d', '-f', '--depth=50', '--window=50'])
    await work.push()
    const mirror = await open()
    await mirror.fetch({ signal })
    for (const { path, oid } of await mirror.list(head, { signal })) {
      const bytes = await mirror.read(oid, { maxBytes: 1_000_000, signal })
      expect(await work.git(['hash-object', path])).toBe(oid)
      expect(Buffer.from(bytes).equals(await readFile(join(work.dir, path)))).toBe(true)
    }
  })

  test('a file beyond the size allowed is refused by its size', async () => {
    const work = await workTree()
    const head = await work.commit({ write: { 'big.yaml': 'x'.repeat(5000) } })
    await work.push()
    const mirror = await open()
    await mirror.fetch({ signal })
    const [entry] = await mirror.list(head, { signal })
    const error = await failure(mirror.read(entry?.oid ?? '', { maxBytes: 4999, signal }))
    expect(error.fault).toBe('input')
    expect(error.message).toContain('5000 bytes')
    expect(await mirror.read(entry?.oid ?? '', { maxBytes: 5000, signal })).toHaveLength(5000)
  })

  test('a commit with more entries than allowed is refused', async () => {
    const work = await workTree()
    const head = await work.commit({ write: { 'a/1': '', 'a/2': '', 'b/3': '' } })
    await work.push()
    const mirror = await open({ limits: { entries: 4 } })
    await mirror.fetch({ signal })
    expect((await failure(mirror.list(head, { signal }))).fault).toBe('input')
    expect(await mirror.list(head, { under: 'a', signal })).toHaveLength(2)
  })

  test('a commit the mirror lacks is fetched by its id', async () => {
    const work = await workTree()
    const old = await work.commit({ write: { a: 'old' } })
    await work.commit({ write: { a: 'newer' } })
    await work.commit({ write: { a: 'newest' } })
    await work.push()
    const mirror = await open()
    await mirror.fetch({ signal })
    expect(await content(mirror, old, 'a')).toBe('old')
    const head = await work.commit({ write: { a: 'next' } })
    await work.push()
    expect(await mirror.fetch({ signal })).toBe(head)
    expect(await clones()).toEqual(['clone-1'])
  })

  test('a commit is read without a fetch before it', async () => {
    const work = await workTree()
    const head = await work.commit({ write: { a: '1' } })
    await work.push()
    expect(await content(await open(), head, 'a')).toBe('1')
  })

  test('a commit nobody has is a temporary error that names it', async () => {
    const work = await workTree()
    await work.commit({ write: { a: '1' } })
    await work.push()
    const mirror = await open()
    const commit = 'c'.repeat(40)
    const error = await failure(mirror.list(commit, { signal }))
    expect(error.fault).toBe('temporary')
    expect(error.message).toContain(commit)
    expect(await mirror.fetch({ signal })).not.toBeNull()
  })

  test('an id nobody has is a temporary error', async () => {
    const work = await workTree()
    await work.commit({ write: { a: '1' } })
    await work.push()
    const mirror = await open()
    await mirror.fetch({ signal })
    const error = await failure(mirror.read('b'.repeat(40), { maxBytes: 10, signal }))
    expect(error.fault).toBe('temporary')
  })

  test.each(['..', '.git', '.GIT', 'a\\b'])('an entry named %j is refused', async (name) => {
    const work = await workTree()
    await work.commit({ write: { a: '1' } })
    const blob = await work.git(['rev-parse', 'HEAD:a'])
    await writeFile(
      join(work.dir, 'tree'),
      `100644 ${name}\0${Buffer.from(blob, 'hex').toString('latin1')}`,
      'latin1',
    )
    const tree = await work.git(['hash-object', '-t', 'tree', '-w', '--literally', 'tree'])
    const head = await work.git(['commit-tree', '-m', 'odd', tree])
    await work.git(['push', '--quiet', 'origin', `${head}:refs/heads/main`])
    const mirror = await open()
    await mirror.fetch({ signal })
    const error = await failure(mirror.list(head, { signal }))
    expect(error.fault).toBe('input')
    expect(error.message).toContain(JSON.stringify(name))
  })

  test('lists and reads go on while the mirror is fetched and cloned anew', async () => {
    const work = await workTree()
    const base = await work.commit({ write: manyFiles(200, 'one') })
    await work.push()
    const mirror = await open()
    await mirror.fetch({ signal })
    let fetching = true
    const fetches = (async () => {
      for (let round = 0; round < 3; round++) {
        await work.reset(base)
        await work.commit({ write: manyFiles(200, `round ${round}`) })
        await work.push({ force: true })
        await mirror.fetch({ signal })
      }
      fetching = false
    })()
    let readCount = 0
    while (fetching) {
      const entries = await mirror.list(base, { signal })
      expect(entries).toHaveLength(200)
      expect(await text(mirror, entries[readCount % 200]?.oid)).toMatch(/^one /)
      readCount++
      await setTimeout(5)
    }
    await fetches
    expect(readCount).toBeGreaterThan(3)
  })
})

describe('what goes wrong', () => {
  test('a refused token is the operator’s, and the error carries no token', async () => {
    const wrong = 'ghs_wrong.secret-token'
    const mirror = await open({ token: async () => wrong })
    for (const error of [await failure(mirror.probe({ signal })), await failure(mirror.fetch({ signal }))]) {
      expect(error.fault).toBe('operator')
      expect(error.message).toContain('acme/config')
      expectNoSecret(error, wrong)
    }
  })

  test('the token is nowhere in the mirror’s folder', async () => {
    const work = await workTree()
    await work.commit({ write: { a: '1' } })
    await work.push()
    await (await open()).fetch({ signal })
    const files = await readdir(folder, { recursive: true, withFileTypes: true })
    for (const file of files.filter((entry) => entry.isFile())) {
      const bytes = await readFile(join(file.parentPath, file.name), 'latin1')
      expect(bytes).not.toContain(token)
      expect(bytes).not.toContain(basic(token))
    }
  })

  test('a repository that is gone is the operator’s', async () => {
    const mirror = await open({ url: server.url('acme/gone') })
    const error = await failure(mirror.fetch({ signal }))
    expect(error.fault).toBe('operator')
    expect(error.message).toContain('404')
  })

  test('a server that is gone is temporary, and what was fetched stays readable', async () => {
    const work = await workTree()
    const head = await work.commit({ write: { a: '1' } })
    await work.push()
    const mirror = await open()
    await mirror.fetch({ signal })
    await server.close()
    const error = await failure(mirror.fetch({ signal }))
    expect(error.fault).toBe('temporary')
    expect(error.message).toContain('ECONNREFUSED')
    expectNoSecret(error, token)
    expect(await content(mirror, head, 'a')).toBe('1')
  })

  test('an answer cut in mid-transfer is temporary, leaves nothing behind, and the next try succeeds', async () => {
    const work = await workTree()
    const head = await work.commit({ write: { 'big.bin': randomBytes(2_000_000) } })
    await work.push()
    const proxy = await startProxy({ cutAfterBytes: 500_000 })
    const mirror = await open({ url: proxy.url })
    const error = await failure(mirror.fetch({ signal }))
    expect(error.fault).toBe('temporary')
    expectNoSecret(error, token)
    expect(await clones()).toEqual([])
    proxy.cutAfterBytes = Number.POSITIVE_INFINITY
    expect(await mirror.fetch({ signal })).toBe(head)
  })

  test('a pack that lacks objects is not taken into use, though its transfer was whole', async () => {
    const work = await workTree()
    const files = Array.from({ length: 20 }, (_, n) => [`f${n}`, randomBytes(2000)])
    await work.commit({ write: Object.fromEntries(files) })
    await work.push()
    const mirror = await open({ url: await startPackCutter({ keptBytes: 20_000 }) })
    const error = await failure(mirror.fetch({ signal }))
    expect(error.fault).toBe('temporary')
    expect(error.message).toContain('cannot be read')
    expect(await clones()).toEqual([])
  })

  test('a list of refs that is cut is an error, never a missing branch', async () => {
    const work = await workTree()
    await work.commit({ write: { a: '1' } })
    await work.push()
    const refs = await fetch(`${server.url(repo)}/info/refs?service=git-upload-pack`, {
      headers: { authorization: basic(token) },
    })
    const answer = await refs.text()
    for (const keptBytes of [0, 4, answer.indexOf('refs/heads/main') - 45, answer.length - 4]) {
      const { url } = await startRawServer(
        `HTTP/1.1 200 OK\r\ncontent-type: application/x-git-upload-pack-advertisement\r\nconnection: close\r\n\r\n${answer.slice(0, keptBytes)}`,
      )
      const mirror = await open({ url })
      expect((await failure(mirror.probe({ signal }))).fault).toBe('temporary')
      expect((await failure(mirror.fetch({ signal }))).fault).toBe('temporary')
    }
  })

  test('a server that stalls is given up at the deadline', async () => {
    const work = await workTree()
    await work.commit({ write: { 'big.bin': randomBytes(2_000_000) } })
    await work.push()
    const proxy = await startProxy({ stallAfterBytes: 500_000 })
    const mirror = await open({ url: proxy.url, timeoutMs: 1000 })
    const error = await failure(mirror.fetch({ signal }))
    expect(error.fault).toBe('temporary')
    expect(error.message).toContain('within 1 s')
  })

  test('an abort ends a stalled fetch at once, as cancelled', async () => {
    const work = await workTree()
    const head = await work.commit({ write: { 'big.bin': randomBytes(2_000_000) } })
    await work.push()
    const proxy = await startProxy({ stallAfterBytes: 500_000 })
    const mirror = await open({ url: proxy.url })
    const controller = new AbortController()
    const fetching = failure(mirror.fetch({ signal: controller.signal }))
    await proxy.stalled
    controller.abort()
    expect((await fetching).fault).toBe('cancelled')
    expect((await failure(mirror.list(head, { signal: controller.signal }))).fault).toBe('cancelled')
    proxy.stallAfterBytes = Number.POSITIVE_INFINITY
    expect(await mirror.fetch({ signal })).toBe(head)
  })

  test('an abort frees a caller that waits for another’s stalled fetch', async () => {
    const work = await workTree()
    await work.commit({ write: { 'big.bin': randomBytes(2_000_000) } })
    await work.push()
    const proxy = await startProxy({ stallAfterBytes: 500_000 })
    const mirror = await open({ url: proxy.url })
    const first = failure(mirror.fetch({ signal }))
    await proxy.stalled
    const reason = new TowlineError('superseded', { fault: 'stale' })
    const controller = new AbortController()
    const second = failure(mirror.fetch({ signal: controller.signal }))
    controller.abort(reason)
    expect(await second).toBe(reason)
    await mirror.close()
    expect((await first).fault).toBe('cancelled')
  })

  test('closing ends a stalled fetch', async () => {
    const work = await workTree()
    await work.commit({ write: { 'big.bin': randomBytes(2_000_000) } })
    await work.push()
    const proxy = await startProxy({ stallAfterBytes: 500_000 })
    const mirror = await open({ url: proxy.url })
    const fetching = failure(mirror.fetch({ signal }))
    await proxy.stalled
    await mirror.close()
    expect((await fetching).fault).toBe('cancelled')
  })

  test('a repository beyond the size limit is refused; the limit and the size are named', async () => {
    const work = await workTree()
    await work.commit({ write: { 'big.bin': randomBytes(2_000_000) } })
    await work.push()
    const error = await failure((await open({ limits: { packBytes: 1024 * 1024 } })).fetch({ signal }))
    expect(error.fault).toBe('input')
    expect(error.message).toMatch(/limit of 1\.0 MiB: 1\.\d MiB came/)
  })

  test('an address that is no git server is the operator’s', async () => {
    const page = '<html>sign in</html>'
    const { url } = await startRawServer(
      `HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: ${page.length}\r\n\r\n${page}`,
    )
    expect((await failure((await open({ url })).probe({ signal }))).fault).toBe('operator')
  })

  test('a server error is temporary, a moved repository the operator’s; the token follows no redirect', async () => {
    const broken = await startRawServer('HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n')
    expect((await failure((await open({ url: broken.url })).probe({ signal }))).fault).toBe('temporary')
    const moved = await startRawServer(
      `HTTP/1.1 301 Moved\r\nlocation: ${server.url(repo)}\r\ncontent-length: 0\r\n\r\n`,
    )
    expect((await failure((await open({ url: moved.url })).probe({ signal }))).fault).toBe('operator')
    expect(server.requests).toEqual([])
  })
})

describe('the folder on disk', () => {
  test('a mirror opened again goes on where it was', async () => {
    const work = await workTree()
    await work.commit({ write: { a: '1' } })
    await work.push()
    await (await open()).fetch({ signal })
    const head = await work.commit({ write: { a: '2' } })
    await work.push()
    const again = await open()
    expect(await again.fetch({ signal })).toBe(head)
    expect(await content(again, head, 'a')).toBe('2')
    expect(await clones()).toEqual(['clone-1'])
  })

  test('a clone killed half-way is removed and made anew', async () => {
    const work = await workTree()
    const head = await work.commit({ write: { a: '1' } })
    await work.push()
    const half = join(folder, 'clone-1')
    await mkdir(join(half, 'objects', 'pack'), { recursive: true })
    await writeFile(join(half, 'objects', 'pack', 'pack-half.pack'), 'PACK')
    const mirror = await open()
    expect(await clones()).toEqual([])
    expect(await mirror.fetch({ signal })).toBe(head)
    expect(await content(mirror, head, 'a')).toBe('1')
  })

  test.each(['pack', 'idx'])(
    'a damaged %s is noticed by a fetch and by a read, and mended',
    async (extension) => {
      const work = await workTree()
      const head = await work.commit({ write: { 'a/b': '1', c: '2' } })
      await work.push()
      await (await open()).fetch({ signal })
      for (const use of ['fetch', 'read']) {
        for (const name of await packNames(extension)) await truncate(name, 60)
        const mirror = await open()
        if (use === 'fetch') expect(await mirror.fetch({ signal })).toBe(head)
        expect(await content(mirror, head, 'a/b')).toBe('1')
        await mirror.close()
      }
    },
  )

  test.each([
    ['in the middle of an id', (list: string) => list.slice(0, 20)],
    ['at its very start', () => ''],
  ])('a kill that cut the list of where the history ends %s is mended by the next fetch', async (_, cut) => {
    const work = await workTree()
    await work.commit({ write: { a: '0' } })
    const first = await work.commit({ write: { a: '1' } })
    await work.push()
    await (await open()).fetch({ signal })
    const list = join(folder, 'clone-1', 'shallow')
    await writeFile(list, cut(await readFile(list, 'utf8')))
    const head = await work.commit({ write: { a: '2' } })
    await work.push()
    const mirror = await open()
    expect(await content(mirror, first, 'a')).toBe('1')
    expect(await mirror.fetch({ signal })).toBe(head)
    expect(await content(mirror, head, 'a')).toBe('2')
  })

  test('a mirror of another branch or URL is not used', async () => {
    const work = await workTree()
    await work.commit({ write: { a: '1' } })
    await work.push()
    await work.push({ branch: 'live' })
    await createBareRepo(server.root, 'acme/other')
    for (const change of [{ branch: 'live' }, { url: server.url('acme/other') }]) {
      await (await open()).fetch({ signal })
      expect(await clones()).toEqual(['clone-1'])
      await open(change)
      expect(await clones()).toEqual([])
    }
  })
})

async function open(options: Partial<MirrorOptions> = {}) {
  const mirror = await openMirror({
    ...{ folder, repo, url: server.url(repo), branch: 'main', token: async () => token },
    ...options,
  })
  cleanUps.push(() => mirror.close())
  return mirror
}

async function workTree() {
  const work = await openWorkTree({ remote: join(server.root, `${repo}.git`) })
  cleanUps.push(() => work[Symbol.asyncDispose]())
  return work
}

type OpenMirror = Awaited<ReturnType<typeof openMirror>>

async function content(mirror: OpenMirror, commit: string, path: string): Promise<string> {
  const entry = (await mirror.list(commit, { signal })).find((candidate) => candidate.path === path)
  return await text(mirror, entry?.oid)
}

async function text(mirror: OpenMirror, oid: string | undefined): Promise<string> {
  return Buffer.from(await mirror.read(oid ?? '', { maxBytes: 1_000_000, signal })).toString()
}

async function clones(): Promise<string[]> {
  return (await readdir(folder)).filter((name) => name.startsWith('clone-')).sort()
}

async function packNames(extension = 'pack'): Promise<string[]> {
  const files = await readdir(folder, { recursive: true })
  return files.filter((name) => name.endsWith(`.${extension}`)).map((name) => join(folder, name))
}

async function failure(promise: Promise<unknown>): Promise<TowlineError> {
  const error: unknown = await promise.then(
    () => null,
    (reason: unknown) => reason,
  )
  if (!(error instanceof TowlineError)) throw new Error(`expected a TowlineError, got ${inspect(error)}`)
  return error
}

function expectNoSecret(error: TowlineError, secret: string): void {
  const whole = inspect(error, { depth: 20, showHidden: true }) + JSON.stringify(error) + error.stack
  expect(whole).not.toContain(secret)
  expect(whole).not.toContain(basic(secret))
  expect(whole).not.toContain(basic(secret).slice('Basic '.length))
}

function basic(password: string): string {
  return `Basic ${Buffer.from(`x-access-token:${password}`).toString('base64')}`
}

function manyFiles(count: number, content: string): Record<string, string> {
  return Object.fromEntries(
    Array.from({ length: count }, (_, n) => [`d${n % 20}/f${n}`, `${content} ${n}\n`]),
  )
}

/** A TCP proxy before the git server that cuts each answer, or stops passing it on, after some bytes. */
async function startProxy(behaviour: { cutAfterBytes?: number; stallAfterBytes?: number }) {
  const stalled = Promise.withResolvers<void>()
  const proxy = {
    cutAfterBytes: behaviour.cutAfterBytes ?? Number.POSITIVE_INFINITY,
    stallAfterBytes: behaviour.stallAfterBytes ?? Number.POSITIVE_INFINITY,
    stalled: stalled.promise,
    url: '',
  }
  const listener = createServer((client) => {
    const upstream = connect(server.port, '127.0.0.1')
    let passedBytes = 0
    client.on('data', (chunk) => upstream.write(chunk))
    upstream.on('data', (chunk) => {
      passedBytes += chunk.length
      if (passedBytes > proxy.cutAfterBytes) client.destroy()
      else if (passedBytes > proxy.stallAfterBytes) stalled.resolve()
      else client.write(chunk)
    })
    for (const [one, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      one.on('error', () => other.destroy())
      one.on('close', () => other.destroy())
    }
  })
  proxy.url = `http://127.0.0.1:${await listen(listener)}/${repo}.git`
  return proxy
}

/**
 * A git server that leaves out the end of each pack and closes the answer properly, as `upload-pack` may when it runs
 * out of memory. Answers are lines with four hex digits of length; those on band 1 carry the pack.
 */
async function startPackCutter({ keptBytes }: { keptBytes: number }): Promise<string> {
  const cutter = createHttpServer(async (req, res) => {
    const response = await fetch(`http://127.0.0.1:${server.port}${req.url}`, {
      method: req.method ?? 'GET',
      headers: { authorization: basic(token), 'content-type': req.headers['content-type'] ?? '' },
      ...(req.method === 'POST' ? { body: await buffer(req) } : {}),
    })
    res.setHeader('content-type', response.headers.get('content-type') ?? '')
    const answer = Buffer.from(await response.arrayBuffer())
    if (req.method !== 'POST') return res.end(answer)
    let leftBytes = keptBytes
    for (let at = 0; at < answer.length; ) {
      const length = Math.max(Number.parseInt(answer.toString('latin1', at, at + 4), 16), 4)
      const line = answer.subarray(at, at + length)
      at += length
      if (length === 4 || line[4] !== 1) {
        res.write(line)
      } else {
        const kept = line.subarray(4, 5 + leftBytes)
        leftBytes -= kept.length - 1
        res.write(Buffer.concat([Buffer.from((kept.length + 4).toString(16).padStart(4, '0')), kept]))
      }
    }
    return res.end()
  })
  return `http://127.0.0.1:${await listen(cutter)}/${repo}.git`
}

/** A server that gives one and the same answer to everything, then closes. */
async function startRawServer(answer: string): Promise<{ url: string }> {
  const listener = createServer((socket) => {
    socket.on('error', () => socket.destroy())
    socket.once('data', () => socket.end(answer))
  })
  return { url: `http://127.0.0.1:${await listen(listener)}/${repo}.git` }
}

async function listen(listener: Server): Promise<number> {
  const sockets = new Set<Socket>()
  listener.on('connection', (socket) => sockets.add(socket))
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve))
  cleanUps.push(async () => {
    for (const socket of sockets) socket.destroy()
    await new Promise<void>((resolve) => listener.close(() => resolve()))
  })
  const address = listener.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  return address.port
}
