import { runInSite } from '../support/host-shell.ts'
import { eventually } from '../support/town.ts'
import { type Flow, pushTake, type Scene } from './flows.ts'
import {
  appRun,
  expectCleanRecords,
  expectNothingDue,
  expectOneRunEach,
  expectStanding,
  expectTruthfulFailure,
  releaseOf,
} from './invariants.ts'
import { type Effect, type Kill, openStage, type Stage } from './stage.ts'

/** How a flow went. `call` is what it was killed at; `kept` is the failure with which the old release was kept. */
export type Played =
  | { kind: 'passed'; call: string; kept: string | null; log: string }
  | { kind: 'not reached'; counted: Counted }
  | { kind: 'failed'; call: string | null; error: string; log: string }

export type Counted = Record<Effect, readonly string[]>

/** Plays flows one after another in a town of its own. */
export type Player = AsyncDisposable & {
  /** Without a kill the flow is only counted: it ends as `not reached`. */
  play(flow: Flow, kill: Kill | null): Promise<Played>
}

export function createPlayer(dockerSocket: string): Player {
  let stage: Stage | null = null
  let scene: Scene | null = null
  let playedCount = 0

  async function play(flow: Flow, kill: Kill | null): Promise<Played> {
    try {
      if (playedCount >= casesPerStage) await close()
      playedCount += 1
      stage ??= await openStage(dockerSocket)
      const over = scene
      scene = await setScene(stage, flow, scene)
      const played = await enact(stage, scene, kill)
      if (over !== null && over !== scene) {
        await clearAway(over)
        await stage.quiet()
      }
      return played
    } catch (error) {
      const call = scene?.killedAt ?? null
      const log = stage?.town.log() ?? ''
      // Whatever stands there now, the next case begins afresh.
      await close().catch(() => {})
      return { kind: 'failed', call, error: error instanceof Error ? error.message : String(error), log }
    }
  }

  async function close(): Promise<void> {
    const closing = stage
    stage = null
    scene = null
    playedCount = 0
    await closing?.[Symbol.asyncDispose]()
  }

  return { play, [Symbol.asyncDispose]: close }
}

/** Records of apps that are over add up; a new town forgets them. */
const casesPerStage = 60

/** The scene a flow begins with: its own one goes on where it can, so that each case makes one deployment only. */
async function setScene(stage: Stage, flow: Flow, before: Scene | null): Promise<Scene> {
  if (flow.from === 'serving' && before?.flow === flow) return before
  appCount += 1
  const scene: Scene = {
    town: stage.town,
    app: `app-${appCount}`,
    flow,
    serving: { take: 0, releases: [] },
    lastTake: 0,
    commit: '',
    times: 0,
    killedAt: null,
    leftover:
      before === null ? [] : [...before.leftover, ...Object.keys(before.flow.shape.files(before.app, 0))],
  }
  if (flow.from === 'nothing') return scene
  const take = await pushTake(scene)
  await eventually(`${scene.app} to serve`, async () => isToldOver(scene) || null)
  await stage.quiet()
  const run = expectOneRunEach(stage.town, { ...scene, conclusion: 'success' })
  scene.serving = { take, releases: [releaseOf(run)] }
  return scene
}

let appCount = 0

async function enact(stage: Stage, scene: Scene, kill: Kill | null): Promise<Played> {
  const { town, flow } = scene
  town.clearLog()
  const deliveredBefore = town.github.deliveries.length
  stage.count(kill)
  const take = await flow.act(scene)
  const killed = await killedOrOver(stage, scene)
  const counted = stage.counted()
  scene.killedAt = killed && kill !== null ? (counted[kill.effect][kill.n - 1] ?? null) : null
  if (killed) {
    await stage.killed()
    await stage.restart()
    if (flow.from === 'serving') await redeliverClicks(scene, deliveredBefore)
    if (flow.ends !== 'healed') {
      await eventually(`an end of what was asked on ${scene.commit}`, async () => isToldOver(scene) || null)
    }
  } else {
    stage.letBe()
  }
  await stage.quiet()
  await expectNothingDue(town)
  await stage.quiet()
  const kept = await expectRightEnd(scene, take)
  await expectCleanRecords(town)
  if (scene.killedAt === null) return { kind: 'not reached', counted }
  return { kind: 'passed', call: scene.killedAt, kept, log: town.log() }
}

/** True once Towline is being killed, false once all is done and nothing came to that. */
async function killedOrOver(stage: Stage, scene: Scene): Promise<boolean> {
  const { flow, town, app } = scene
  const healed = `"healed ${town.repo}:${app}@local"`
  const isOver = () => (flow.ends === 'healed' ? town.log().includes(healed) : isToldOver(scene))
  await eventually(`the end of ${flow.name}`, async () => stage.isDoomed() || isOver() || null)
  if (!stage.isDoomed()) await stage.quiet()
  return stage.isDoomed()
}

/** True once GitHub was told the end as often as it was asked for. */
function isToldOver({ town, commit, times }: Scene): boolean {
  const runs = town.github.checkRuns(town.repo, commit).filter(({ name }) => name === 'towline / deploy')
  return runs.length >= times && runs.every(({ status }) => status === 'completed')
}

/** The failure with which the old release was kept; null where all went as it should. Takes over what serves now. */
async function expectRightEnd(scene: Scene, take: number): Promise<string | null> {
  const { town, app, commit, flow } = scene
  const { shape } = flow
  const before = scene.serving
  const [ended] = town.github
    .checkRuns(town.repo, commit)
    .filter(({ name }) => name === appRun(app))
    .slice(-1)
  const failed = flow.ends === 'failed' || ended?.conclusion === 'failure'
  const run = expectOneRunEach(town, { ...scene, conclusion: failed ? 'failure' : 'success' })
  if (failed) {
    expectTruthfulFailure(run, before.releases[0] ?? null)
  } else if (flow.ends === 'active') {
    const releases = [...new Set([releaseOf(run), ...before.releases])].slice(0, shape.keeps)
    scene.serving = { take, releases }
  }
  await expectStanding(town, shape.standing({ app, ...scene.serving }))
  return failed && flow.ends !== 'failed' ? run.title : null
}

/**
 * GitHub never repeats a webhook that was not taken. A push is found all the same, by the look at every repo at the
 * start; a click on Re-run only where somebody has its delivery sent again, as the App's page at GitHub offers.
 */
async function redeliverClicks({ town }: Scene, since: number): Promise<void> {
  const { deliveries } = town.github
  const lost = deliveries
    .slice(since)
    .filter(({ action, statusCode }) => action === 'rerequested' && statusCode !== 202)
  for (const { guid } of lost) town.github.redeliver(guid)
}

/** Takes what an app left off the host, so that the Engine stays small. Its spec has left the repo. */
async function clearAway({ town, app }: Scene): Promise<void> {
  const filters = { label: [`towline.owner=${town.owner()}`, `towline.app=${app}`] }
  const containers = await town.containers(app)
  await Promise.all(containers.map(({ Id }) => town.docker.getContainer(Id).remove({ force: true })))
  const { Volumes } = await town.docker.listVolumes({ filters })
  for (const { Name } of Volumes ?? []) await town.docker.getVolume(Name).remove({ force: true })
  await runInSite(town, app, 'rm -rf "$PWD"').catch(() => {})
}
