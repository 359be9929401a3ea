import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { startTown } from '../support/town.ts'
import type { Figure } from './measure.ts'
import { readMemoryMib } from './process.ts'

/** Memory of an idle server, and how long it takes from its start until it is ready. */
export async function benchIdle({ dockerSocket }: { dockerSocket: string }): Promise<Figure[]> {
  await using town = await startTown({ dockerSocket, ownProcess: true, files: { 'apps/bench.yaml': spec } })
  await town.checkRun(await town.work.git(['rev-parse', 'HEAD']), 'towline / deploy')
  await town.stopTowline()
  const readyMs: number[] = []
  const residentMib: number[] = []
  const anonymousMib: number[] = []
  for (let round = 0; round < warmUps + rounds; round += 1) {
    const { tookMs, resident, anonymous } = await startAndIdle(town)
    if (round < warmUps) continue
    readyMs.push(tookMs)
    residentMib.push(resident)
    anonymousMib.push(anonymous)
  }
  return [
    {
      name: 'idle memory',
      unit: 'MiB',
      goal: 120,
      measured: residentMib,
      floor: null,
      method: `resident set (VmRSS) of \`node src/main.ts\` with one app deployed, ${idleMs / 1000} s after it was ready`,
    },
    {
      name: 'idle memory without file pages',
      unit: 'MiB',
      goal: null,
      measured: anonymousMib,
      floor: null,
      method:
        'RssAnon at the same moment: what Towline itself allocated. The rest is pages of the Node.js executable, shared by all its processes and given back under pressure',
    },
    {
      name: 'start → ready',
      unit: 'ms',
      goal: 2_000,
      measured: readyMs,
      floor: null,
      method: 'from the spawn of `node src/main.ts` to the first 200 of /readyz, asked every 5 ms',
    },
  ]
}

async function startAndIdle({
  url,
  environment,
}: {
  url: string
  environment: Record<string, string>
}): Promise<{ tookMs: number; resident: number; anonymous: number }> {
  const began = performance.now()
  const child = spawn(process.execPath, ['src/main.ts'], {
    env: { PATH: process.env.PATH ?? '', ...environment },
    stdio: 'ignore',
  })
  try {
    while (!(await isReady(url))) {
      if (child.exitCode !== null) throw new Error(`Towline ended with ${child.exitCode}`)
      await sleep(5)
    }
    const tookMs = performance.now() - began
    await sleep(idleMs)
    return { tookMs, ...(await readMemoryMib(child.pid ?? 0)) }
  } finally {
    if (child.exitCode === null) {
      const ended = once(child, 'exit')
      child.kill('SIGTERM')
      await ended
    }
  }
}

async function isReady(url: string): Promise<boolean> {
  const answer = await fetch(`${url}/readyz`).catch(() => null)
  return answer?.ok === true
}

const rounds = 5
const warmUps = 1
/** By then the first sweep is over and what starting left behind has been collected or never will be. */
const idleMs = 10_000

const spec = `apiVersion: towline/v1
kind: Service
name: bench
image: towline-demo/hello:1
deploy: { update_config: { monitor: 0s } }
`
