import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import Docker from 'dockerode'
import { pino } from 'pino'
import { readEnvironment } from '../../src/environment.ts'
import { startTowline, type Towline } from '../../src/main.ts'
import type { Changes, WorkTree } from './git-server.ts'
import { type CheckRunView, type GitHubStandIn, startGitHub } from './github/server.ts'
import { openGitHubWorkTree } from './github/work-tree.ts'

/** A whole town: GitHub, a config repo, a Docker host, and Towline between them. */
export type Town = AsyncDisposable & {
  github: GitHubStandIn
  docker: Docker
  work: WorkTree
  repo: string
  /** Where Towline listens. */
  url: string
  /** Environment Towline was started with, for the CLI. */
  environment: Record<string, string>
  /** Commits and pushes; resolves to the commit. */
  push(changes: Changes): Promise<string>
  /** Stops Towline as SIGTERM does. */
  stopTowline(): Promise<void>
  /** Kills Towline with SIGKILL; only where it runs as a process of its own. */
  killTowline(): Promise<void>
  /** Id of the process Towline runs in. */
  pid(): number
  /** How the process ended that Towline ran in, by exit code or signal; null while it runs. */
  ended(): number | NodeJS.Signals | null
  startTowline(): Promise<void>
  /** Looks at everything now and returns what was found. */
  sweep(): Promise<unknown>
  /** The newest check run of that name on a commit, once `until` holds for it. */
  checkRun(sha: string, name: string, until?: (run: CheckRunView) => boolean): Promise<CheckRunView>
  /** Id of this installation, as its labels carry it. */
  owner(): string
  /** Containers of one app of this installation, newest first. */
  containers(app: string): Promise<Docker.ContainerInfo[]>
  /** The body an app's published port answers with. */
  fetchApp(app: string): Promise<string>
  /** What Towline wrote to its log. */
  log(): string
  /** Forgets the log until now. */
  clearLog(): void
}

const repo = 'acme/config'

/** `ownProcess` runs Towline as `node src/main.ts`, so that it can be killed; else it runs here and counts as covered. */
export async function startTown(options: {
  dockerSocket: string
  ownProcess?: boolean
  serverYaml?: string
  files?: Record<string, string>
  /** Variables besides those every town sets. */
  environment?: Record<string, string>
  /** Where Towline finds GitHub, as `GHE_HOST`; default: where it is. */
  gitHubHost?: (github: GitHubStandIn) => Promise<string>
  /** GitHub's primary rate limit. Default: as at GitHub. */
  requestsPerHour?: number
}): Promise<Town> {
  const folder = await mkdtemp(join(tmpdir(), 'towline-town-'))
  const port = await freePort()
  const url = `http://127.0.0.1:${port}`
  const webhookSecret = 'a long random text'
  const github = await startGitHub({
    webhook: { url: `${url}/api/github/webhooks`, secret: webhookSecret },
    ...(options.requestsPerHour !== undefined && { requestsPerHour: options.requestsPerHour }),
  })
  await github.addRepo(repo)
  github.installApp({ repos: [repo] })
  const docker = new Docker({ socketPath: options.dockerSocket })
  const work = await openGitHubWorkTree(github, repo)
  await writeFile(join(folder, 'server.yaml'), options.serverYaml ?? serverYaml(options.dockerSocket))
  await writeFile(join(folder, 'key.pem'), github.app.privateKey, { mode: 0o600 })
  const environment = {
    APP_ID: String(github.app.id),
    PRIVATE_KEY_PATH: join(folder, 'key.pem'),
    WEBHOOK_SECRET: webhookSecret,
    GHE_HOST: (await options.gitHubHost?.(github)) ?? github.host,
    GHE_PROTOCOL: 'http',
    HOST: '127.0.0.1',
    PORT: String(port),
    TOWLINE_CONFIG: join(folder, 'server.yaml'),
    TOWLINE_DATA: join(folder, 'data'),
    ...options.environment,
  }
  const log: string[] = []
  let running: Running | null = null
  let owner: string | undefined

  const town: Town = {
    github,
    docker,
    work,
    repo,
    url,
    environment,
    async push(changes) {
      const commit = await work.commit(changes)
      await work.push()
      return commit
    },
    async startTowline() {
      running = await (options.ownProcess ? runProcess(environment, log) : runHere(environment, log))
      // A process may be ready before what it wrote has come through its pipe.
      owner ??= await eventually('Towline to say which installation it is', async () => ownerIn(log))
    },
    async stopTowline() {
      await running?.stop()
      running = null
    },
    async killTowline() {
      await running?.kill()
      running = null
    },
    pid() {
      // No number stands for none: kill(2) takes 0 for the whole group of the caller.
      if (running === null) throw new Error('Towline does not run')
      return running.pid
    },
    ended: () => running?.ended() ?? null,
    owner() {
      owner ??= ownerIn(log)
      if (owner === undefined) throw new Error('Towline has not said yet which installation it is')
      return owner
    },
    async sweep() {
      const answer = await fetch(`${url}/api/monitoring/reconcile/trigger`, { method: 'POST' })
      return answer.json()
    },
    async checkRun(sha, name, until = (run) => run.status === 'completed') {
      return eventually(`check run "${name}" on ${sha.slice(0, 8)}`, async () => {
        const run = github.checkRuns(repo, sha).findLast((candidate) => candidate.name === name)
        return run && until(run) ? run : null
      }).catch((error: unknown) => {
        const seen = github.checkRuns(repo, sha).map((run) => `${run.name}: ${run.status} ${run.title}`)
        throw new Error(`${error}\nseen:\n${seen.join('\n')}\nlog:\n${log.slice(-40).join('')}`)
      })
    },
    async containers(app) {
      const filters = { label: [`towline.owner=${town.owner()}`, `towline.app=${app}`] }
      const found = await docker.listContainers({ all: true, filters })
      return found.sort((a, b) => b.Created - a.Created)
    },
    async fetchApp(app) {
      const [container] = (await town.containers(app)).filter(({ State }) => State === 'running')
      const published = container?.Ports.find(({ PublicPort }) => PublicPort !== undefined)
      const answer = await fetch(`http://127.0.0.1:${published?.PublicPort}/`, {
        signal: AbortSignal.timeout(5_000),
      })
      return answer.text()
    },
    log: () => log.join(''),
    clearLog() {
      town.owner()
      log.length = 0
    },
    async [Symbol.asyncDispose]() {
      await running?.stop()
      await removeOwned(docker, town.owner())
      await work[Symbol.asyncDispose]()
      await github.close()
      await rm(folder, { recursive: true, force: true })
    },
  }
  if (options.files) await town.push({ write: options.files })
  await town.startTowline()
  return town
}

