import { setTimeout as sleep } from 'node:timers/promises'
import type Docker from 'dockerode'
import { timed } from './measure.ts'

/**
 * The least a deployment can take: create, start, and run the health check by exec until it passes. The container is
 * the very one Towline made, read back from the Engine, but without Towline's labels.
 */
export async function rawDeployment(docker: Docker, model: Docker.ContainerInspectInfo): Promise<number> {
  const { Image, Cmd, Entrypoint, Env, ExposedPorts, Healthcheck, StopTimeout } =
    model.Config as Docker.ContainerInspectInfo['Config'] & {
      StopTimeout?: number
    }
  const network = model.HostConfig.NetworkMode ?? 'bridge'
  let container: Docker.Container | undefined
  const tookMs = await timed(async () => {
    container = await docker.createContainer({
      ...{ Image, Cmd, Entrypoint, Env, ExposedPorts, Healthcheck, StopTimeout },
      HostConfig: model.HostConfig,
      NetworkingConfig: { EndpointsConfig: { [network]: {} } },
    })
    await container.start()
    await passes(container, Healthcheck?.Test?.slice(1) ?? [])
  })
  await container?.remove({ force: true, v: true })
  return tookMs
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
