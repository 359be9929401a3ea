import { join } from 'node:path'
import Docker from 'dockerode'
import { pino } from 'pino'
import { openDockerHost } from '../../src/docker/host.ts'
import { alwaysKnown } from '../../src/engine/host-status.ts'
import { type HostSweep, sweepHost } from '../../src/engine/sweep.ts'
import { readEnvironment } from '../../src/environment.ts'
import { startTowline } from '../../src/main.ts'
import { openEmbeddedStore } from '../../src/store/embedded.ts'
import { eventually, serverYaml, startTown, type Town } from '../support/town.ts'
import { type Figure, interleave, timed } from './measure.ts'

const appCount = 200
/** It takes 50 s on two cores that do nothing else. */
const deployTimeoutMs = 300_000

/** A sweep that finds nothing to do, over 200 running apps. */
export async function benchSweep({ dockerSocket }: { dockerSocket: string }): Promise<Figure[]> {
  await using town = await startTown({
    dockerSocket,
    ownProcess: true,
    serverYaml: serverYaml(dockerSocket).replace('limits: {', 'limits: { perHost: 8, total: 8,'),
  })
  const apps = Array.from({ length: appCount }, (_, index) => `app-${index}`)
  const began = performance.now()
  const commit = await town.push({
    write: Object.fromEntries(apps.map((app) => [`apps/${app}.yaml`, spec(app)])),
  })
  await eventually(
    `${appCount} apps to be deployed`,
    async () =>
      town.github
        .checkRuns(town.repo, commit)
        .find(({ name, status }) => name === 'towline / deploy' && status === 'completed'),
    { timeoutMs: deployTimeoutMs },
  )
  console.error(`${appCount} apps deployed in ${Math.round((performance.now() - began) / 1000)} s`)
  await town.stopTowline()
  const rounds = { rounds: 30, warmUps: 5 }
  const hostSides = await sweepOneHost(town.environment.TOWLINE_DATA ?? '', { dockerSocket, rounds })
  const wholeSides = await sweepAll(town, rounds)
  return [
    {
      name: 'no-op sweep of a host of 200 apps ÷ one list call',
      unit: 'ms',
      goal: 2,
      ...hostSides,
      method: `all ${appCount} containers observed, compared with what was applied, and decided on; floor: one list of the same containers with dockerode`,
    },
    {
      name: 'whole no-op sweep, GitHub included ÷ one list call',
      unit: 'ms',
      goal: null,
      ...wholeSides,
      method:
        'the scheduled sweep: the host as above, and at the same time GitHub asked for the repos and git for the head; most of it is the stand-in, which starts a git process for each of two requests in the process that is measured, so it has no goal',
    },
  ]
}

type Rounds = { rounds: number; warmUps: number }

async function sweepOneHost(
  dataFolder: string,
  { dockerSocket, rounds }: { dockerSocket: string; rounds: Rounds },
) {
  const store = await openEmbeddedStore({ folder: join(dataFolder, 'store'), onDamage: () => {} })
  try {
    const { owner } = store
    const endpoint = { kind: 'unix' as const, socketPath: dockerSocket }
    const host = openDockerHost({
      name: 'local',
      endpoint,
      owner,
      images: { helper: 'towline-demo/busybox:1' },
    })
    const docker = new Docker({ socketPath: dockerSocket })
    const parts = {
      store,
      hostStatus: alwaysKnown,
      healing: { limit: 5, windowMs: 300_000 },
      log: pino({ level: 'silent' }),
    }
    const signal = new AbortController().signal
    return await interleave(rounds, {
      measured: () => timed(async () => checkNoOp(await sweepHost(parts, host, { deep: false, signal }))),
      floor: () => timed(() => docker.listContainers(listOptions(owner))),
    })
  } finally {
    await store.close()
  }
}

/** In this process, because the scheduled sweep cannot be asked for over HTTP. */
async function sweepAll(town: Town, rounds: Rounds) {
  const towline = await startTowline(readEnvironment(town.environment), pino({ level: 'silent' }))
  try {
    await towline.engine.sweep({ deep: true })
    const owner = (await town.containers('app-0'))[0]?.Labels['towline.owner'] ?? ''
    return await interleave(rounds, {
      measured: () => timed(async () => checkNoOp((await towline.engine.sweep({ deep: false })).hosts[0])),
      floor: () => timed(() => town.docker.listContainers(listOptions(owner))),
    })
  } finally {
    await towline.stop()
  }
}

function checkNoOp(host: HostSweep | undefined): void {
  const isNoOp = host && 'due' in host && host.targetCount === appCount && host.due.length === 0
  if (!isNoOp) throw new Error(`the sweep was not a no-op: ${JSON.stringify(host)}`)
}

function listOptions(owner: string) {
  return { all: true, filters: { label: [`towline.owner=${owner}`] } }
}

function spec(app: string): string {
  return `apiVersion: towline/v1
kind: Service
name: ${app}
image: towline-demo/busybox:1
command: [sleep, "2147483647"]
stop_grace_period: 1s
deploy: { update_config: { monitor: 0s } }
`
}
