import { beforeEach, expect, test } from 'vitest'
import { maxFileBytes } from '../spec/source-document.ts'
import { type ConfigRepo, configRepo, serviceYaml, siteYaml } from './config-repo.fixture.ts'
import type { FileTree } from './ports.ts'
import { createSpecReader, type ReadSpecs, type SpecReader } from './spec-reader.ts'

const { signal } = new AbortController()
let reader: SpecReader

beforeEach(() => {
  reader = createSpecReader({ hosts: ['web-1'], bindMounts: [] })
})

async function read(repo: ConfigRepo, { name = 'acme/config', tree = repo.mirror as FileTree } = {}) {
  const commit = (await repo.mirror.probe({ signal })) ?? ''
  return reader.read({ repo: name, commit, tree, signal })
}

const names = ({ specs }: ReadSpecs) => specs.map(({ located }) => located.spec.name)

test('every spec below apps/ is read, and no other file', async () => {
  const repo = configRepo({
    'apps/shop.yaml': serviceYaml('shop', 'shop:1'),
    'apps/team/blog.yml': serviceYaml('blog', 'blog:1'),
    'README.md': 'hello',
    'other.yaml': serviceYaml('other', 'other:1'),
  })
  const found = await read(repo)
  expect(names(found)).toEqual(['shop', 'blog'])
  expect(found).toMatchObject({ problems: [], fileCount: 2 })
  expect(repo.reads).toEqual(['apps/shop.yaml', 'apps/team/blog.yml'])
})

test('a file that did not change is not read again', async () => {
  const repo = configRepo({
    'apps/shop.yaml': serviceYaml('shop', 'shop:1'),
    'apps/blog.yaml': serviceYaml('blog', 'blog:1'),
  })
  await read(repo)
  repo.reads.length = 0
  repo.commit({ 'apps/shop.yaml': serviceYaml('shop', 'shop:2'), 'README.md': 'hello' })
  const found = await read(repo)
  expect(repo.reads).toEqual(['apps/shop.yaml'])
  expect(found.specs.map(({ located: { spec } }) => spec)).toMatchObject([
    { name: 'blog', image: 'blog:1' },
    { name: 'shop', image: 'shop:2' },
  ])
})

test('a file that was moved is named by its new path', async () => {
  const repo = configRepo({ 'apps/shop.yaml': 'kind: Nothing\n' })
  await read(repo)
  repo.commit({ 'apps/shop.yaml': null, 'apps/moved.yaml': 'kind: Nothing\n' })
  expect((await read(repo)).problems.map(({ path }) => path)).toEqual(['apps/moved.yaml'])
})

test('two repos do not share what was read', async () => {
  const [one, other] = [
    configRepo({ 'apps/shop.yaml': serviceYaml('shop', 'shop:1') }),
    configRepo({ 'apps/shop.yaml': serviceYaml('shop', 'shop:2') }),
  ]
  await read(one)
  await read(other, { name: 'acme/other' })
  one.reads.length = 0
  await read(one)
  expect(one.reads).toEqual([])
})

test('a broken spec is a problem at its place, and keeps no other spec from being read', async () => {
  const repo = configRepo({
    'apps/bad.yaml': serviceYaml('bad', 'bad:1', 'ports: ["80:90:x"]\n'),
    'apps/shop.yaml': serviceYaml('shop', 'shop:1'),
  })
  const found = await read(repo)
  expect(names(found)).toEqual(['shop'])
  expect(found.problems).toMatchObject([{ path: 'apps/bad.yaml', line: 5 }])
})

test('a Site names the folder of its files by its content, so that only a change there is a new wish', async () => {
  const repo = configRepo({
    'apps/docs.yaml': siteYaml('docs', 'sites/docs'),
    'sites/docs/index.html': 'one',
  })
  const [first] = (await read(repo)).specs
  repo.commit({ 'sites/other/index.html': 'other' })
  const [same] = (await read(repo)).specs
  repo.commit({ 'sites/docs/index.html': 'two' })
  const [changed] = (await read(repo)).specs
  expect(first?.filesOid).toEqual(expect.any(String))
  expect(same?.filesOid).toBe(first?.filesOid)
  expect(changed?.filesOid).not.toBe(first?.filesOid)
})

