import { createHash } from 'node:crypto'
import { expect, test } from 'vitest'
import { buildManifest } from '../rollout/manifest.ts'
import { parseListings, releaseDigest } from './release-listing.ts'

const manifest = buildManifest('r1', [
  { path: 'a b.html', mode: 0o644, content: Buffer.from('hello\n') },
  { path: 'bin/run', mode: 0o755, content: Buffer.from('') },
])
const [spaced, run] = manifest.files.map(({ sha256 }) => sha256)
const text = JSON.stringify(manifest)

const columns = (...texts: string[]) => texts.map((each) => `${each}\0`).join('')

test('a listing becomes what stands at each path', () => {
  const entries =
    '41ed 4096 .\n81a4 6 ./a b.html\n41c0 4096 ./bin\n89ed 0 ./bin/run\na1ff 1 ./lnk\nc1ed 0 ./socket\n'
  const hashes = `${spaced}  ./a b.html\n${run} *./bin/run\n`
  const output = columns('/towline/sites/docs', 'r1', text, entries, hashes, './x?y', '')
  expect(parseListings(output)).toEqual([
    {
      path: '/towline/sites/docs',
      releaseId: 'r1',
      manifest,
      found: [
        { path: '.', kind: 'folder', size: 4096, mode: 0o755, sha256: null },
        { path: 'a b.html', kind: 'file', size: 6, mode: 0o644, sha256: spaced },
        { path: 'bin', kind: 'folder', size: 4096, mode: 0o700, sha256: null },
        { path: 'bin/run', kind: 'file', size: 0, mode: 0o4755, sha256: run },
        { path: 'lnk', kind: 'link', size: 1, mode: 0o777, sha256: null },
        { path: 'socket', kind: 'other', size: 0, mode: 0o755, sha256: null },
        { path: 'x?y', kind: 'other', size: 0, mode: 0, sha256: null },
      ],
    },
  ])
})

test('several releases come out in turn, each with its own names', () => {
  const output = [
    columns('/towline/sites/docs', 'r1', text, '', '', './x?', './y?', ''),
    columns('/towline/sites/blog', 'r1', 'no manifest', '', '', ''),
  ].join('')
  expect(
    parseListings(output).map(({ path, manifest: found, found: { length } }) => ({ path, found, length })),
  ).toEqual([
    { path: '/towline/sites/docs', found: manifest, length: 2 },
    { path: '/towline/sites/blog', found: null, length: 0 },
  ])
})

test("a name with what JavaScript takes for a line end is one name, and one that says it is a folder's is not", () => {
  const entries = '81a4 6 ./a\u2028b\n81a4 6 ./41ed 4096 x\n'
  const [listing] = parseListings(columns('/towline/sites/docs', 'r1', text, entries, '', ''))
  expect(listing?.found.map(({ path, kind }) => `${kind} ${path}`)).toEqual([
    'file a\u2028b',
    'file 41ed 4096 x',
  ])
})

test('a listing that was cut is left out; no releases are none', () => {
  expect(parseListings(columns('/towline/sites/docs', 'r1', text, '81a4 6 ./a'))).toEqual([])
  expect(parseListings('')).toEqual([])
})

test('the digest is that of the lines the helper writes, in the order of their bytes', () => {
  const files = ['é', 'z', 'ａ', '😀'].map((path) => ({ path, mode: 0o644, content: Buffer.from('') }))
  const empty = createHash('sha256').digest('hex')
  const lines = [
    ...['z', 'é', 'ａ', '😀'].map((path) => `81a4 0 ./${path}\n`),
    ...['z', 'é', 'ａ', '😀'].map((path) => `${empty}  ./${path}\n`),
  ].join('')
  expect(releaseDigest(buildManifest('r1', files))).toBe(createHash('sha256').update(lines).digest('hex'))
})
