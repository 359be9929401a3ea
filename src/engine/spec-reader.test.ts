import { createHash } from 'node:crypto'
import { expect, test } from 'vitest'
import { TowlineError } from '../rollout/error.ts'
import type { FileTree, TreeEntry } from './ports.ts'
import { createSpecReader } from './spec-reader.ts'

const { signal } = new AbortController()
const repo = 'acme/config'
const commit = 'c0ffee'
const service = 'apiVersion: towline/v1\nkind: Service\nname: shop\nimage: nginx:1.27\n'
const site = 'apiVersion: towline/v1\nkind: Site\nname: docs\nsource: {files: sites/docs}\nports: ["80"]\n'

function oid(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}

/** Files of a config repo by path; `reads` counts how often content was asked for. */
function tree(files: Record<string, string>, kinds: Record<string, TreeEntry['kind']> = {}) {
  const reads: string[] = []
  const contents = new Map(Object.values(files).map((text) => [oid(text), text]))
  const found: FileTree & { reads: string[] } = {
    reads,
    list: async () =>
      Object.entries(files).map(([path, text]) => ({ path, oid: oid(text), kind: kinds[path] ?? 'file' })),
    treeOid: async (_commit, path) => {
      const inside = Object.entries(files).filter(([name]) => name.startsWith(`${path}/`))
      return inside.length > 0 ? oid(JSON.stringify(inside)) : null
    },
    read: async (id) => {
      const text = contents.get(id) ?? ''
      reads.push(text)
      return Buffer.from(text)
    },
  }
  return found
}

function reader() {
  return createSpecReader({ hosts: ['web-1'], bindMounts: [] })
}

async function read(files: Parameters<typeof tree>[0], kinds?: Parameters<typeof tree>[1]) {
  const { specs, problems, fileCount } = await reader().read({
    repo,
    commit,
    tree: tree(files, kinds),
    signal,
  })
  return {
    specs: specs.map(({ located, filesOid }) => [located.spec.name, filesOid]),
    problems: problems.map(
      ({ path, line, column, message, hint }) => `${path}:${line}:${column} ${message} | ${hint}`,
    ),
    fileCount,
  }
}

test('specs are read, and a Site with the id of its folder', async () => {
  const files = { 'apps/shop.yaml': service, 'apps/docs.yml': site, 'sites/docs/index.html': 'hello' }
  expect(await read(files)).toEqual({
    specs: [
      ['shop', null],
      ['docs', oid(JSON.stringify([['sites/docs/index.html', 'hello']]))],
    ],
    problems: [],
    fileCount: 2,
  })
})

test('files beside the specs are not even opened', async () => {
  const files = tree({ 'apps/shop.yaml': service, 'README.md': 'read me', 'other/b.yaml': 'x: [' })
  await reader().read({ repo, commit, tree: files, signal })
  expect(files.reads).toEqual([service])
})

test('a file that did not change is not read again; one that did is', async () => {
  const specs = reader()
  const before = tree({ 'apps/shop.yaml': service, 'apps/db.yaml': service.replace('shop', 'db') })
  const first = await specs.read({ repo, commit, tree: before, signal })
  const changed = service.replace('1.27', '1.28')
  const after = tree({ 'apps/shop.yaml': changed, 'apps/db.yaml': service.replace('shop', 'db') })
  const second = await specs.read({ repo, commit: 'beef', tree: after, signal })
  expect(after.reads).toEqual([changed])
  const hashes = (found: typeof first) => found.specs.map(({ located }) => located.hash)
  expect(hashes(second)[0]).not.toBe(hashes(first)[0])
  expect(hashes(second)[1]).toBe(hashes(first)[1])
})

test('a file that moved is reported at its new path', async () => {
  const specs = reader()
  const broken = service.replace('image', 'imgae')
  await specs.read({ repo, commit, tree: tree({ 'apps/a.yaml': broken }), signal })
  const { problems } = await specs.read({ repo, commit, tree: tree({ 'apps/b.yaml': broken }), signal })
  expect(problems.map(({ path }) => path)).toContain('apps/b.yaml')
  expect(problems.map(({ path }) => path)).not.toContain('apps/a.yaml')
})