test('a Site whose folder does not exist is a problem at the line that names it', async () => {
  const repo = configRepo({ 'apps/docs.yaml': siteYaml('docs', 'sites/dosc') })
  const found = await read(repo)
  expect(found.specs).toEqual([])
  expect(found.problems).toMatchObject([
    {
      path: 'apps/docs.yaml',
      line: 4,
      message: '/source/files: there is no folder "sites/dosc" in the config repo',
    },
  ])
})

test('towline.yaml decides where specs are and which host is the default', async () => {
  reader = createSpecReader({ hosts: ['web-1', 'web-2'], bindMounts: [] })
  const repo = configRepo({
    'towline.yaml':
      'apiVersion: towline/v1\nkind: Towline\nspecs: ["deploy/*.yaml"]\ndefaults: { hosts: [web-2] }\n',
    'deploy/shop.yaml': serviceYaml('shop', 'shop:1'),
    'apps/blog.yaml': serviceYaml('blog', 'blog:1'),
  })
  const found = await read(repo)
  expect(found.problems).toEqual([])
  expect(found.specs.map(({ located: { spec } }) => [spec.name, spec.hosts])).toEqual([['shop', ['web-2']]])
})

test('while towline.yaml is broken no spec counts, because it could mean anything', async () => {
  const repo = configRepo({
    'towline.yaml': 'apiVersion: towline/v1\nkind: Towline\nspec: [deploy]\n',
    'apps/shop.yaml': serviceYaml('shop', 'shop:1'),
  })
  const found = await read(repo)
  expect(found.specs).toEqual([])
  expect(found.problems).toMatchObject([{ path: 'towline.yaml', line: 3 }])
})

test('a link, a submodule, a file too large and one that is not UTF-8 are problems of their own', async () => {
  const kinds = { 'apps/link.yaml': 'link', 'apps/module.yaml': 'submodule' } as const
  const repo = configRepo({
    'apps/link.yaml': '../secret',
    'apps/module.yaml': 'c0ffee',
    'apps/large.yaml': 'x'.repeat(maxFileBytes + 1),
    'apps/latin.yaml': 'latin',
    'apps/shop.yaml': serviceYaml('shop', 'shop:1'),
  })
  const tree: FileTree = {
    ...repo.mirror,
    list: async (commit, options) =>
      (await repo.mirror.list(commit, options)).map((entry) => ({
        ...entry,
        kind: Object.entries(kinds).find(([path]) => path === entry.path)?.[1] ?? entry.kind,
      })),
    read: async (oid, options) => {
      const bytes = await repo.mirror.read(oid, options)
      return repo.reads.at(-1) === 'apps/latin.yaml' ? Uint8Array.of(0xe4, 0xf6) : bytes
    },
  }
  const found = await read(repo, { tree })
  expect(names(found)).toEqual(['shop'])
  expect(found.problems.map(({ path, line, message }) => [path, line, message])).toEqual([
    ['apps/large.yaml', 1, `the file has more than ${maxFileBytes} bytes`],
    ['apps/latin.yaml', expect.any(Number), expect.stringContaining('UTF-8')],
    ['apps/link.yaml', 1, 'a symbolic link stands where a file is expected'],
    ['apps/module.yaml', 1, 'a submodule stands where a file is expected'],
  ])
  expect(repo.reads).not.toContain('apps/link.yaml')
})

test('a mirror that cannot be read is an error, not a repo without specs', async () => {
  const repo = configRepo({ 'apps/shop.yaml': serviceYaml('shop', 'shop:1') })
  const away = new Error('the pack file is gone')
  const tree: FileTree = {
    ...repo.mirror,
    read: async () => {
      throw away
    },
  }
  await expect(read(repo, { tree })).rejects.toBe(away)
})
