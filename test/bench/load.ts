import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type Docker from 'dockerode'
import type { TargetRecord } from '../../src/engine/records.ts'
import { openEmbeddedStore } from '../../src/store/embedded.ts'
import { service, site } from '../support/specs.ts'
import { eventually, serverYaml, startTown, type Town } from '../support/town.ts'
import { rawDeployments, removeAll } from './floor.ts'
import { heapEnvironment, readHeapMib } from './heap.ts'
import type { Figure } from './measure.ts'
import { readMemoryMib } from './process.ts'

/** `atOnce`: deployments at a time on the one host. null leaves `limits` at their defaults. */
type Load = { targetCount: number; atOnce: number | null; rounds: number }

const loads: Load[] = [
  { targetCount: 12, atOnce: null, rounds: 3 },
  { targetCount: 50, atOnce: 16, rounds: 2 },
  { targetCount: 200, atOnce: 16, rounds: 1 },
]
const defaultAtOnce = 4

/** One push that brings many targets at once to a server and a host that had none. */
export async function benchLoad({ dockerSocket }: { dockerSocket: string }): Promise<Figure[]> {
  const figures: Figure[] = []
  for (const load of loads) {
    const outcomes: Outcome[] = []
    for (let round = 0; round < load.rounds; round += 1) {
      outcomes.push(await deployOnce(dockerSocket, load))
    }
    figures.push(...figuresOf(load, outcomes))
  }
  return figures
}

type Outcome = {
  /** From the webhook to the last stored `active`. */
  activeMs: number
  /** From the webhook to the last check run completed at GitHub. */
  toldMs: number
  floorMs: number
  /** Most deployments that ran at the same time. */
  mostAtOnce: number
  peakMib: number
  settledMib: number
  heapMib: number
}

async function deployOnce(dockerSocket: string, load: Load): Promise<Outcome> {
  await using town = await startTown({
    dockerSocket,
    ownProcess: true,
    serverYaml: settings(dockerSocket, load),
    environment: heapEnvironment,
    requestsPerHour: 1_000_000,
  })
  const apps = Array.from({ length: load.targetCount }, (_, index) => `app-${index}`)
  // Held back until the push is over, so that the clock starts when GitHub sends the webhook.
  town.github.pauseWebhooks()
  const commit = await town.push({ write: Object.assign({}, ...apps.map(specOf)) })
  const sentAtMs = Date.now()
  town.github.resumeWebhooks()
  await eventually(
    `${load.targetCount} targets to be deployed`,
    async () =>
      town.github
        .checkRuns(town.repo, commit)
        .find(({ name, status }) => name === 'towline / deploy' && status === 'completed'),
    { timeoutMs: deployTimeoutMs },
  )
  const toldAtMs = checkRunsAtMs(town, { commit, apps })
  await sleep(settleMs)
  const { peak, resident } = await readMemoryMib(town.pid())
  const heapMib = await readHeapMib(town.log())
  const models = await onlyContainers(town, apps)
  await town.stopTowline()
  const deployments = await onlyDeployments(town, apps)
  // The floor finds the host as Towline found it.
  const atOnce = load.atOnce ?? defaultAtOnce
  await removeAll(models.map(({ Id }) => town.docker.getContainer(Id)))
  const floorMs = await rawDeployments(town.docker, models, { atOnce })
  const outcome = {
    activeMs: Math.max(...deployments.map(({ endedAtMs }) => endedAtMs)) - sentAtMs,
    toldMs: toldAtMs - sentAtMs,
    floorMs,
    mostAtOnce: mostAtOnce(deployments),
    peakMib: peak,
    settledMib: resident,
    heapMib,
  }
  console.error(`${load.targetCount} targets: ${describe(outcome)}`)
  return outcome
}

/** When the last check run was completed. @throws Error unless each target has one, and one that succeeded. */
function checkRunsAtMs(town: Town, { commit, apps }: { commit: string; apps: string[] }): number {
  const runs = town.github.checkRuns(town.repo, commit)
  const expected = [...apps.map((app) => `towline / ${app}@local`), 'towline / deploy']
  const isExpected =
    runs
      .map(({ name }) => name)
      .toSorted()
      .join() === expected.toSorted().join()
  if (!isExpected || runs.some(({ conclusion }) => conclusion !== 'success'))
    throw new Error(runs.map(({ name, title, summary }) => `${name}: ${title}\n${summary}`).join('\n'))
  return Math.max(
    ...runs.flatMap(({ history }) => {
      const completed = history.find(({ status }) => status === 'completed')
      return completed ? Date.parse(completed.at) : []
    }),
  )
}

type Span = { startedAtMs: number; endedAtMs: number }

/** The deployment of each target, from the store. @throws Error unless it is the only one, and active. */
async function onlyDeployments(town: Town, apps: string[]): Promise<Span[]> {
  const folder = join(town.environment.TOWLINE_DATA ?? '', 'store')
  const store = await openEmbeddedStore({ folder, onDamage: refuseDamage })
  try {
    const records = await store.listTargets()
    if (records.length !== apps.length) throw new Error(`${records.length} targets are known`)
    return records.map(onlyDeployment)
  } finally {
    await store.close()
  }
}

