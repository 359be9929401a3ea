import type { ContainerInfo } from 'dockerode'
import type { CheckRunView } from './github/server.ts'
import { eventually, type Town } from './town.ts'

/** Pushes the files and waits for the end of the deployment of one app: the one whose spec comes first. */
export async function deploy(
  town: Town,
  write: Record<string, string | Buffer>,
  { app = /^apps\/(.+)\.yaml$/.exec(Object.keys(write)[0] ?? '')?.[1] }: { app?: string } = {},
): Promise<{ commit: string; run: CheckRunView }> {
  const commit = await town.push({ write })
  return { commit, run: await town.checkRun(commit, `towline / ${app}@local`) }
}

/** What is left of an app once the containers of its release before are removed. */
export function onlyContainer(town: Town, app: string): Promise<ContainerInfo> {
  return eventually(`only one container of ${app} to be left`, async () => {
    const [container, ...others] = await town.containers(app)
    return others.length === 0 ? container : null
  })
}

export async function get(port: number, path = ''): Promise<string> {
  const answer = await fetch(`http://127.0.0.1:${port}/${path}`, {
    headers: { connection: 'close' },
    signal: AbortSignal.timeout(5_000),
  })
  if (!answer.ok) throw new Error(`${path} is answered with ${answer.status}`)
  return answer.text()
}

export function portOf(container: ContainerInfo | undefined): number {
  return container?.Ports.find(({ PublicPort }) => PublicPort !== undefined)?.PublicPort ?? 0
}

export function nameOf(container: ContainerInfo | undefined): string {
  return container?.Names[0]?.slice(1) ?? ''
}

export function ids(containers: ContainerInfo[]): string[] {
  return containers.map(({ Id }) => Id)
}
