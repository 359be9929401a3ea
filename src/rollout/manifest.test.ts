import { expect, test } from 'vitest'
import { buildManifest } from './manifest.ts'

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
