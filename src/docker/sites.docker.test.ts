import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import Docker from 'dockerode'
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest'
import type { ReleaseFile } from '../engine/ports.ts'
import { volumeName } from '../rollout/target.ts'
import { connectEngine } from './engine.ts'
import { execInContainer } from './exec.ts'
import { openDockerHost } from './host.ts'

const owner = `test${process.pid}sites`
const folder = 'sites/docs-1a2b3c4d'
const endpoint = { kind: 'unix', socketPath: inject('dockerSocket') } as const
const docker = new Docker({ socketPath: endpoint.socketPath })
const engine = connectEngine(endpoint, { name: 'web-1' })
const helper = `${volumeName(owner)}-files`
const signal = new AbortController().signal

const host = openDockerHost({
  name: 'web-1',
  endpoint,
  owner,
  images: { helper: 'towline-demo/busybox:1' },
})

/** The site's folder on the machine the tests run on, which is the Engine's too. */
let siteOnDisk = ''

beforeAll(async () => {
  await host.observe({ sites: true, signal })
  const { Mountpoint } = await docker.getVolume(volumeName(owner)).inspect()
  siteOnDisk = join(Mountpoint, folder)
})

afterAll(async () => {
  await docker.getContainer(helper).remove({ force: true })
  await docker.getVolume(volumeName(owner)).remove()
})

test('a release arrives whole, with its modes, and is observed as complete', async () => {
  const fractions: number[] = []
  await writeRelease(
    'r1',
    [file('index.html', '<h1>one</h1>'), file('assets/deep/run.sh', 'exit 0', 0o755)],
    {
      onProgress: (fraction) => fractions.push(fraction),
    },
  )
  expect(await readFile(join(siteOnDisk, 'releases/r1/index.html'), 'utf8')).toBe('<h1>one</h1>')
  expect(await inHelper('stat', '-c', '%a %n', 'assets', 'assets/deep', 'assets/deep/run.sh')).toBe(
    '755 assets\n755 assets/deep\n755 assets/deep/run.sh\n',
  )
  expect((await observeSite())?.releases).toEqual([{ id: 'r1', complete: true }])
  expect(fractions.at(-1)).toBe(1)
  expect(fractions).toEqual([...fractions].sort((a, b) => a - b))
})

test('a release that is whole is not fetched again', async () => {
  await writeRelease('again', [file('index.html', 'once')])
  await host.apply(writeStep('again'), {
    signal,
    files: () => Promise.reject(new Error('was fetched')),
  })
  expect(await readFile(join(siteOnDisk, 'releases/again/index.html'), 'utf8')).toBe('once')
})

test('a release somebody took a file out of is written anew', async () => {
  await writeRelease('damaged', [file('a.txt', 'a'), file('b.txt', 'b')])
  await inHelper('rm', `/towline/${folder}/releases/damaged/b.txt`)
  await writeRelease('damaged', [file('a.txt', 'a'), file('b.txt', 'b')])
  expect(await readFile(join(siteOnDisk, 'releases/damaged/b.txt'), 'utf8')).toBe('b')
})

test('a directory without a manifest counts as incomplete, and is replaced with all that is in it', async () => {
  await inHelper('mkdir', '-p', `/towline/${folder}/releases/half`)
  await inHelper('touch', `/towline/${folder}/releases/half/stale.html`)
  expect((await observeSite())?.releases).toContainEqual({ id: 'half', complete: false })
  await writeRelease('half', [file('index.html', 'whole')])
  expect((await observeSite())?.releases).toContainEqual({ id: 'half', complete: true })
  expect(await inHelper('ls', `/towline/${folder}/releases/half`)).toBe('index.html\n')
})

test('a release may be empty', async () => {
  await writeRelease('empty', [])
  expect((await observeSite())?.releases).toContainEqual({ id: 'empty', complete: true })
})

test('a file that leads out of its release is refused before anything is written', async () => {
  await expect(writeRelease('escape', [file('../../../etc/passwd', 'x')])).rejects.toMatchObject({
    fault: 'bug',
  })
  expect((await observeSite())?.releases).not.toContainEqual(expect.objectContaining({ id: 'escape' }))
})

test('links are made, swapped, left alone when right, and say when they dangle', async () => {
  await writeRelease('linked', [file('public/index.html', 'one')])
  await point([
    { name: 'current', to: 'releases/linked' },
    { name: 'webroot', to: 'current/private' },
  ])
  expect(await observeSite()).toMatchObject({
    current: { kind: 'link', to: 'releases/linked', dangling: false },
    webroot: { kind: 'link', to: 'current/private', dangling: true },
  })
  const inode = await inHelper('stat', '-c', '%i', `/towline/${folder}/current`)
  await point([{ name: 'current', to: 'releases/linked' }])
  expect(await inHelper('stat', '-c', '%i', `/towline/${folder}/current`)).toBe(inode)
})

test.each([
  ['a directory with files', ['sh', '-c', 'mkdir webroot && touch webroot/keep.txt']],
  ['an empty directory', ['mkdir', 'webroot']],
  ['a file', ['touch', 'webroot']],
])('%s in the place of a link makes room, and nothing in it is lost', async (_what, argv) => {
  await inHelperAt(`/towline/${folder}`, 'sh', '-c', 'rm -rf webroot webroot.replaced-*')
  await inHelperAt(`/towline/${folder}`, ...argv)
  expect((await observeSite())?.webroot).toEqual({ kind: 'other' })
  await point([{ name: 'webroot', to: 'current' }])
  expect((await observeSite())?.webroot).toMatchObject({ kind: 'link', to: 'current' })
  const kept = await inHelperAt(`/towline/${folder}`, 'find', '.', '-name', 'keep.txt', '-path', '*replaced*')
  expect(kept !== '').toBe(argv.join(' ').includes('keep.txt'))
})

