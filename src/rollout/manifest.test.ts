import fc from 'fast-check'
import { expect, test } from 'vitest'
import { buildManifest, compareWithManifest, type FoundEntry, parseManifest } from './manifest.ts'

const index = { path: 'index.html', mode: 0o644, content: Buffer.from('hello\n') }
const script = { path: 'bin/run', mode: 0o755, content: Buffer.from('#!/bin/sh\n') }

test('a manifest lists files by path with size, mode and hash', () => {
  const manifest = buildManifest('r1', [index, script])
  expect(manifest).toMatchObject({ releaseId: 'r1', fileCount: 2, byteCount: 16 })
  expect(manifest.files).toEqual([
    expect.objectContaining({ path: 'bin/run', size: 10, mode: 0o755 }),
    {
      path: 'index.html',
      size: 6,
      mode: 0o644,
      sha256: '5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03',
    },
  ])
})

test('the hash of all files does not depend on their order or the release', () => {
  const one = buildManifest('r1', [index, script])
  const other = buildManifest('r2', [script, index])
  expect(other.filesSha256).toBe(one.filesSha256)
})

test.each([
  ['path', { ...index, path: 'index.htm' }],
  ['mode', { ...index, mode: 0o755 }],
  ['content', { ...index, content: Buffer.from('hallo\n') }],
])('a change of the %s changes the hash', (_, changed) => {
  expect(buildManifest('r1', [changed]).filesSha256).not.toBe(buildManifest('r1', [index]).filesSha256)
})

test('no files make an empty manifest', () => {
  expect(buildManifest('r1', [])).toMatchObject({ fileCount: 0, byteCount: 0, files: [] })
})

test('a manifest is read back only where it is, word for word, what was written for that release', () => {
  const manifest = buildManifest('r1', [index, script])
  const text = JSON.stringify(manifest)
  expect(parseManifest(text, 'r1')).toEqual(manifest)
  expect(parseManifest(text, 'r2')).toBeNull()
  expect(parseManifest(text.slice(0, -1), 'r1')).toBeNull()
  expect(parseManifest(text.replace('"size":6', '"size":7'), 'r1')).toBeNull()
  expect(parseManifest(text.replace('index.html', 'index.htm'), 'r1')).toBeNull()
  expect(parseManifest('{"releaseId":"r1"}', 'r1')).toBeNull()
  expect(parseManifest('', 'r1')).toBeNull()
})

test('a release as it was written has no damage, an empty one neither', () => {
  expect(compareWithManifest(buildManifest('r1', [index, script]), whole())).toEqual([])
  expect(compareWithManifest(buildManifest('r1', []), [folder('.')])).toEqual([])
})

test.each<[string, (entries: FoundEntry[]) => FoundEntry[], string]>([
  ['other bytes', changed('index.html', { sha256: 'f'.repeat(64) }), 'index.html: sha256 differs'],
  ['another size', changed('index.html', { size: 5 }), 'index.html: 5 bytes instead of 6'],
  ['another mode', changed('index.html', { mode: 0o600 }), 'index.html: mode 600 instead of 644'],
  ['a set-user-id bit', changed('bin/run', { mode: 0o4755 }), 'bin/run: mode 4755 instead of 755'],
  ['a file nobody can read', changed('index.html', { sha256: null }), 'index.html: cannot be read'],
  ['a link', changed('index.html', { kind: 'link' }), 'index.html: a link instead of a file'],
  [
    'a pipe',
    changed('index.html', { kind: 'other' }),
    'index.html: a pipe, socket or device instead of a file',
  ],
  ['a closed folder', changed('bin', { mode: 0o700 }), 'bin: mode 700 instead of 755'],
  ['a closed release', changed('.', { mode: 0o700 }), '.: mode 700 instead of 755'],
  ['a missing file', (entries) => entries.filter(({ path }) => path !== 'index.html'), 'index.html: missing'],
  ['one file more', (entries) => [...entries, file('x.html', 'x')], 'x.html: not in the manifest'],
  ['an empty folder more', (entries) => [...entries, folder('x')], 'x: not in the manifest'],
  ['a name for no terminal', (entries) => [...entries, file('\n\u001b', 'x')], '??: not in the manifest'],
])('%s is damage, named with its path', (_what, change, sentence) => {
  expect(compareWithManifest(buildManifest('r1', [index, script]), change(whole()))).toEqual([sentence])
})

test('a link in the place of a folder takes its files along', () => {
  const entries = changed('bin', { kind: 'link' })(whole()).filter(({ path }) => path !== 'bin/run')
  expect(compareWithManifest(buildManifest('r1', [index, script]), entries)).toEqual([
    'bin: a link instead of a folder',
    'bin/run: missing',
  ])
})

test('much damage is told in twenty sentences and a count', () => {
  const files = Array.from({ length: 30 }, (_, at) => ({ ...index, path: `${at + 10}.html` }))
  const damage = compareWithManifest(buildManifest('r1', files), [folder('.')])
  expect(damage).toHaveLength(21)
  expect(damage[0]).toBe('10.html: missing')
  expect(damage.at(-1)).toBe('and 10 more')
})

test('any one change to any files is found, whatever they are called', () => {
  const anyFiles = fc.uniqueArray(
    fc.record({
      path: fc.stringMatching(/^[a-z -]{1,3}(\/[a-zé'"$]{1,3}){0,2}$/),
      mode: fc.constantFrom(0o644, 0o755),
      content: fc.uint8Array({ maxLength: 4 }),
    }),
    { selector: ({ path }) => path, minLength: 1, maxLength: 8 },
  )
  fc.assert(
    fc.property(anyFiles, fc.nat(), fc.constantFrom('bytes', 'mode', 'gone'), (files, pick, change) => {
      const paths = new Set(files.map(({ path }) => path))
      fc.pre(!files.some(({ path }) => parents(path).some((parent) => paths.has(parent))))
      const manifest = buildManifest('r1', files)
      const entries = entriesOf(files)
      expect(compareWithManifest(manifest, entries)).toEqual([])
      const victim = files[pick % files.length]?.path ?? ''
      const after = entries.flatMap((entry): FoundEntry[] => {
        if (entry.path !== victim) return [entry]
        if (change === 'gone') return []
        return [change === 'mode' ? { ...entry, mode: 0o600 } : { ...entry, sha256: 'f'.repeat(64) }]
      })
      expect(compareWithManifest(manifest, after)).toHaveLength(1)
    }),
  )
})

function whole(): FoundEntry[] {
  return entriesOf([index, script])
}

function entriesOf(files: { path: string; mode: number; content: Uint8Array }[]): FoundEntry[] {
  const folders = new Set(files.flatMap(({ path }) => parents(path)))
  const listed = buildManifest('any', files).files.map((each) => ({ ...each, kind: 'file' as const }))
  return [folder('.'), ...[...folders].map(folder), ...listed]
}

function parents(path: string): string[] {
  return [...path.matchAll(/\//g)].map(({ index: at }) => path.slice(0, at))
}

function file(path: string, content: string): FoundEntry {
  return { path, kind: 'file', size: content.length, mode: 0o644, sha256: null }
}

function folder(path: string): FoundEntry {
  return { path, kind: 'folder', size: 4096, mode: 0o755, sha256: null }
}

function changed(path: string, over: Partial<FoundEntry>) {
  return (entries: FoundEntry[]) =>
    entries.map((entry) => (entry.path === path ? { ...entry, ...over } : entry))
}
