import { expect } from 'vitest'
import { phases } from '../../src/rollout/phase.ts'
import type { CheckRunView } from './github/server.ts'
import type { Town } from './town.ts'

/** The names of a commit's check runs. */
export function runNames({ github, repo }: Town, commit: string): string[] {
  return github.checkRuns(repo, commit).map(({ name }) => name)
}

/** The rows of the table in a run's summary, e.g. `✅ building`. */
export function phaseMarks({ summary }: CheckRunView): string[] {
  return [...(summary ?? '').matchAll(/^\| (\S+) \| `(\w+)` \|/gm)].map(
    ([, mark, phase]) => `${mark} ${phase}`,
  )
}

/** The lines under "What changes". */
export function changes({ text }: CheckRunView): string[] {
  const list = /### What changes\n\n((?:- .*\n?)+)/.exec(text ?? '')?.[1] ?? ''
  return list
    .trim()
    .split('\n')
    .flatMap((line) => (line === '' ? [] : line.slice(2).replaceAll('\\', '')))
}

/** What GitHub showed of each deployment went forward only, and took no more writes than it has phases and a few. */
export function expectForwardOnly({ github, repo }: Town): void {
  const runs = github.checkRuns(repo).filter(({ name }) => name.includes('@'))
  expect(runs).not.toEqual([])
  for (const { history, name } of runs) {
    expect(history.length, name).toBeLessThanOrEqual(writeLimit)
    const shown = history.flatMap(({ title }) => {
      const [, phase, progress] = /^(\w+) (\d+) %/.exec(title ?? '') ?? []
      return phase === undefined
        ? []
        : [{ rank: (phases as readonly string[]).indexOf(phase), progress: Number(progress) }]
    })
    expect(shown, name).toEqual(shown.toSorted((a, b) => a.rank - b.rank || a.progress - b.progress))
    expect(shown.map(({ rank }) => rank)).not.toContain(-1)
  }
}

/** One for each phase, and a few for progress within them. */
const writeLimit = 12
