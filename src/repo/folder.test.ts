import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { createBareRepo, openWorkTree, type WorkTree } from '../../test/support/git-server.ts'
import { openFolder } from './folder.ts'

const signal = new AbortController().signal

let root: string
let work: WorkTree

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'towline-folder-'))
  work = await openWorkTree({ remote: await createBareRepo(root, 'acme/config') })
})

afterEach(async () => {
  await work[Symbol.asyncDispose]()
  await rm(root, { recursive: true, force: true })
})

test('a clean checkout has the commit, the trees and the ids git gives it', async () => {
  const commit = await work.commit({
    write: { 'a/b.txt': 'b', 'a/b/c.sh': '#!/bin/sh\n', 'a-b': '', 'ä.yaml': 'x' },
    executable: ['a/b/c.sh'],
    links: { 'a/passwd': '/etc/passwd' },
  })
  const folder = await openFolder({ dir: work.dir })
  expect(folder.commit).toBe(commit)
  expect(await folder.treeOid(commit, '.', { signal })).toBe(await work.git(['rev-parse', 'HEAD^{tree}']))
  expect(await folder.treeOid(commit, 'a/b', { signal })).toBe(await work.git(['rev-parse', 'HEAD:a/b']))
  expect(await folder.treeOid(commit, 'a-b', { signal })).toBeNull()
  const entries = await folder.list(commit, { signal })
  expect(entries.map(({ path, kind }) => [path, kind])).toEqual([
    ['a-b', 'file'],
    ['a/b.txt', 'file'],
    ['a/b/c.sh', 'executable'],
    ['a/passwd', 'link'],
    ['ä.yaml', 'file'],
  ])
  for (const { path, oid } of entries) expect(oid).toBe(await work.git(['rev-parse', `HEAD:${path}`]))
})

test('a checkout with changed files is dirty, a folder of its own is local', async () => {
  const commit = await work.commit({ write: { a: '1', 'apps/b': '2' } })
  await writeFile(join(work.dir, 'a'), '2')
  expect((await openFolder({ dir: work.dir })).commit).toBe(`${commit}-dirty`)
  expect((await openFolder({ dir: join(work.dir, 'apps') })).commit).toBe(commit)
  expect((await openFolder({ dir: root })).commit).toBe('local')
})

test('links are read as their target, never followed', async () => {
  const dir = join(root, 'plain')
  await mkdir(dir)
  await symlink('/etc/passwd', join(dir, 'link'))
  const folder = await openFolder({ dir })
  const [entry] = await folder.list('local', { signal })
  expect(entry?.kind).toBe('link')
  const bytes = await folder.read(entry?.oid ?? '', { maxBytes: 100, signal })
  expect(Buffer.from(bytes).toString()).toBe('/etc/passwd')
})

test('node_modules and .git are left out, a checkout inside is a submodule', async () => {
  const commit = await work.commit({ write: { a: '1' } })
  const dir = join(root, 'plain')
  await mkdir(join(dir, 'node_modules/x'), { recursive: true })
  await writeFile(join(dir, 'node_modules/x/index.js'), '')
  await mkdir(join(dir, 'empty'))
  const inner = await openWorkTree({ remote: work.dir })
  await inner.git(['clone', '--quiet', work.dir, join(dir, 'vendor')])
  const folder = await openFolder({ dir })
  expect(await folder.list('local', { signal })).toEqual([{ path: 'vendor', oid: commit, kind: 'submodule' }])
  await inner[Symbol.asyncDispose]()
})

test('files below a folder are listed with their whole path', async () => {
  const commit = await work.commit({ write: { 'apps/a.yaml': '', 'apps/b/c.yaml': '', 'apps-2/d.yaml': '' } })
  const folder = await openFolder({ dir: work.dir })
  const paths = async (under: string) =>
    (await folder.list(commit, { under, signal })).map(({ path }) => path)
  expect(await paths('apps')).toEqual(['apps/a.yaml', 'apps/b/c.yaml'])
  expect(await paths('./apps/b/')).toEqual(['apps/b/c.yaml'])
  expect(await paths('nowhere')).toEqual([])
})

test('a file that changed after the folder was read is refused, not mixed in', async () => {
  const commit = await work.commit({ write: { a: '1' } })
  const folder = await openFolder({ dir: work.dir })
  const [entry] = await folder.list(commit, { signal })
  await writeFile(join(work.dir, 'a'), '2')
  await expect(folder.read(entry?.oid ?? '', { maxBytes: 10, signal })).rejects.toMatchObject({
    fault: 'input',
  })
})

test('a file beyond the size allowed is refused by its size', async () => {
  const commit = await work.commit({ write: { a: 'x'.repeat(11) } })
  const folder = await openFolder({ dir: work.dir })
  const [entry] = await folder.list(commit, { signal })
  await expect(folder.read(entry?.oid ?? '', { maxBytes: 10, signal })).rejects.toMatchObject({
    fault: 'input',
    message: expect.stringContaining('11 bytes'),
  })
})

test('a folder that is not there or has too many entries is the user’s to put right', async () => {
  await expect(openFolder({ dir: join(root, 'nowhere') })).rejects.toMatchObject({ fault: 'input' })
  await work.commit({ write: { a: '', b: '', c: '' } })
  await expect(openFolder({ dir: work.dir, maxEntries: 2 })).rejects.toMatchObject({ fault: 'input' })
})

test('an abort is cancelled, not a broken folder', async () => {
  const commit = await work.commit({ write: { a: '1' } })
  const stopped = AbortSignal.abort()
  await expect(openFolder({ dir: work.dir, signal: stopped })).rejects.toMatchObject({ fault: 'cancelled' })
  const folder = await openFolder({ dir: work.dir })
  await expect(folder.list(commit, { signal: stopped })).rejects.toMatchObject({ fault: 'cancelled' })
})
