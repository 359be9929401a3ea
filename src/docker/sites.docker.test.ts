import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { createServer, request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { buffer } from 'node:stream/consumers'
import { promisify } from 'node:util'
import Docker from 'dockerode'
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest'
import type { ReleaseFile } from '../engine/ports.ts'
import type { FoundEntry } from '../rollout/manifest.ts'
import { volumeName } from '../rollout/target.ts'
import { connectEngine } from './engine.ts'
import { execInContainer } from './exec.ts'
import { openDockerHost } from './host.ts'
import { parseListings } from './release-listing.ts'
import { readReleases } from './site-scripts.ts'

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
  expect((await observeSite())?.releases).toEqual([{ id: 'r1', complete: true, damage: null }])
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

const damages: [string, string, string[]][] = [
  ['of the same size was changed', 'printf B > b.txt', ['b.txt: sha256 differs']],
  ['was cut', ': > b.txt', ['b.txt: 0 bytes instead of 1']],
  ['is missing', 'rm b.txt', ['b.txt: missing']],
  ['was closed', 'chmod 600 b.txt', ['b.txt: mode 600 instead of 644']],
  ['was added', 'touch -- "-rf"', ['-rf: not in the manifest']],
  [
    'was added whose name imitates a listing',
    'd="$(printf "x\\n81a4 1 .")"; mkdir "$d" "a\\\\b"; touch "$d/b.txt"; rm b.txt',
    [
      'a?b: not in the manifest',
      'b.txt: missing',
      'x?81a4 1 .: not in the manifest',
      'x?81a4 1 ./b.txt: not in the manifest',
    ],
  ],
  ['became a link', 'mv b.txt ../b.txt; ln -s ../b.txt b.txt', ['b.txt: a link instead of a file']],
  ['became a folder', 'rm b.txt; mkdir b.txt', ['b.txt: a folder instead of a file']],
  ['has a pipe beside it', 'mkfifo pipe', ['pipe: not in the manifest']],
  ['is in a folder that was closed', 'chmod 700 "dé p"', ['dé p: mode 700 instead of 755']],
  ['is in a folder that became a link', 'rm -r "dé p"; ln -s /tmp "dé p"', damagedFolder()],
]

test.each(damages)(
  'a release in which a file %s says so, and is written anew',
  async (_what, harm, damage) => {
    const files = [file('b.txt', 'b'), file(`dé p/-c "d' e`, 'c')]
    await writeRelease('damaged', files)
    expect(await verified('damaged')).toEqual([])
    await inHelperAt(`/towline/${folder}/releases/damaged`, 'sh', '-c', harm)
    expect(await verified('damaged')).toEqual(damage)
    await writeRelease('damaged', files)
    expect(await verified('damaged')).toEqual([])
    await inHelperAt(`/towline/${folder}/releases`, 'rm', '-f', 'b.txt')
  },
)

test('a release that was given to another user and closed is written anew', async () => {
  await writeRelease('given', [file('a/b.txt', 'b')])
  await promisify(execFile)('sh', [
    '-c',
    'chmod -R u=rwX,go= "$1" && chown -R 1234 "$1"',
    'sh',
    join(siteOnDisk, 'releases/given'),
  ])
  expect(await verified('given')).toHaveLength(3)
  await writeRelease('given', [file('a/b.txt', 'b')])
  expect(await verified('given')).toEqual([])
  expect(await inHelperAt(`/towline/${folder}/releases`, 'ls', '-A')).not.toContain('.part')
})

test('a manifest somebody changed proves nothing', async () => {
  await writeRelease('forged', [file('a.txt', 'a')])
  const manifest = `/towline/${folder}/manifests/forged.json`
  await inHelperAt('/', 'sh', '-c', `sed -i 's/"size":1/"size":2/' ${manifest}`)
  expect(await verified('forged')).toEqual(['the manifest is not what was written'])
  await writeRelease('forged', [file('a.txt', 'a')])
  expect(await verified('forged')).toEqual([])
})

test.each([
  ['a file', 'touch place'],
  ['a link to a release that is whole', 'ln -s r1 place'],
  ['a link to nowhere', 'ln -s nowhere place'],
])('%s in the place of a release makes it incomplete, and gives way', async (_what, harm) => {
  await writeRelease('place', [file('a.txt', 'a')])
  await inHelperAt(`/towline/${folder}/releases`, 'sh', '-c', `rm -r place; ${harm}`)
  const observed = await observeSite({ named: 'place' })
  expect(observed?.releases).toContainEqual({ id: 'place', complete: false, damage: null })
  await writeRelease('place', [file('a.txt', 'a')])
  expect(await verified('place')).toEqual([])
  expect(await verified('r1')).toEqual([])
})

test('what stands in the place of the folder of releases is set aside', async () => {
  const other = 'sites/aside-1a2b3c4d'
  await inHelperAt('/towline', 'sh', '-c', `mkdir ${other}; echo mine > ${other}/releases`)
  await host.apply(
    { ...writeStep('first'), site: { ...writeStep('first').site, folder: other } },
    { signal, files: async () => [file('a.txt', 'a')] },
  )
  const { sites } = await host.observe({ files: [{ folder: other, releaseId: 'first' }], signal })
  expect(sites?.[other]?.releases).toEqual([{ id: 'first', complete: true, damage: [] }])
  expect(await inHelperAt(`/towline/${other}`, 'sh', '-c', 'cat releases.replaced-*')).toBe('mine\n')
  await host.apply({ do: 'removeSite', phase: 'active', folder: other }, { signal })
})

test('any number of releases is verified, those that are not there left out', async () => {
  await writeRelease('first', [file('a.txt', 'a')])
  await writeRelease('last', [file('a.txt', 'a')])
  await inHelperAt(`/towline/${folder}/releases/last`, 'rm', 'a.txt')
  const ids = [...Array.from({ length: 9 }, () => 'first'), 'no-such', 'last']
  const { sites } = await host.observe({ files: ids.map((releaseId) => ({ folder, releaseId })), signal })
  expect(sites?.[folder]?.releases.filter(({ id }) => ids.includes(id))).toEqual([
    { id: 'first', complete: true, damage: [] },
    { id: 'last', complete: true, damage: ['a.txt: missing'] },
  ])
})

test('an upload that was changed on its way never becomes a release', async () => {
  await using proxy = await tamperingProxy()
  const tampered = openDockerHost({
    name: 'web-1',
    endpoint: { kind: 'unix', socketPath: proxy.socketPath },
    owner,
    images: { helper: 'towline-demo/busybox:1' },
  })
  const files = async () => [file('index.html', 'genuine')]
  await expect(tampered.apply(writeStep('tampered'), { signal, files })).rejects.toMatchObject({
    fault: 'temporary',
    message: expect.stringContaining('did not arrive'),
  })
  expect((await observeSite())?.releases.map(({ id }) => id)).not.toContain('tampered')
  await host.apply(writeStep('tampered'), { signal, files })
  expect(await verified('tampered')).toEqual([])
})

test('what a killed attempt left is not observed, and goes with its release or after an hour', async () => {
  const site = `/towline/${folder}`
  const leave =
    'mkdir -p releases/.old.part releases/.r9.part; touch releases/.r9.part/x manifests/.r9.json.part'
  await inHelperAt(site, 'sh', '-c', `${leave}; touch -d "2026-01-01 00:00" releases/.old.part`)
  const ids = (await observeSite())?.releases.map(({ id }) => id)
  expect(ids).not.toContain('r9')
  await host.inventory({ signal })
  expect(await inHelperAt(site, 'ls', '-A', 'releases')).not.toContain('.old.part')
  expect(await inHelperAt(site, 'ls', '-A', 'releases')).toContain('.r9.part')
  await remove('r9')
  expect(await inHelperAt(site, 'find', '.', '-name', '*.part')).toBe('')
})

test('the scripts say the same with the tools of GNU', async () => {
  await writeRelease('gnu', [file(`dé p/-c "d' e`, 'c'), file('empty', ''), file('run', 'x', 0o755)])
  const root = join(siteOnDisk, '../..')
  const places = [`${root}/${folder}`, 'gnu']
  const gnu = await promisify(execFile)('sh', ['-c', readReleases, 'towline', root, ...places])
  const busybox = await execInContainer(
    engine,
    {
      container: helper,
      argv: ['sh', '-c', readReleases, 'towline', '/towline', `/towline/${folder}`, 'gnu'],
    },
    { signal },
  )
  const [fromGnu] = parseListings(gnu.stdout)
  const [fromBusybox] = parseListings(busybox.stdout)
  const byPath = (a: FoundEntry, b: FoundEntry) => (a.path < b.path ? -1 : 1)
  expect(fromGnu?.found.sort(byPath)).toEqual(fromBusybox?.found.sort(byPath))
  expect(fromGnu?.found.length).toBe(5)
})

test('a directory without a manifest counts as incomplete, and is replaced with all that is in it', async () => {
  await inHelper('mkdir', '-p', `/towline/${folder}/releases/half`)
  await inHelper('touch', `/towline/${folder}/releases/half/stale.html`)
  expect((await observeSite())?.releases).toContainEqual({ id: 'half', complete: false, damage: null })
  await writeRelease('half', [file('index.html', 'whole')])
  expect((await observeSite())?.releases).toContainEqual({ id: 'half', complete: true, damage: null })
  expect(await inHelper('ls', `/towline/${folder}/releases/half`)).toBe('index.html\n')
})

test('a release may be empty', async () => {
  await writeRelease('empty', [])
  expect((await observeSite())?.releases).toContainEqual({ id: 'empty', complete: true, damage: null })
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
  expect((await observeSite())?.releases).toContainEqual({ id: 'kept', complete: true, damage: null })
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

async function observeSite({ named }: { named?: string } = {}) {
  const files = named === undefined ? [] : [{ folder, releaseId: named }]
  return (await host.observe({ sites: true, files, signal })).sites?.[folder]
}

/** What is damaged of a release. */
async function verified(releaseId: string) {
  return (await observeSite({ named: releaseId }))?.releases.find(({ id }) => id === releaseId)?.damage
}

function damagedFolder(): string[] {
  return ['dé p: a link instead of a folder', `dé p/-c "d' e: missing`]
}

/** The Engine's socket, with a word in what is uploaded changed for one of the same length. */
async function tamperingProxy() {
  const place = await mkdtemp(join(tmpdir(), 'towline-tamper-'))
  const socketPath = join(place, 'docker.sock')
  const server = createServer(async (req, res) => {
    const { method, url: path, headers } = req
    const body = await buffer(req)
    const upstream = request({ socketPath: endpoint.socketPath, method, path, headers }, (answer) => {
      res.writeHead(answer.statusCode ?? 500, answer.headers)
      answer.pipe(res)
    })
    upstream.on('error', () => res.destroy())
    upstream.end(
      method === 'PUT' ? Buffer.from(body.toString('latin1').replace('genuine', 'forgery'), 'latin1') : body,
    )
  })
  server.listen(socketPath)
  await once(server, 'listening')
  return {
    socketPath,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      server.close()
      await rm(place, { recursive: true, force: true })
    },
  }
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