test('a link cannot be pointed out of its site', async () => {
  await expect(point([{ name: 'current', to: '../../other' }])).rejects.toMatchObject({ fault: 'bug' })
})

test('the release that is served is never removed, any other one is', async () => {
  await writeRelease('old', [file('index.html', 'old')])
  await writeRelease('served', [file('index.html', 'served')])
  await point([{ name: 'current', to: 'releases/served' }])
  await expect(remove('served')).rejects.toMatchObject({ fault: 'temporary' })
  await remove('old')
  await remove('old')
  const ids = (await observeSite())?.releases.map(({ id }) => id)
  expect(ids).toContain('served')
  expect(ids).not.toContain('old')
})

test.each([
  ['stopped', () => docker.getContainer(helper).stop({ t: 0 })],
  ['removed', () => docker.getContainer(helper).remove({ force: true })],
  ['paused', () => docker.getContainer(helper).pause()],
])('a helper that was %s is back with its files at the next use', async (_what, harm) => {
  await writeRelease('kept', [file('index.html', 'kept')])
  await harm()
  expect((await observeSite())?.releases).toContainEqual({ id: 'kept', complete: true })
})

test('many uses at once share one helper', async () => {
  await docker.getContainer(helper).remove({ force: true })
  await Promise.all(Array.from({ length: 8 }, () => host.observe({ sites: true, signal })))
  const named = await docker.listContainers({ all: true, filters: { name: [helper] } })
  expect(named).toHaveLength(1)
})

describe('while links are swapped', () => {
  const swaps = 5_000

  test(`a reader finds its file every time, over ${swaps} swaps`, async () => {
    await writeRelease('even', [file('index.html', 'even')])
    await writeRelease('odd', [file('index.html', 'odd')])
    await point([{ name: 'current', to: 'releases/odd' }])
    await using reader = await startReader(join(siteOnDisk, 'current/index.html'))
    // One exec swaps them all, by the script that swaps one.
    await point(
      Array.from({ length: swaps }, (_, index) => ({
        name: 'current' as const,
        to: index % 2 === 0 ? 'releases/even' : 'releases/odd',
      })),
    )
    const { reads, misses, changes } = await reader.finish()
    expect(reads).toBeGreaterThan(swaps)
    expect(changes).toBeGreaterThan(swaps / 50)
    expect(misses).toBe(0)
  })

  test('the same reader does find the file missing where links are replaced with ln -sfn', async () => {
    await using reader = await startReader(join(siteOnDisk, 'current/index.html'))
    const loop =
      'i=0; while [ $i -lt 1000 ]; do ln -sfn releases/even current; ln -sfn releases/odd current; i=$((i+1)); done'
    await inHelperAt(`/towline/${folder}`, 'sh', '-c', loop)
    const { misses } = await reader.finish()
    expect(misses).toBeGreaterThan(0)
  })
})

/** A process of its own that opens and reads one path in a tight loop, until its input ends. */
async function startReader(path: string) {
  const program = `
    const { readFileSync } = require('node:fs')
    let reads = 0, misses = 0, changes = 0, last = '', ended = false
    process.stdin.on('end', () => { ended = true }).resume()
    function batch() {
      for (let i = 0; i < 2000; i += 1) {
        reads += 1
        try {
          const now = readFileSync(process.argv[1], 'utf8')
          if (now === '') misses += 1
          if (now !== last) changes += 1
          last = now
        } catch { misses += 1 }
      }
      if (ended) console.log(JSON.stringify({ reads, misses, changes }))
      else setImmediate(batch)
    }
    console.log('ready')
    batch()
  `
  const child = spawn(process.execPath, ['-e', program, path], { stdio: ['pipe', 'pipe', 'inherit'] })
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  await lines.next()
  return {
    async finish(): Promise<{ reads: number; misses: number; changes: number }> {
      child.stdin.end()
      return JSON.parse((await lines.next()).value ?? '')
    },
    async [Symbol.asyncDispose]() {
      if (child.exitCode !== null) return
      child.kill('SIGKILL')
      await once(child, 'exit')
    },
  }
}

function file(path: string, text: string, mode = 0o644): ReleaseFile {
  return { path, mode, content: Buffer.from(text) }
}

function writeStep(releaseId: string) {
  const site = { folder, root: '.', source: { kind: 'inline', files: {} } } as const
  return { do: 'writeRelease', phase: 'copying_files', releaseId, site } as const
}

async function writeRelease(
  releaseId: string,
  files: ReleaseFile[],
  options: { onProgress?: (fraction: number) => void } = {},
): Promise<void> {
  await host.apply(writeStep(releaseId), { signal, files: async () => files, ...options })
}

async function point(links: { name: 'current' | 'webroot'; to: string }[]): Promise<void> {
  await host.apply({ do: 'pointLinks', phase: 'creating_symlinks', folder, links }, { signal })
}

async function remove(releaseId: string): Promise<void> {
  await host.apply({ do: 'removeRelease', phase: 'active', folder, releaseId }, { signal })
}

async function observeSite() {
  return (await host.observe({ sites: true, signal })).sites?.[folder]
}

async function inHelper(...argv: string[]): Promise<string> {
  return inHelperAt(`/towline/${folder}/releases/r1`, ...argv)
}

async function inHelperAt(place: string, ...argv: string[]): Promise<string> {
  const command = { container: helper, argv: ['sh', '-c', 'cd "$1" && shift && "$@"', 'sh', place, ...argv] }
  const { exitCode, stdout, stderr } = await execInContainer(engine, command, { signal })
  if (exitCode !== 0) throw new Error(stderr)
  return stdout
}
