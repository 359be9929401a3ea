import type Docker from 'dockerode'
import { eventually, serverYaml, startTown, type Town } from '../support/town.ts'
import { rawDeployment } from './floor.ts'
import { type Figure, interleave } from './measure.ts'

const app = 'bench'
const rounds = { rounds: 15, warmUps: 2 }
const floorMethod =
  'the same container made through the Docker API: create, start, its health check run by exec until it passes'

/** Push → `active` against the same container made by hand. */
export async function benchPush({ dockerSocket }: { dockerSocket: string }): Promise<Figure[]> {
  await using town = await startTown({
    dockerSocket,
    ownProcess: true,
    files: { 'apps/bench.yaml': spec(-1) },
  })
  await deployed(town, await town.work.git(['rev-parse', 'HEAD']))
  const model = await onlyContainer(town)
  const sides = await interleave(rounds, {
    measured: async (round) => {
      // Held back until the push is over, so that the clock starts when GitHub sends the webhook.
      town.github.pauseWebhooks()
      const commit = await town.push({ write: { 'apps/bench.yaml': spec(round) } })
      const sentAtMs = Date.now()
      town.github.resumeWebhooks()
      const activeAtMs = await deployed(town, commit)
      await onlyContainer(town)
      return activeAtMs - sentAtMs
    },
    floor: () => rawDeployment(town.docker, model),
  })
  return [
    {
      name: 'push → active ÷ create+start+ready',
      unit: 'ms',
      goal: 1.5,
      ...sides,
      method: `from GitHub sending the webhook to the check run completed at GitHub, which follows the stored "active" (image present, monitor 0s, githubWriteInterval 1ms); floor: ${floorMethod}`,
    },
  ]
}

/** A container killed, and one removed, until Towline has proven it again. */
export async function benchHeal({ dockerSocket }: { dockerSocket: string }): Promise<Figure[]> {
  await using town = await startTown({
    dockerSocket,
    ownProcess: true,
    // The same container is broken in each round; how often is too often is not what is measured.
    serverYaml: serverYaml(dockerSocket).replace('limits: {', 'limits: { healings: 1000,'),
    files: { 'apps/bench.yaml': spec(-1) },
  })
  await deployed(town, await town.work.git(['rev-parse', 'HEAD']))
  const model = await onlyContainer(town)
  const figure = async (name: string, harm: (container: Docker.Container) => Promise<unknown>) => ({
    name: `${name} → healthy ÷ create+start+ready`,
    unit: 'ms' as const,
    goal: 1.5,
    ...(await interleave(rounds, {
      measured: () => healed(town, harm),
      floor: () => rawDeployment(town.docker, model),
    })),
    method: `from the call to Docker's API to Towline's log line "healed", written after its health check passed and the healing was stored; floor: ${floorMethod}`,
  })
  return [
    await figure('kill', (container) => container.kill()),
    await figure('rm -f', (container) => container.remove({ force: true })),
  ]
}

async function healed(town: Town, harm: (container: Docker.Container) => Promise<unknown>): Promise<number> {
  const { Id } = await onlyContainer(town)
  const logged = town.log().length
  const beganAtMs = Date.now()
  await harm(town.docker.getContainer(Id))
  const healedAtMs = await eventually('the container to be healed', async () => {
    const line = town
      .log()
      .slice(logged)
      .split('\n')
      .find((text) => text.includes(`"healed ${town.repo}:${app}@local"`))
    return line?.endsWith('}') ? (JSON.parse(line) as { time: number }).time : null
  })
  return healedAtMs - beganAtMs
}

/** Resolves to when the check run of the app was completed, in milliseconds. */
async function deployed(town: Town, commit: string): Promise<number> {
  const run = await town.checkRun(commit, `towline / ${app}@local`)
  const completed = run.history.find(({ status }) => status === 'completed')
  if (run.conclusion !== 'success' || !completed) throw new Error(`${run.title}\n${run.summary}\n${run.text}`)
  await town.checkRun(commit, 'towline / deploy')
  return Date.parse(completed.at)
}

/** The one container that is left once the old release is removed. */
function onlyContainer(town: Town): Promise<Docker.ContainerInspectInfo> {
  return eventually('the old release to be removed', async () => {
    const [first, ...others] = await town.containers(app)
    if (!first || others.length > 0 || first.State !== 'running') return null
    return town.docker.getContainer(first.Id).inspect()
  })
}

function spec(round: number): string {
  return `apiVersion: towline/v1
kind: Service
name: ${app}
image: towline-demo/hello:1
ports: ["8080"]
environment: { ROUND: "${round}" }
healthcheck: { test: [CMD, wget, -q, --spider, "http://127.0.0.1:8080/"], interval: 30s, timeout: 2s }
deploy: { update_config: { monitor: 0s } }
`
}
