/**
 * `npm run bench` prints how long Towline takes against the least that the same work can take, both measured in the same
 * run. Speed is never asserted: it ends with 0 unless something broke. `npm run bench -- --help` says what there is.
 */

import { cpus, loadavg, totalmem } from 'node:os'
import { parseArgs } from 'node:util'
import { testEngine } from '../support/docker-daemon.ts'
import { buildTestImages } from '../support/images.ts'
import { benchIdle } from './idle.ts'
import { benchLoad } from './load.ts'
import { type Figure, renderTable, summarize } from './measure.ts'
import { benchPlan } from './plan.ts'
import { benchHeal, benchPush } from './push-and-heal.ts'
import { benchSoak } from './soak.ts'
import { benchStore } from './store.ts'
import { benchSweep } from './sweep.ts'

type Bench = (parts: { dockerSocket: string; pushCount: number }) => Promise<Figure[]>

const benches: Record<string, { run: Bench; what: string; onlyNamed?: boolean }> = {
  push: { run: benchPush, what: 'push → active of one app' },
  heal: { run: benchHeal, what: 'a container that was killed or removed → healthy' },
  sweep: { run: benchSweep, what: 'a look at 200 apps that finds nothing to do' },
  plan: { run: benchPlan, what: 'one changed spec among 5,000' },
  store: { run: benchStore, what: 'one durable write' },
  idle: { run: benchIdle, what: 'memory and start of an idle server' },
  load: { run: benchLoad, what: 'one push of 12, 50 and 200 targets; about six minutes', onlyNamed: true },
  soak: { run: benchSoak, what: 'many pushes to one server: does anything grow', onlyNamed: true },
}

const help = `npm run bench                              everything but what runs only when named
npm run bench -- push plan                 some
npm run bench -- soak --pushes 300         a shorter soak (default: 1000 pushes)
npm run bench -- --json                    every single value

${Object.entries(benches)
  .map(([name, { what, onlyNamed }]) => `  ${name.padEnd(6)} ${what}${onlyNamed ? ' (only when named)' : ''}`)
  .join('\n')}`

await main(process.argv.slice(2))

async function main(args: string[]): Promise<void> {
  const { values, positionals: asked } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      json: { type: 'boolean' },
      help: { type: 'boolean', short: 'h' },
      pushes: { type: 'string', default: '1000' },
    },
  })
  if (values.help) return console.log(help)
  const unknown = asked.filter((name) => !Object.hasOwn(benches, name))
  const pushCount = Number(values.pushes)
  if (unknown.length > 0 || !(Number.isInteger(pushCount) && pushCount >= 10)) {
    console.error(
      unknown.length > 0
        ? `There is no bench ${unknown.join(', ')}.`
        : '--pushes wants a number, at least 10.',
    )
    console.error(help)
    process.exitCode = 1
    return
  }
  const usual = Object.keys(benches).filter((name) => !benches[name]?.onlyNamed)
  const figures = await run(asked.length > 0 ? asked : usual, { pushCount })
  if (values.json)
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

async function run(names: string[], { pushCount }: { pushCount: number }): Promise<Figure[]> {
  const engine = await testEngine({ name: 'bench', dockerHost: process.env.DOCKER_HOST })
  try {
    await buildTestImages(engine.socketPath)
    const figures: Figure[] = []
    for (const name of names) {
      console.error(`measuring ${name} …`)
      try {
        figures.push(...((await benches[name]?.run({ dockerSocket: engine.socketPath, pushCount })) ?? []))
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
