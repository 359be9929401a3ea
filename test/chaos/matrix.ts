import type { Flow } from './flows.ts'
import type { Counted, Played } from './play.ts'
import { type Effect, effects, type Kill, moments } from './stage.ts'

export type Case = { flow: Flow; kill: Kill }

export type Result = Case & { played: Played; tookMs: number }

/** Name of a case, by which it can be run alone: `site-update:docker-after:17`. */
export function caseName({ flow, kill }: Case): string {
  return `${flow.name}:${kill.effect}-${kill.moment}:${kill.n}`
}

/** The kill a case's name means; null where the text is no such name. */
export function parseCase(name: string, flows: readonly Flow[]): Case | null {
  const [flowName, kind = '', number = ''] = name.split(':')
  const flow = flows.find((known) => known.name === flowName)
  const effect = effects.find((known) => kind.startsWith(`${known}-`))
  const moment = moments.find((known) => kind.endsWith(`-${known}`))
  const n = Number(number)
  if (!flow || !effect || !moment || !(n >= 1)) return null
  return { flow, kill: { effect, moment, n } }
}

/** Every moment of a flow, from its first call to its last. */
export function casesOf(flow: Flow, counted: Counted, wanted: readonly Effect[]): Case[] {
  return wanted.flatMap((effect) =>
    moments.flatMap((moment) =>
      counted[effect].map((_, index) => ({ flow, kill: { effect, moment, n: index + 1 } })),
    ),
  )
}

/** `size` of the items, the same ones for the same seed, in their order. */
export function sample<T>(items: readonly T[], { seed, size }: { seed: number; size: number }): T[] {
  const random = randomOf(seed)
  const keyed = items.map((item, index) => ({ item, index, key: random() }))
  const chosen = keyed.sort((a, b) => a.key - b.key).slice(0, size)
  return chosen.sort((a, b) => a.index - b.index).map(({ item }) => item)
}

/** Mulberry32: 32 bits of state are plenty to choose cases with. */
function randomOf(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** How a case went, in words; of one that failed also what was found, and the end of the log. */
export function describePlayed(played: Played): string {
  switch (played.kind) {
    case 'passed':
      return played.kept === null
        ? `passed: killed at ${played.call}`
        : `passed: killed at ${played.call}; the old release was kept: ${played.kept}\n${endOf(played.log)}`
    case 'not reached':
      return 'not reached'
    case 'failed':
      return `FAILED: killed at ${played.call ?? 'nothing'}\n${played.error}\n${endOf(played.log)}`
    default:
      return played satisfies never
  }
}

function endOf(log: string): string {
  return log.trimEnd().split('\n').slice(-logLines).join('\n')
}

/** At the level of debugging, about what one deployment writes. */
const logLines = 40

/** One row a flow, one column a kind of kill: passed of all that were reached, and how many were not. */
export function renderMatrix(results: readonly Result[]): string {
  const kinds = effects.flatMap((effect) => moments.map((moment) => `${effect} ${moment}`))
  const flowNames = [...new Set(results.map(({ flow }) => flow.name))]
  const rows = flowNames.map((name) => {
    const ofFlow = results.filter(({ flow }) => flow.name === name)
    const cells = kinds.map((kind) =>
      renderCell(ofFlow.filter(({ kill }) => `${kill.effect} ${kill.moment}` === kind)),
    )
    return [name, ...cells, renderCell(ofFlow)]
  })
  const lines = [['flow', ...kinds, 'all'], ...rows, ['all', ...kinds.map(() => ''), renderCell(results)]]
  const widths =
    lines[0]?.map((_, column) => Math.max(...lines.map((line) => line[column]?.length ?? 0))) ?? []
  return lines
    .map((line) =>
      line
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}

function renderCell(results: readonly Result[]): string {
  if (results.length === 0) return ''
  const count = (kind: Played['kind']) => results.filter(({ played }) => played.kind === kind).length
  const kept = results.filter(({ played }) => played.kind === 'passed' && played.kept !== null).length
  const notes = [
    ...(kept > 0 ? [`${kept} kept the old`] : []),
    ...(count('not reached') > 0 ? [`${count('not reached')} not reached`] : []),
  ]
  return `${count('passed')}/${results.length}${notes.length > 0 ? ` (${notes.join(', ')})` : ''}`
}
