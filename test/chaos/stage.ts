import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type CountedWrites, countWrites } from '../support/counted-writes.ts'
import { type FaultControl, type Moment, startFaultProxy, startGitHubProxy } from '../support/fault-proxy.ts'
import { eventually, serverYaml, startTown, type Town } from '../support/town.ts'

/** What Towline does to the outside, counted each for itself. */
export const effects = ['docker', 'github', 'store'] as const
export type Effect = (typeof effects)[number]

export const moments: readonly Moment[] = ['before', 'after']

/** Where Towline is killed: before or after its n-th call of Docker, request to GitHub, or change of its data folder. */
export type Kill = { effect: Effect; moment: Moment; n: number }

/** A town whose Towline is killed at a counted moment. */
export type Stage = AsyncDisposable & {
  town: Town
  /** Counts from one again, and kills where asked. */
  count(kill: Kill | null): void
  /** What was done since `count`. */
  counted(): Record<Effect, readonly string[]>
  /** True once the moment to kill has come, or Towline has ended of it. @throws Error where it ended by itself. */
  isDoomed(): boolean
  /** Resolves once Towline has ended of its kill. */
  killed(): Promise<void>
  /** Starts Towline after a kill, without any fault. */
  restart(): Promise<void>
  /** Counts no longer and kills nobody. */
  letBe(): void
  /** Resolves once Towline has done nothing for a while. */
  quiet(): Promise<void>
}

export async function openStage(dockerSocket: string): Promise<Stage> {
  const docker = await startFaultProxy(dockerSocket)
  const writes = await countWrites()
  const opened: { github?: FaultControl } = {}
  const town = await startTown({
    dockerSocket,
    ownProcess: true,
    serverYaml: serverYaml(docker.socketPath),
    // Each case starts a server: what Node has compiled once need not be compiled again.
    environment: { ...writes.environment, NODE_COMPILE_CACHE: join(tmpdir(), 'towline-chaos-compiled') },
    gitHubHost: async ({ url }) => {
      const proxy = await startGitHubProxy(url)
      opened.github = proxy
      return proxy.host
    },
  })
  const { github } = opened
  if (github === undefined) throw new Error('the town asked for no GitHub')
  const counted = () => ({ docker: docker.calls(), github: github.calls(), store: writes.writes() })
  let armed: Kill | null = null
  return {
    town,
    counted,
    count(kill) {
      armed = kill
      const die = () => {
        if (town.ended() === null) process.kill(town.pid(), 'SIGKILL')
      }
      const at = (effect: Effect) => (kill?.effect === effect ? { ...kill, act: die } : undefined)
      docker.count(at('docker'))
      github.count(at('github'))
      writes.count(kill?.effect === 'store' ? kill : undefined)
    },
    isDoomed() {
      const ended = town.ended()
      if (ended !== null && ended !== 'SIGKILL') throw new Error(`Towline ended by itself with ${ended}`)
      return ended !== null || (armed !== null && counted()[armed.effect].length >= armed.n)
    },
    async killed() {
      await eventually('Towline to end of its kill', async () => (town.ended() === 'SIGKILL' ? true : null))
    },
    async restart() {
      await town.killTowline()
      clear({ docker, github, writes })
      await town.startTowline()
    },
    letBe: () => clear({ docker, github, writes }),
    quiet: () =>
      eventually('Towline to be quiet', async () => {
        const busyMs = Math.max(docker.lastBusyMs(), github.lastBusyMs(), writes.lastBusyMs())
        if (Date.now() - busyMs >= quietMs) return true
        await sleep(quietMs - (Date.now() - busyMs))
        return null
      }).then(() => {}),
    async [Symbol.asyncDispose]() {
      if (town.ended() !== null) await town.killTowline()
      clear({ docker, github, writes })
      await town[Symbol.asyncDispose]()
      await docker[Symbol.asyncDispose]()
      await github[Symbol.asyncDispose]()
      await writes[Symbol.asyncDispose]()
    },
  }
}

function clear(parts: { docker: FaultControl; github: FaultControl; writes: CountedWrites }): void {
  parts.docker.clear()
  parts.github.clear()
  parts.writes.clear()
}

/** Longer than `monitor` of the specs here, in which a healthy release is only waited for. */
const quietMs = 350
