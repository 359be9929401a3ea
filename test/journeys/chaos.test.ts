import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { type Flow, flows } from '../chaos/flows.ts'
import { type Case, caseName, casesOf, describePlayed, sample } from '../chaos/matrix.ts'
import { type Counted, createPlayer, type Player } from '../chaos/play.ts'

/** A few cases of the matrix that `npm run chaos` runs whole. The same seed chooses the same ones. */
const seed = Number(process.env.TOWLINE_CHAOS_SEED ?? 7)

let player: Player

beforeAll(() => {
  player = createPlayer(inject('dockerSocket'))
})

afterAll(() => player[Symbol.asyncDispose]())

test.each(flows)(`$name ends rightly, also where seed ${seed} says that Towline is killed`, async (flow) => {
  const uncut = await player.play(flow, null)
  if (uncut.kind !== 'not reached') expect.fail(`without any kill: ${describePlayed(uncut)}`)
  for (const chosen of choose(flow, uncut.counted)) {
    const played = await player.play(flow, chosen.kill)
    // A flow is not cut into the same calls each time, so its last ones may not come.
    if (played.kind === 'failed') expect.fail(describeFailure(chosen, describePlayed(played)))
  }
})

/** One call of Docker, and one request to GitHub or change on disk. */
function choose(flow: Flow, counted: Counted): Case[] {
  const docker = casesOf(flow, counted, ['docker'])
  const others = casesOf(flow, counted, ['github', 'store'])
  return [...sample(docker, { seed, size: 1 }), ...sample(others, { seed, size: 1 })]
}

function describeFailure(chosen: Case, description: string): string {
  const name = caseName(chosen)
  return `${name} ${description}\nalone: npm run chaos -- --case ${name}`
}
