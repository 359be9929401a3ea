import { setTimeout as sleep } from 'node:timers/promises'
import type Docker from 'dockerode'
import { timed } from './measure.ts'

/**
 * The least a deployment can take: create, start, and run the health check by exec until it passes. The container is
 * the very one Towline made, read back from the Engine, but without Towline's labels.
 */
export async function rawDeployment(docker: Docker, model: Docker.ContainerInspectInfo): Promise<number> {
  return rawDeployments(docker, [model], { atOnce: 1 })
}

/** The least many deployments can take, `atOnce` of them at a time: until the last of their containers is proven. */
export async function rawDeployments(
  docker: Docker,
  models: readonly Docker.ContainerInspectInfo[],
  { atOnce }: { atOnce: number },
): Promise<number> {
  const made: Docker.Container[] = []
  const tookMs = await timed(() =>
    forEach(models, { atOnce }, async (model) => {
      const container = await create(docker, model)
      made.push(container)
      await container.start()
      await passes(container, model.Config.Healthcheck?.Test?.slice(1) ?? [])
    }),
  )
  await removeAll(made)
  return tookMs
}

/**
 * One after another: an Engine that removes many at the same time may lose count of the containers in their network,
 * and then refuses to remove the network until it is restarted.
 */
export async function removeAll(containers: readonly Docker.Container[]): Promise<void> {
  for (const container of containers) await container.remove({ force: true, v: true })
}

async function forEach<T>(
  items: readonly T[],
  { atOnce }: { atOnce: number },
  act: (item: T) => Promise<unknown>,
): Promise<void> {
  const waiting = [...items]
  const work = async () => {
    for (let item = waiting.shift(); item !== undefined; item = waiting.shift()) await act(item)
  }
  await Promise.all(Array.from({ length: atOnce }, work))
}

async function create(docker: Docker, model: Docker.ContainerInspectInfo): Promise<Docker.Container> {
  const { Image, Cmd, Entrypoint, Env, ExposedPorts, Healthcheck, StopTimeout } =
    model.Config as Docker.ContainerInspectInfo['Config'] & {
      StopTimeout?: number
    }
  const network = model.HostConfig.NetworkMode ?? 'bridge'
  return docker.createContainer({
    ...{ Image, Cmd, Entrypoint, Env, ExposedPorts, Healthcheck, StopTimeout },
    HostConfig: model.HostConfig,
    NetworkingConfig: { EndpointsConfig: { [network]: {} } },
  })
}

async function passes(container: Docker.Container, argv: string[]): Promise<void> {
  for (let attempt = 1; attempt <= attemptLimit; attempt += 1) {
    const exec = await container.exec({ Cmd: argv, AttachStdout: true, AttachStderr: true })
    const stream = await exec.start({ hijack: false, stdin: false })
    for await (const _chunk of stream) void _chunk
    if ((await exec.inspect()).ExitCode === 0) return
    await sleep(attemptPauseMs)
  }
  throw new Error(`${argv.join(' ')} did not pass in ${attemptLimit} attempts`)
}

/** Far more than the test image needs: it answers within a tenth of a second. */
const attemptLimit = 1_000
const attemptPauseMs = 5
