/**
 * `npm run chaos` kills Towline before and after every call of Docker, every request to GitHub and every change of its
 * data folder, in every flow, and checks after the next start that all is as it should be. The whole matrix takes hours;
 * `-- --flow`, `--kind`, `--sample` and `--case` run a part of it.
 */

import { parseArgs } from 'node:util'
import { testEngine } from '../support/docker-daemon.ts'
import { buildTestImages } from '../support/images.ts'
import { type Flow, flows } from './flows.ts'
import {
  type Case,
  caseName,
  casesOf,
  describePlayed,
  parseCase,
  type Result,
  renderMatrix,
  sample,
} from './matrix.ts'
import { createPlayer, type Player } from './play.ts'
import { type Effect, effects } from './stage.ts'

type Asked = {
  flows: Flow[]
  kinds: readonly Effect[]
  cases: Case[]
  seed: number
  sample: number | null
  workers: number
  json: boolean
}

process.exitCode = await main(process.argv.slice(2))

async function main(args: string[]): Promise<number> {
  const asked = readArguments(args)
  if (typeof asked === 'string') {
    console.error(asked)
    return 1
  }
  const engine = await testEngine({ name: 'chaos', dockerHost: process.env.DOCKER_HOST })
  try {
    await buildTestImages(engine.socketPath)
    const results = await run(asked, engine.socketPath)
    report(results, asked)
    return results.length > 0 && results.every(({ played }) => played.kind !== 'failed') ? 0 : 1
  } finally {
    await engine.stop()
  }
}

/** What is asked for, or what is wrong with it. */
function readArguments(args: string[]): Asked | string {
  const { values } = parseArgs({
    args,
    options: {
      flow: { type: 'string', multiple: true, default: [] },
      kind: { type: 'string', multiple: true, default: [] },
      case: { type: 'string', multiple: true, default: [] },
      seed: { type: 'string', default: '1' },
      sample: { type: 'string' },
      workers: { type: 'string', default: '2' },
      json: { type: 'boolean', default: false },
    },
  })
  const unknownFlows = values.flow.filter((name) => !flows.some((flow) => flow.name === name))
  if (unknownFlows.length > 0) {
    return `There is no flow ${unknownFlows.join(', ')}. There are: ${flows.map(({ name }) => name).join(', ')}.`
  }
  const unknownKinds = values.kind.filter((name) => !effects.some((effect) => effect === name))
  if (unknownKinds.length > 0) {
    return `There is no kind ${unknownKinds.join(', ')}. There are: ${effects.join(', ')}.`
  }
  const numbers = [values.seed, values.sample ?? '1', values.workers]
  if (!numbers.every((text) => /^[1-9]\d*$/.test(text)))
    return '--seed, --sample and --workers take a whole number.'
  const cases = values.case.map((name) => parseCase(name, flows))
  if (cases.includes(null)) return 'A case is named like site-update:docker-after:17.'
  return {
    flows: flows.filter(({ name }) => values.flow.length === 0 || values.flow.includes(name)),
    kinds: effects.filter((effect) => values.kind.length === 0 || values.kind.includes(effect)),
    cases: cases.flatMap((found) => found ?? []),
    seed: Number(values.seed),
    sample: values.sample === undefined ? null : Number(values.sample),
    workers: Number(values.workers),
    json: values.json,
  }
}

async function run(asked: Asked, dockerSocket: string): Promise<Result[]> {
  const players = Array.from({ length: asked.workers }, () => createPlayer(dockerSocket))
  try {
    const cases = asked.cases.length > 0 ? asked.cases : await choose(asked, players)
    const waiting = [...cases]
    let interrupted = false
    // Ctrl-C reaches the servers too, so the cases under way tell nothing; what was found so far is told.
    process.once('SIGINT', () => {
      interrupted = true
    })
    const results: Result[] = []
    await Promise.all(
      players.map(async (player) => {
        for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
          const result = await playCase(player, next)
          if (interrupted) return
          results.push(result)
          tell(result, { done: results.length, total: cases.length })
        }
      }),
    )
    return results
  } finally {
    await Promise.all(players.map((player) => player[Symbol.asyncDispose]()))
  }
}

/** Counts each flow once without a kill, and takes from its moments what is asked for. */
async function choose(asked: Asked, players: Player[]): Promise<Case[]> {
  const waiting = [...asked.flows]
  const found = new Map<Flow, Case[]>()
  await Promise.all(
    players.map(async (player) => {
      for (let flow = waiting.shift(); flow !== undefined; flow = waiting.shift()) {
        const played = await player.play(flow, null)
        if (played.kind !== 'not reached')
          throw new Error(`${flow.name} fails without any kill: ${describePlayed(played)}`)
        found.set(flow, casesOf(flow, played.counted, asked.kinds))
        const counts = effects.map((effect) => `${played.counted[effect].length} ${effect}`).join(', ')
        console.error(`${flow.name} without a kill: ${counts}`)
      }
    }),
  )
  const all = asked.flows.flatMap((flow) => found.get(flow) ?? [])
  return asked.sample === null ? all : sample(all, { seed: asked.seed, size: asked.sample })
}

async function playCase(player: Player, { flow, kill }: Case): Promise<Result> {
  const began = performance.now()
  const played = await player.play(flow, kill)
  return { flow, kill, played, tookMs: Math.round(performance.now() - began) }
}

/** On a terminal one line that is written over; what did not go as it should stays. */
function tell(result: Result, { done, total }: { done: number; total: number }): void {
  const seconds = (result.tookMs / 1000).toFixed(1)
  const line = `${done}/${total} ${caseName(result)} ${describePlayed(result.played)} (${seconds} s)`
  const { isTTY, columns } = process.stderr
  if (isTTY) process.stderr.write('\r\x1b[K')
  const { played } = result
  const isWell = played.kind === 'not reached' || (played.kind === 'passed' && played.kept === null)
  if (isTTY && isWell) process.stderr.write(line.slice(0, columns - 1))
  else console.error(line)
}

function report(results: Result[], { json }: Asked): void {
  if (process.stderr.isTTY) process.stderr.write('\r\x1b[K')
  console.log(json ? renderJson(results) : renderMatrix(results))
  const failed = json ? [] : results.filter(({ played }) => played.kind === 'failed')
  for (const result of failed) {
    console.log(`${caseName(result)} failed; alone: npm run chaos -- --case ${caseName(result)}`)
  }
}

function renderJson(results: Result[]): string {
  const cases = results.map(({ played, ...result }) => ({
    case: caseName(result),
    tookMs: result.tookMs,
    ...played,
    ...(played.kind === 'passed' && { log: undefined }),
  }))
  return JSON.stringify(cases, null, 2)
}