function onlyDeployment({ key, deployments, applied }: TargetRecord): Span {
  const [only, ...others] = deployments
  const isActive = only?.phase === 'active' && applied?.deploymentId === only.id
  if (!isActive || others.length > 0) {
    throw new Error(`${key}: ${deployments.map(({ phase, message }) => `${phase} ${message}`).join(', ')}`)
  }
  return { startedAtMs: Date.parse(only.startedAt ?? ''), endedAtMs: Date.parse(only.endedAt ?? '') }
}

function mostAtOnce(spans: Span[]): number {
  const running = (atMs: number) =>
    spans.filter(({ startedAtMs, endedAtMs }) => startedAtMs <= atMs && atMs < endedAtMs).length
  return Math.max(...spans.map(({ startedAtMs }) => running(startedAtMs)))
}

/** The containers of all apps. @throws Error unless each app has exactly one, and it runs. */
async function onlyContainers(town: Town, apps: string[]): Promise<Docker.ContainerInspectInfo[]> {
  const filters = { label: [`towline.owner=${town.owner()}`, 'towline.app'] }
  const listed = await town.docker.listContainers({ all: true, filters })
  const running = listed.filter(({ State }) => State === 'running').map(({ Labels }) => Labels['towline.app'])
  if (listed.length !== apps.length || new Set(running).size !== apps.length)
    throw new Error(`${listed.length} containers, of which these run: ${running.join(', ')}`)
  return Promise.all(listed.map(({ Id }) => town.docker.getContainer(Id).inspect()))
}

function figuresOf({ targetCount, atOnce }: Load, outcomes: Outcome[]): Figure[] {
  const floor = outcomes.map(({ floorMs }) => floorMs)
  const limits =
    atOnce === null ? `default limits: ${defaultAtOnce} at a time` : `limits raised to ${atOnce} at a time`
  const rawMethod = `floor: the same containers made through the Docker API, as many at a time (create, start, health check by exec until it passes), on the host emptied again, so always second`
  const content = `${targetCount} new targets, every fourth a Site, ${limits}`
  return [
    {
      name: `${targetCount} targets, push → last \`active\` ÷ raw`,
      unit: 'ms',
      goal: null,
      measured: outcomes.map(({ activeMs }) => activeMs),
      floor,
      method: `${content}; from GitHub sending the webhook of the one push to the last stored "active"; ${rawMethod}`,
    },
    {
      name: `${targetCount} targets, push → last check run ÷ raw`,
      unit: 'ms',
      goal: null,
      measured: outcomes.map(({ toldMs }) => toldMs),
      floor,
      method: `the same to the last check run completed at GitHub (githubWriteInterval 1ms)`,
    },
    {
      name: `${targetCount} targets, most at the same time`,
      unit: 'count',
      goal: null,
      measured: outcomes.map(({ mostAtOnce: most }) => most),
      floor: null,
      method: 'deployments between their start and their end',
    },
    {
      name: `${targetCount} targets, peak memory`,
      unit: 'MiB',
      goal: null,
      measured: outcomes.map(({ peakMib }) => peakMib),
      floor: null,
      method: 'most that was ever resident (VmHWM) of the server, its start included',
    },
    {
      name: `${targetCount} targets, settled memory`,
      unit: 'MiB',
      goal: null,
      measured: outcomes.map(({ settledMib }) => settledMib),
      floor: null,
      method: `resident set (VmRSS) ${settleMs / 1000} s after the last check run`,
    },
    {
      name: `${targetCount} targets, heap`,
      unit: 'MiB',
      goal: null,
      measured: outcomes.map(({ heapMib }) => heapMib),
      floor: null,
      method: 'what is left on the heap after its garbage was collected through the inspector',
    },
  ]
}

function describe({ activeMs, toldMs, floorMs, peakMib, settledMib, heapMib }: Outcome): string {
  const seconds = (ms: number) => `${(ms / 1000).toFixed(1)} s`
  return `active after ${seconds(activeMs)}, told after ${seconds(toldMs)}, floor ${seconds(floorMs)}, peak ${Math.round(peakMib)} MiB, settled ${Math.round(settledMib)} MiB, heap ${Math.round(heapMib)} MiB`
}

function settings(dockerSocket: string, { atOnce }: Load): string {
  const yaml = serverYaml(dockerSocket)
  return atOnce === null ? yaml : yaml.replace('limits: {', `limits: { perHost: ${atOnce}, total: ${atOnce},`)
}

function specOf(app: string, index: number): Record<string, string> {
  if (index % 4 !== 3) return service(app, { ports: undefined, healthcheck })
  return {
    ...site(app, { source: { files: `sites/${app}` } }),
    [`sites/${app}/index.html`]: `<h1>${app}</h1>\n`,
  }
}

function refuseDamage({ file }: { file: string }): never {
  throw new Error(`${file} is damaged`)
}

/** Docker's own checks are kept out of the way: with hundreds of containers they alone would fill two cores. */
const healthcheck = {
  test: ['CMD', 'wget', '-q', '--spider', 'http://127.0.0.1:8080/'],
  interval: '5m',
  timeout: '10s',
}
/** 200 targets take about a minute on two cores that do nothing else. */
const deployTimeoutMs = 600_000
/** By then the mirror has given back what it read, and old connections are closed. */
const settleMs = 12_000
