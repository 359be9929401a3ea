import { text } from 'node:stream/consumers'
import type { Town } from './town.ts'

/** Runs a script in a container, as an operator would with `docker exec`. Resolves to what it printed. */
export async function runIn(
  { docker }: Pick<Town, 'docker'>,
  container: string,
  script: string,
): Promise<string> {
  const exec = await docker.getContainer(container).exec({
    Cmd: ['sh', '-euc', script],
    AttachStdout: true,
    AttachStderr: true,
    Tty: true,
  })
  const output = await text(await exec.start({ hijack: false, stdin: false, Tty: true }))
  const { ExitCode } = await exec.inspect()
  if (ExitCode !== 0) throw new Error(`the script ended with ${ExitCode}: ${output}`)
  return output.replaceAll('\r\n', '\n').trim()
}

/** Runs a script in the folder of a Site in Towline's volume. */
export async function runInSite(town: Town, app: string, script: string): Promise<string> {
  const filters = { label: [`towline.owner=${town.owner()}`, 'towline.role=files'] }
  const [helper] = await town.docker.listContainers({ filters })
  if (!helper) throw new Error('no container of ours mounts the files')
  return runIn(town, helper.Id, `cd /towline/sites/${app}-*; ${script}`)
}
