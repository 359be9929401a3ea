import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { runIn } from '../support/host-shell.ts'
import { service, site } from '../support/specs.ts'
import { startTown, type Town } from '../support/town.ts'
import { heapEnvironment, readHeapMib } from './heap.ts'
import type { Figure } from './measure.ts'
import { countOpenFiles, readMemoryMib } from './process.ts'

const sites = ['docs', 'blog', 'shop']
const services = ['hello']
const apps = [...sites, ...services]
/** One push in so many changes the Service, the others a Site: a container started anew costs several times as much. */
const serviceEvery = 10
/** As often as a repo that gets a push every half minute is swept by default. */
const sweepEvery = 10

/** Many pushes to one server in a process of its own: whether anything grows that should not. */
export async function benchSoak({
  dockerSocket,
  pushCount,
}: {
  dockerSocket: string
  pushCount: number
}): Promise<Figure[]> {
  await using town = await startTown({
    dockerSocket,
    ownProcess: true,
    environment: heapEnvironment,
    requestsPerHour: 1_000_000,
  })
  for (let number = 0; number < warmUpPushes; number += 1) {
    await pushAndWait(town, number < historyPushes ? apps : [appOf(number)], number)
  }
  const samples = [await takeSample(town, 0)]
  let largestFolder = { bytes: 0, files: 0 }
  for (let push = 1; push <= pushCount; push += 1) {
    await pushAndWait(town, [appOf(push)], warmUpPushes + push)
    if (push % sweepEvery === 0) await town.sweep()
    largestFolder = larger(largestFolder, await measureFolder(town))
    if (push % Math.ceil(pushCount / sampleCount) !== 0 && push !== pushCount) continue
    samples.push({ ...(await takeSample(town, push)), folder: largestFolder })
    largestFolder = { bytes: 0, files: 0 }
  }
  return figuresOf(samples.slice(1), pushCount)
}

async function pushAndWait(town: Town, changed: string[], number: number): Promise<void> {
  const commit = await town.push({ write: Object.assign({}, ...changed.map((app) => filesOf(app, number))) })
  const run = await town.checkRun(commit, 'towline / deploy')
  if (run.conclusion !== 'success') throw new Error(`push ${number}: ${run.title}\n${run.summary}`)
}

function appOf(push: number): string {
  const from = push % serviceEvery === 0 ? services : sites
  return from[push % from.length] ?? 'docs'
}

function filesOf(app: string, number: number): Record<string, string> {
  if (services.includes(app)) {
    return service(app, { ports: undefined, environment: { ROUND: String(number) } })
  }
  return {
    ...site(app, { source: { files: `sites/${app}` } }),
    [`sites/${app}/index.html`]: `<h1>${app}</h1><p>${number}\n`,
  }
}

type Folder = { bytes: number; files: number }

type Sample = {
  pushes: number
  residentMib: number
  anonymousMib: number
  peakMib: number
  heapMib: number
  sockets: number
  pipes: number
  files: number
  others: number
  /** The data folder without deliveries, at its largest since the sample before. */
  folder: Folder
  deliveries: number
  containers: number
  releases: number
}

/** What the server holds while it has nothing to do. Memory is read before its garbage is collected for the heap. */
async function takeSample(town: Town, pushes: number): Promise<Sample> {
  await sleep(idleMs)
  const { resident, anonymous, peak } = await readMemoryMib(town.pid())
  const sample = {
    pushes,
    residentMib: resident,
    anonymousMib: anonymous,
    peakMib: peak,
    ...(await countOpenFiles(town.pid())),
    heapMib: await readHeapMib(town.log()),
    folder: await measureFolder(town),
    deliveries: (await readdir(join(dataFolder(town), 'store', 'deliveries'))).length,
    ...(await countOnHost(town)),
  }
  console.error(describe(sample))
  return sample
}

function dataFolder(town: Town): string {
  return town.environment.TOWLINE_DATA ?? ''
}

/** Deliveries are counted apart: by design they are kept for three days. */
async function measureFolder(town: Town): Promise<Folder> {
  const folder = dataFolder(town)
  const sizes: number[] = []
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile() || entry.parentPath.includes('/deliveries')) continue
    const found = await stat(join(entry.parentPath, entry.name)).catch(() => null)
    if (found !== null) sizes.push(found.size)
  }
  return { bytes: sizes.reduce((sum, size) => sum + size, 0), files: sizes.length }
}

