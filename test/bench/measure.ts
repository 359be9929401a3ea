/** One line of the report: what Towline took against its floor, or a plain value against a limit. */
export type Figure = {
  name: string
  unit: 'ms' | 'MiB' | 'KiB' | 'count'
  /** null where the figure is only told. */
  goal: number | null
  /** One value a round, warm-up excluded. */
  measured: number[]
  /** What the same work takes without Towline, in the same rounds; null where the goal is a plain value. */
  floor: number[] | null
  /** What was done on either side, for the reader who doubts. */
  method: string
}

export type Summary = Omit<Figure, 'measured' | 'floor'> & {
  /** Median of the rounds' ratios; where there is no floor, the median value. */
  result: number
  met: boolean | null
  measured: Spread
  floor: Spread | null
}

type Spread = { median: number; min: number; max: number; rounds: number }

type Sides = { measured: number[]; floor: number[] }

/**
 * Measures both sides in turns, so that whatever else the machine does meets both alike. Each round begins with the
 * other side than the one before. The first `warmUps` rounds do not count.
 */
export async function interleave(
  options: { rounds: number; warmUps: number },
  sides: { measured: (round: number) => Promise<number>; floor: (round: number) => Promise<number> },
): Promise<Sides> {
  const values: Sides = { measured: [], floor: [] }
  for (let round = 0; round < options.warmUps + options.rounds; round += 1) {
    const order = round % 2 === 0 ? (['measured', 'floor'] as const) : (['floor', 'measured'] as const)
    for (const side of order) {
      const value = await sides[side](round)
      if (round >= options.warmUps) values[side].push(value)
    }
  }
  return values
}

/** Milliseconds until `act` resolves. */
export async function timed(act: () => Promise<unknown>): Promise<number> {
  const began = performance.now()
  await act()
  return performance.now() - began
}

export function summarize({ measured, floor, ...figure }: Figure): Summary {
  const result = median(floor ? measured.map((value, round) => value / (floor[round] ?? value)) : measured)
  return {
    ...figure,
    result,
    met: figure.goal === null ? null : result <= figure.goal,
    measured: spread(measured),
    floor: floor && spread(floor),
  }
}

export function renderTable(summaries: Summary[]): string {
  const rows = summaries.map(({ name, unit, goal, result, met, measured, floor }) => [
    name,
    floor ? result.toFixed(2) : `${show(result)} ${unit}`,
    goal === null ? '' : floor ? `≤ ${goal}` : `< ${goal} ${unit}`,
    met === null ? '' : met ? 'met' : 'NOT MET',
    describe(measured),
    floor ? describe(floor) : '',
    String(measured.rounds),
  ])
  const header = ['what', 'result', 'goal', '', 'Towline: median (range)', 'floor: median (range)', 'rounds']
  const widths = header.map((_, column) =>
    Math.max(...[header, ...rows].map((row) => row[column]?.length ?? 0)),
  )
  const line = (row: string[]) => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ')
  return [line(header), ...rows.map(line)].map((text) => text.trimEnd()).join('\n')
}

function spread(values: number[]): Spread {
  return {
    median: median(values),
    min: Math.min(...values),
    max: Math.max(...values),
    rounds: values.length,
  }
}

function median(values: number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const upper = sorted[Math.floor(sorted.length / 2)] ?? Number.NaN
  const lower = sorted[Math.ceil(sorted.length / 2) - 1] ?? Number.NaN
  return (lower + upper) / 2
}

function describe({ median: middle, min, max }: Spread): string {
  return `${show(middle)} (${show(min)}–${show(max)})`
}

function show(value: number): string {
  return value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0)
}