/**
 * Images made for tests, no pause between writes, and no sweep but those a test asks for. The file server looks its
 * root up afresh for each request: alone, BusyBox's `httpd` enters it once and would not follow a link that is swapped.
 */
export function serverYaml(dockerSocket: string, more = ''): string {
  return `apiVersion: towline/v1
kind: Server
hosts:
  local: { endpoint: "unix://${dockerSocket}" }
images:
  helper: towline-demo/busybox:1
  site: { image: "towline-demo/busybox:1", command: [nc, -ll, -p, "80", -e, httpd, -i, -h, "{root}"] }
schedule: { sweep: "0 0 1 1 *", poll: 2s }
limits: { githubWriteInterval: 1ms }
${more}`
}

/** Asks again and again until the answer is not null. @throws Error after `timeoutMs` that says what was waited for. */
export async function eventually<T>(
  what: string,
  ask: () => Promise<T | null | undefined>,
  { timeoutMs = 60_000 }: { timeoutMs?: number } = {},
): Promise<T> {
  const endMs = Date.now() + timeoutMs
  while (Date.now() < endMs) {
    const answer = await ask()
    if (answer !== null && answer !== undefined) return answer
    await sleep(25)
  }
  throw new Error(`waited ${timeoutMs} ms in vain for ${what}`)
}

type Running = {
  pid: number
  ended(): number | NodeJS.Signals | null
  stop(): Promise<void>
  kill(): Promise<void>
}

async function runHere(environment: Record<string, string>, log: string[]): Promise<Running> {
  const sink = { write: (line: string) => log.push(line) }
  const towline: Towline = await startTowline(readEnvironment(environment), pino({ level: 'debug' }, sink))
  return {
    pid: process.pid,
    ended: () => null,
    stop: () => towline.stop(),
    kill: async () => {
      throw new Error('only a Towline in a process of its own can be killed')
    },
  }
}

async function runProcess(environment: Record<string, string>, log: string[]): Promise<Running> {
  const child = spawn(process.execPath, ['src/main.ts'], {
    env: { PATH: process.env.PATH ?? '', ...environment, LOG_LEVEL: 'debug' },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => log.push(String(chunk)))
  await eventually('Towline to be ready', async () => {
    if (child.exitCode !== null) throw new Error(`Towline ended with ${child.exitCode}:\n${log.join('')}`)
    const url = `http://127.0.0.1:${environment.PORT}/readyz`
    const answer = await fetch(url).catch(() => null)
    return answer?.ok ? true : null
  })
  return {
    pid: child.pid ?? 0,
    ended: () => child.signalCode ?? child.exitCode,
    async stop() {
      const code = await end(child, 'SIGTERM')
      if (code !== 0) throw new Error(`Towline ended with ${code} after SIGTERM:\n${log.slice(-40).join('')}`)
    },
    async kill() {
      await end(child, 'SIGKILL')
    },
  }
}

/** Resolves to the exit code once the process has ended; null where a signal ended it. */
function end(child: ChildProcess, signal: NodeJS.Signals): Promise<number | null> {
  return new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) return resolve(child.exitCode)
    child.once('exit', (code) => resolve(code))
    child.kill(signal)
  })
}

/** Towns may share an engine: each takes away what its own installation made. */
export async function removeOwned(docker: Docker, owner: string): Promise<void> {
  const filters = { label: [`towline.owner=${owner}`] }
  const containers = await docker.listContainers({ all: true, filters })
  await Promise.all(containers.map(({ Id }) => docker.getContainer(Id).remove({ force: true, v: true })))
  const { Volumes: volumes } = await docker.listVolumes({ filters })
  await Promise.all((volumes ?? []).map(({ Name }) => docker.getVolume(Name).remove({ force: true })))
  const networks = await docker.listNetworks({ filters })
  for (const { Id } of networks) {
    // A busy engine says for a while that a container it has removed is still on the network.
    await eventually(`network ${Id} to be gone`, async () => {
      const removed = docker.getNetwork(Id).remove()
      return removed.then(
        () => true,
        ({ statusCode }: { statusCode?: number }) => (statusCode === 404 ? true : null),
      )
    })
  }
}

function ownerIn(log: readonly string[]): string | undefined {
  return /"owner":"([^"]+)"/.exec(log.join(''))?.[1]
}

/** A port of loopback nobody listens on now. */
export async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  await new Promise((resolve) => server.close(resolve))
  return typeof address === 'object' && address ? address.port : 0
}
