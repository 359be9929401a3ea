import { runInSite } from '../support/host-shell.ts'
import { service, site } from '../support/specs.ts'
import type { Town } from '../support/town.ts'
import { appRun, type Standing } from './invariants.ts'

/** A flow of Towline as one row of the matrix. */
export type Flow = {
  name: string
  shape: Shape
  /** Whether a take of the app serves already when the flow begins. */
  from: 'nothing' | 'serving'
  /** What happens, and is then killed at every moment. Resolves to the take that is to serve if all goes well. */
  act: (scene: Scene) => Promise<number>
  /** How it ends where nobody is killed: a new release serves, the old one does, or it is healed and nobody was asked. */
  ends: 'active' | 'failed' | 'healed'
}

/** An app that flows are played with. Its takes are told apart by their number, which it answers with. */
export type Scene = {
  town: Town
  app: string
  flow: Flow
  /** What stands before the act: a take, and the ids of the releases on the host, the one that serves first. */
  serving: { take: number; releases: readonly string[] }
  lastTake: number
  /** The commit whose check runs tell how it went, and how often it was asked for there. */
  commit: string
  times: number
  /** The call that Towline was killed at last. */
  killedAt: string | null
  /** Files of apps that are over. They leave the repo with the next push. */
  leftover: string[]
}

/** How an app of a kind is written down, and how its takes look on a host. */
export type Shape = {
  files: (app: string, take: number) => Record<string, string>
  /** The same, but it ends as soon as it starts. */
  crashing?: (app: string, take: number) => Record<string, string>
  standing: (scene: { app: string; take: number; releases: readonly string[] }) => Standing
  /** Releases that stay on the host. */
  keeps: number
}

/** Short, since it is waited for in every case; calls while it lasts are rare. */
const deploy = { update_config: { monitor: '200ms' } }

/** Docker itself checks so rarely that it does not get in between: Towline asks of its own. */
const healthcheck = {
  test: ['CMD', 'wget', '-q', '-O', '/dev/null', 'http://127.0.0.1:8080/healthz'],
  interval: '20s',
  start_period: '60s',
}

/** Two replicas, replaced start-first. */
const aService: Shape = serviceShape(
  { healthcheck, deploy: { ...deploy, replicas: 2 } },
  { replicas: 2, volumes: [] },
)

/** One replica that writes to a volume, so it is stopped before its successor starts. The volume outlives releases. */
const aDatabase: Shape = serviceShape(
  { healthcheck, volumes: ['data:/data'], deploy },
  { replicas: 1, volumes: ['data'] },
)

function serviceShape(settings: object, looks: { replicas: number; volumes: string[] }): Shape {
  return {
    keeps: 1,
    files: (app, take) => service(app, { ...settings, environment: { GREETING: textOf(take) } }),
    crashing: (app, take) =>
      service(app, { ...settings, environment: { GREETING: textOf(take) }, image: 'towline-demo/crash:1' }),
    standing: ({ app, take, releases }) => ({ kind: 'Service', app, releases, text: textOf(take), ...looks }),
  }
}

/** Several files in folders, and two releases kept. */
const aSite: Shape = {
  keeps: 2,
  files: (app, take) => ({
    ...site(app, { source: { files: `sites/${app}` }, rollout: { keepReleases: 2 }, deploy }),
    ...Object.fromEntries(
      Object.entries(siteFiles(take)).map(([path, content]) => [`sites/${app}/${path}`, content]),
    ),
  }),
  standing: ({ app, take, releases }) => ({
    kind: 'Site',
    app,
    releases,
    text: textOf(take),
    files: siteFiles(take),
  }),
}

function siteFiles(take: number): Record<string, string> {
  return {
    'index.html': `<p>${textOf(take)}</p>\n`,
    'assets/style.css': `/* ${textOf(take)} */\n${'p { margin: 0 }\n'.repeat(2_000)}`,
    'assets/empty.txt': '',
  }
}

function textOf(take: number): string {
  return `take ${take}.`
}

/** A new flow joins the matrix by a row here. */
export const flows: readonly Flow[] = [
  { name: 'service-first', shape: aService, from: 'nothing', act: pushTake, ends: 'active' },
  { name: 'service-update', shape: aService, from: 'serving', act: pushTake, ends: 'active' },
  { name: 'service-fails', shape: aService, from: 'serving', act: pushCrash, ends: 'failed' },
  { name: 'service-healed', shape: aService, from: 'serving', act: removeContainer, ends: 'healed' },
  { name: 'service-rerun', shape: aService, from: 'serving', act: clickRerun, ends: 'active' },
  { name: 'database-first', shape: aDatabase, from: 'nothing', act: pushTake, ends: 'active' },
  { name: 'database-update', shape: aDatabase, from: 'serving', act: pushTake, ends: 'active' },
  { name: 'database-fails', shape: aDatabase, from: 'serving', act: pushCrash, ends: 'failed' },
  { name: 'site-first', shape: aSite, from: 'nothing', act: pushTake, ends: 'active' },
  { name: 'site-update', shape: aSite, from: 'serving', act: pushTake, ends: 'active' },
  { name: 'site-healed', shape: aSite, from: 'serving', act: removeLink, ends: 'healed' },
]

/** Pushes the next take, and with it takes apps that are over out of the repo. */
export async function pushTake(scene: Scene): Promise<number> {
  scene.lastTake += 1
  return pushFiles(scene, scene.flow.shape.files(scene.app, scene.lastTake))
}

/** A take that never gets ready. */
async function pushCrash(scene: Scene): Promise<number> {
  scene.lastTake += 1
  return pushFiles(scene, scene.flow.shape.crashing?.(scene.app, scene.lastTake) ?? {})
}

async function pushFiles(scene: Scene, write: Record<string, string>): Promise<number> {
  scene.commit = await scene.town.push({ write, remove: scene.leftover.splice(0) })
  scene.times = 1
  return scene.lastTake
}

async function removeContainer({ town, app, serving }: Scene): Promise<number> {
  const [container] = await town.containers(app)
  await town.docker.getContainer(container?.Id ?? '').remove({ force: true })
  return serving.take
}

async function removeLink({ town, app, serving }: Scene): Promise<number> {
  await runInSite(town, app, 'rm current')
  // Nothing of a volume shows in Docker's events: the sweep finds it. Where it is killed, the next start does.
  void town.sweep().catch(() => {})
  return serving.take
}

async function clickRerun(scene: Scene): Promise<number> {
  const { town, app, commit } = scene
  const run = town.github.checkRuns(town.repo, commit).findLast(({ name }) => name === appRun(app))
  if (run === undefined) throw new Error(`${app} was never deployed by ${commit}`)
  scene.times += 1
  town.github.rerequestRun(run.id)
  return scene.serving.take
}