function larger(a: Folder, b: Folder): Folder {
  return { bytes: Math.max(a.bytes, b.bytes), files: Math.max(a.files, b.files) }
}

async function countOnHost(town: Town): Promise<{ containers: number; releases: number }> {
  const filters = { label: [`towline.owner=${town.owner()}`] }
  const listed = await town.docker.listContainers({ all: true, filters })
  const helper = listed.find(({ Labels }) => Labels['towline.role'] === 'files')
  const releases = await runIn(town, helper?.Id ?? '', 'ls -d /towline/sites/*/releases/* | wc -l')
  return { containers: listed.length, releases: Number(releases) }
}

function describe(sample: Sample): string {
  const { pushes, residentMib, anonymousMib, heapMib, sockets, pipes, files, others, folder } = sample
  return [
    `${String(pushes).padStart(5)} pushes: ${residentMib.toFixed(0)} MiB resident, ${anonymousMib.toFixed(0)} anonymous`,
    `heap ${heapMib.toFixed(1)} MiB`,
    `open: ${sockets} sockets, ${pipes} pipes, ${files} files, ${others} others`,
    `data folder ${folder.files} files, ${(folder.bytes / 1024).toFixed(0)} KiB, and ${sample.deliveries} deliveries`,
    `host: ${sample.containers} containers, ${sample.releases} releases`,
  ].join('; ')
}

function figuresOf(samples: Sample[], pushCount: number): Figure[] {
  const third = Math.ceil(samples.length / 3)
  const first = samples.slice(0, third)
  const last = samples.slice(-third)
  const held = `${idleMs / 1000} s after the last of the pushes before it`
  const figure = (name: string, unit: Figure['unit'], read: (sample: Sample) => number) => ({
    name: `soak, ${pushCount} pushes: ${name}`,
    unit,
    goal: 1.1,
    measured: last.map(read),
    floor: first.map(read),
  })
  return [
    {
      ...figure('resident memory', 'MiB', ({ residentMib }) => residentMib),
      method: `VmRSS, ${held}; last third of the samples against the first`,
    },
    {
      ...figure('memory without file pages', 'MiB', ({ anonymousMib }) => anonymousMib),
      method: `RssAnon at the same moments`,
    },
    {
      ...figure('heap', 'MiB', ({ heapMib }) => heapMib),
      method: 'what is left on the heap after its garbage was collected through the inspector',
    },
    {
      name: `soak, ${pushCount} pushes: heap growth a push`,
      unit: 'KiB',
      goal: null,
      measured: [heapGrowthKib(samples)],
      floor: null,
      method:
        'from the first sample to the last; a ratio alone hides a slow leak behind what is there anyway',
    },
    { ...figure('sockets', 'count', ({ sockets }) => sockets), method: 'sockets among /proc/<pid>/fd' },
    {
      ...figure('other open files', 'count', ({ pipes, files, others }) => pipes + files + others),
      method: 'everything else in /proc/<pid>/fd',
    },
    {
      ...figure('data folder, bytes', 'count', ({ folder }) => folder.bytes),
      method:
        'without deliveries, at its largest since the sample before: the mirror grows by a pack a push and starts afresh at 50',
    },
    { ...figure('data folder, files', 'count', ({ folder }) => folder.files), method: 'the same' },
    {
      ...figure('containers on the host', 'count', ({ containers }) => containers),
      method: 'all that carry the owner label',
    },
    {
      ...figure('releases on the host', 'count', ({ releases }) => releases),
      method: 'release folders of all Sites',
    },
    {
      ...figure('deliveries', 'count', ({ deliveries }) => deliveries),
      goal: null,
      method:
        'files of webhook deliveries; they are kept for three days and at most 20,000, so they grow here',
    },
  ]
}

function heapGrowthKib(samples: Sample[]): number {
  const [first, last] = [samples[0], samples.at(-1)]
  if (!first || !last) throw new Error('there is no sample')
  return ((last.heapMib - first.heapMib) * 1024) / (last.pushes - first.pushes)
}

/** 20 deployments are kept of a target, and 20 revisions of a repo. */
const historyPushes = 20
/** Until every bound was met once, growth is no leak. The mirror's is 50 packs. */
const warmUpPushes = 60
const sampleCount = 10
/** The mirror gives back what it read after 10 s, and connections that idle are closed sooner. */
const idleMs = 12_000