test('a broken spec is reported and leaves the others', async () => {
  const found = await read({ 'apps/a.yaml': 'name: [', 'apps/shop.yaml': service })
  expect(found.specs).toEqual([['shop', null]])
  expect(found.problems[0]).toMatch(/^apps\/a\.yaml:1:/)
})

test('a folder that does not exist is reported where the spec names it', async () => {
  expect(await read({ 'apps/docs.yaml': site })).toEqual({
    specs: [],
    problems: [
      'apps/docs.yaml:4:17 /source/files: there is no folder "sites/docs" in the config repo | ' +
        'Name a folder of this repo, from its root, such as sites/docs',
    ],
    fileCount: 1,
  })
})

test('a folder git refuses for what is in it counts as missing; a git that fails is not taken for that', async () => {
  const failing = (fault: 'input' | 'temporary'): FileTree => ({
    ...tree({ 'apps/docs.yaml': site }),
    treeOid: () => Promise.reject(new TowlineError('no', { fault })),
  })
  const found = await reader().read({ repo, commit, tree: failing('input'), signal })
  expect(found.problems.map(({ message }) => message)).toEqual([
    '/source/files: there is no folder "sites/docs" in the config repo',
  ])
  const read = reader().read({ repo, commit, tree: failing('temporary'), signal })
  await expect(read).rejects.toMatchObject({ fault: 'temporary' })
})

test.each([
  ['link', 'a symbolic link stands where a file is expected'],
  ['submodule', 'a submodule stands where a file is expected'],
] as const)('a %s in place of a spec is refused', async (kind, message) => {
  const { problems } = await read({ 'apps/shop.yaml': service }, { 'apps/shop.yaml': kind })
  expect(problems).toEqual([`apps/shop.yaml:1:1 ${message} | Put the file itself here`])
})

test('an executable spec is a spec', async () => {
  const { specs } = await read({ 'apps/shop.yaml': service }, { 'apps/shop.yaml': 'executable' })
  expect(specs).toEqual([['shop', null]])
})

test('a file that is too large is a problem of the repo; a disk that fails is none', async () => {
  const failing = (fault: 'input' | 'operator'): FileTree => ({
    ...tree({ 'apps/shop.yaml': service }),
    read: () => Promise.reject(new TowlineError('it has 9 MB', { fault, hint: 'Make it smaller' })),
  })
  const { problems } = await reader().read({ repo, commit, tree: failing('input'), signal })
  expect(problems).toMatchObject([
    { path: 'apps/shop.yaml', message: 'it has 9 MB', hint: 'Make it smaller' },
  ])
  const read = reader().read({ repo, commit, tree: failing('operator'), signal })
  await expect(read).rejects.toMatchObject({ fault: 'operator' })
})

test('towline.yaml says where specs are', async () => {
  const files = {
    'towline.yaml': 'specs: ["deploy/*.yaml"]\n',
    'deploy/shop.yaml': service,
    'apps/b.yaml': '[',
  }
  expect(await read(files)).toEqual({ specs: [['shop', null]], problems: [], fileCount: 1 })
})

test('while towline.yaml cannot be read no spec counts: it could mean anything', async () => {
  const found = await read({ 'towline.yaml': 'specs: 3\n', 'apps/shop.yaml': service })
  expect(found.specs).toEqual([])
  expect(found.problems.map((line) => line.split(':')[0])).toEqual(['towline.yaml'])
  const link = await read({ 'towline.yaml': 'x', 'apps/shop.yaml': service }, { 'towline.yaml': 'link' })
  expect(link.specs).toEqual([])
  expect(link.problems).toHaveLength(1)
})

test('a repo without specs has none, and no problem', async () => {
  expect(await read({ 'README.md': 'hello' })).toEqual({ specs: [], problems: [], fileCount: 0 })
})
