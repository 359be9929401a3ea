import { describe, expect, test } from 'vitest'
import type { FileTree, TreeEntry } from '../engine/ports.ts'
import { readSourceFiles, type SourceLimits } from './files.ts'

const signal = new AbortController().signal
const commit = 'a'.repeat(40)

describe('a folder of the config repo', () => {
  test('files come with paths from the folder, sorted, and modes by kind', async () => {
    const files = await readFolder('sites/docs', {
      'sites/docs/index.html': 'hello',
      'sites/docs/bin/run': { kind: 'executable', content: '#!/bin/sh' },
      'sites/other': 'no',
    })
    expect(files).toEqual([
      { path: 'bin/run', mode: 0o755, content: Buffer.from('#!/bin/sh') },
      { path: 'index.html', mode: 0o644, content: Buffer.from('hello') },
    ])
  })

  test('the root of the config repo is a folder too', async () => {
    for (const root of ['.', './']) {
      expect((await readFolder(root, { a: '1', 'b/c': '2' })).map(({ path }) => path)).toEqual(['a', 'b/c'])
    }
  })

  test('a missing or empty folder is refused by its name', async () => {
    await expect(readFolder('sites/docs', { 'sites/docs-2/a': '1' })).rejects.toMatchObject({
      fault: 'input',
      message: expect.stringContaining('sites/docs '),
    })
  })

  test.each(['link', 'submodule'] as const)('a %s is refused by its path', async (kind) => {
    const tree = { 'site/a': '1', 'site/deep/b': { kind, content: '/etc/passwd' } }
    await expect(readFolder('site', tree)).rejects.toMatchObject({
      fault: 'input',
      message: expect.stringContaining('site/deep/b'),
      hint: expect.stringMatching(/./),
    })
  })

  test.each(['..', '../other', 'site/../../etc', '/etc', '', 'a\\b', 'a\nb'])(
    'the path %j is refused',
    async (path) => {
      await expect(readFolder(path, { a: '1' })).rejects.toMatchObject({ fault: 'input' })
    },
  )

  test('a folder that is not what was planned is refused', async () => {
    const source = { kind: 'folder', commit, path: 'site', treeOid: 'planned' } as const
    const tree = treeOf({ 'site/a': '1' })
    await expect(readSourceFiles(source, { tree, signal })).rejects.toMatchObject({ fault: 'input' })
  })

  test('more files or bytes than allowed are refused; as many as allowed are not', async () => {
    const tree = { 'site/a': '12', 'site/b': '34' }
    await expect(readFolder('site', tree, { files: 1 })).rejects.toMatchObject({ fault: 'input' })
    await expect(readFolder('site', tree, { bytes: 3 })).rejects.toMatchObject({ fault: 'input' })
    expect(await readFolder('site', tree, { files: 2, bytes: 4 })).toHaveLength(2)
  })
})

describe('files written in the spec', () => {
  test('each becomes a file with its text', async () => {
    expect(await readInline({ 'b.txt': 'ä', './a/index.html': '<h1>' })).toEqual([
      { path: 'a/index.html', mode: 0o644, content: Buffer.from('<h1>') },
      { path: 'b.txt', mode: 0o644, content: Buffer.from('ä') },
    ])
  })

  test.each([
    ['no file', {}],
    ['a path that leaves the folder', { '../x': '' }],
    ['an absolute path', { '/etc/passwd': '' }],
    ['the folder itself', { '.': '' }],
    ['one path twice', { a: '', './a': '' }],
    ['a file where another needs a folder', { a: '', 'a/b': '' }],
  ])('%s is refused', async (_, files) => {
    await expect(readInline(files)).rejects.toMatchObject({
      fault: 'input',
      hint: expect.stringMatching(/./),
    })
  })

  test('more files or bytes than allowed are refused', async () => {
    await expect(readInline({ a: '', b: '' }, { files: 1 })).rejects.toMatchObject({ fault: 'input' })
    await expect(readInline({ a: 'ä' }, { bytes: 1 })).rejects.toMatchObject({ fault: 'input' })
  })
})

type Content = string | { kind: TreeEntry['kind']; content: string }

function readFolder(path: string, contents: Record<string, Content>, limits: Partial<SourceLimits> = {}) {
  const source = { kind: 'folder', commit, path, treeOid: 'tree' } as const
  return readSourceFiles(source, { tree: treeOf(contents), signal, limits })
}

function readInline(files: Record<string, string>, limits: Partial<SourceLimits> = {}) {
  return readSourceFiles({ kind: 'inline', files }, { tree: treeOf({}), signal, limits })
}

/** A tree in memory: an entry's id is its path, every folder's id is `tree`. */
function treeOf(contents: Record<string, Content>): FileTree {
  const below = (under: string) =>
    Object.entries(contents).filter(([path]) => under === '.' || path.startsWith(`${under}/`))
  return {
    list: async (_, { under = '.' }) =>
      below(under).map(([path, content]) => ({
        path,
        oid: path,
        kind: typeof content === 'string' ? 'file' : content.kind,
      })),
    treeOid: async (_, path) => (below(path).length === 0 ? null : 'tree'),
    read: async (oid) => {
      const content = contents[oid] ?? ''
      return Buffer.from(typeof content === 'string' ? content : content.content)
    },
  }
}

test('files whose source was lost are refused with what brings them back', async () => {
  const tree = { list: refuse, treeOid: refuse, read: refuse }
  await expect(readSourceFiles({ kind: 'unknown' }, { tree, signal })).rejects.toMatchObject({
    fault: 'operator',
    hint: expect.stringContaining('Push a change of the app'),
  })
})

async function refuse(): Promise<never> {
  throw new Error('nothing is to be read')
}
