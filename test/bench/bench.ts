/**
 * `npm run bench` prints how long Towline takes against the least that the same work can take, both measured in the same
 * run. Speed is never asserted: it ends with 0 unless something broke. `npm run bench -- push plan` runs some,
 * `--json` prints all values.
 */

import { cpus, loadavg, totalmem } from 'node:os'
import { testEngine } from '../support/docker-daemon.ts'
import { buildTestImages } from '../support/images.ts'
import { benchIdle } from './idle.ts'
import { benchLoad } from './load.ts'
import { type Figure, renderTable, summarize } from './measure.ts'
import { benchPlan } from './plan.ts'
import { benchHeal, benchPush } from './push-and-heal.ts'
import { benchStore } from './store.ts'
import { benchSweep } from './sweep.ts'

type Bench = (parts: { dockerSocket: string }) => Promise<Figure[]>

const benches: Record<string, Bench> = {
  push: benchPush,
  heal: benchHeal,
  sweep: benchSweep,
  plan: benchPlan,
  store: benchStore,
  idle: benchIdle,
  load: benchLoad,
}

await main(process.argv.slice(2))

async function main(args: string[]): Promise<void> {
  const json = args.includes('--json')
  const asked = args.filter((arg) => arg !== '--json')
  const unknown = asked.filter((name) => !Object.hasOwn(benches, name))
  if (unknown.length > 0) {
    console.error(`There is no bench ${unknown.join(', ')}. There are: ${Object.keys(benches).join(', ')}.`)
    process.exitCode = 1
    return
  }
  const figures = await run(asked.length > 0 ? asked : Object.keys(benches))
  if (json)
    return console.log(
      JSON.stringify(
        { machine: machine(), figures: figures.map((figure) => ({ ...figure, summary: summarize(figure) })) },
        null,
        2,
      ),
    )
  console.log(`${machine()}\n\n${renderTable(figures.map(summarize))}\n`)
  for (const { name, method } of figures) console.log(`${name}: ${method}.`)
}

async function run(names: string[]): Promise<Figure[]> {
  const engine = await testEngine({ name: 'bench', dockerHost: process.env.DOCKER_HOST })
  try {
    await buildTestImages(engine.socketPath)
    const figures: Figure[] = []
    for (const name of names) {
      console.error(`measuring ${name} …`)
      try {
        figures.push(...((await benches[name]?.({ dockerSocket: engine.socketPath })) ?? []))
      } catch (error) {
        console.error(`${name} broke:`, error)
        process.exitCode = 1
      }
    }
    return figures
  } finally {
    await engine.stop()
  }
}

function machine(): string {
  const [cpu] = cpus()
  const memoryGib = Math.round(totalmem() / 2 ** 30)
  return [
    new Date().toISOString().slice(0, 10),
    `Node ${process.versions.node}`,
    `${process.platform} ${process.arch}`,
    `${cpus().length} × ${cpu?.model.trim()}`,
    `${memoryGib} GiB`,
    `load of the last 15 minutes ${loadavg()[2]?.toFixed(1)}`,
  ].join(', ')
}
