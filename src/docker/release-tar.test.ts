import { Readable } from 'node:stream'
import { extract } from 'tar-stream'
import { expect, test } from 'vitest'
import type { ReleaseFile } from '../engine/ports.ts'
import { packRelease } from './release-tar.ts'

const file = (path: string, text = path): ReleaseFile => ({
  path,
  mode: 0o100644,
  content: Buffer.from(text),
})

async function entriesOf(files: ReleaseFile[]) {
  const entries: { name: string; type: unknown; mode: number | undefined; size: number }[] = []
  const reading = extract()
  Readable.from(packRelease(files, { writtenAt: new Date(0) })).pipe(reading)
  for await (const entry of reading) {
    const { name, type, mode } = entry.header
    let size = 0
    for await (const chunk of entry) size += (chunk as Buffer).length
    entries.push({ name, type, mode, size })
  }
  return entries
}

test('every folder comes before what is in it, closed to writers', async () => {
  expect(await entriesOf([file('a/b/c.txt'), file('a/d.txt', 'dd')])).toEqual([
    { name: 'a', type: 'directory', mode: 0o755, size: 0 },
    { name: 'a/b', type: 'directory', mode: 0o755, size: 0 },
    { name: 'a/b/c.txt', type: 'file', mode: 0o644, size: 9 },
    { name: 'a/d.txt', type: 'file', mode: 0o644, size: 2 },
  ])
})

test('a name of 300 characters and one in another script arrive as they are', async () => {
  const names = [`${'long/'.repeat(60)}x.txt`, 'straße/日本語.html']
  const found = (await entriesOf(names.map((name) => file(name)))).map(({ name }) => name)
  for (const name of names) expect(found).toContain(name)
})

test('progress ends at one and never falls', async () => {
  const fractions: number[] = []
  const files = Array.from({ length: 20 }, (_, index) => file(`${index}.bin`, 'x'.repeat(10_000)))
  const tar = packRelease(files, {
    writtenAt: new Date(0),
    onProgress: (fraction) => fractions.push(fraction),
  })
  for await (const _chunk of tar);
  expect(fractions.at(-1)).toBe(1)
  expect(fractions).toEqual([...fractions].sort((a, b) => a - b))
})

test.each(['/etc/passwd', '../up', 'a/../../up', './dot', 'a//b', 'nul\0'])(
  'the path %j is refused',
  (path) => {
    expect(() => packRelease([file(path)], { writtenAt: new Date(0) })).toThrow(/cannot hold/)
  },
)
