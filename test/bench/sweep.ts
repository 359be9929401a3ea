import { pino } from 'pino'
import { readEnvironment } from '../../src/environment.ts'
import { startTowline } from '../../src/main.ts'
import { serverYaml, startTown } from '../support/town.ts'
import { type Figure, interleave, timed } from './measure.ts'

const appCount = 200

/** A sweep that finds nothing to do, over 200 running apps. */
export async function benchSweep({ dockerSocket }: { dockerSocket: string }): Promise<Figure[]> {
  await using town = await startTown({
    dockerSocket,
    ownProcess: true,
    serverYaml: serverYaml(dockerSocket).replace('limits: {', 'limits: { perHost: 8, total: 8,'),
  })
  const apps = Array.from({ length: appCount }, (_, index) => `app-${index}`)
  const began = performance.now()
  const commit = await town.push({
    write: Object.fromEntries(apps.map((app) => [`apps/${app}.yaml`, spec(app)])),
  })
  const isDone = ({ status }: { status: string }) => status === 'completed'
  await town.checkRun(commit, 'towline / deploy', isDone)
  console.error(`${appCount} apps deployed in ${Math.round((performance.now() - began) / 1000)} s`)
  // The scheduled sweep cannot be asked for over HTTP, so it is called in this process, on what was just deployed.
  await town.stopTowline()
  const towline = await startTowline(readEnvironment(town.environment), pino({ level: 'silent' }))
  try {
    const owner = (await town.containers('app-0'))[0]?.Labels['towline.owner']
    const list = () =>
      town.docker.listContainers({ all: true, filters: { label: [`towline.owner=${owner}`] } })
    const sweep = async (deep: boolean) => {
      const { hosts, repos } = await towline.engine.sweep({ deep })
      const [host] = hosts
      if (!host || 'error' in host || host.targetCount !== appCount || host.due.length > 0)
        throw new Error(`the sweep was not a no-op: ${JSON.stringify({ hosts, repos })}`)
    }
    await sweep(true)
    const rounds = { rounds: 30, warmUps: 5 }
    const floor = () => timed(list)
    return [
      {
        name: 'no-op sweep of 200 apps ÷ one list call',
        unit: 'ms',
        goal: 2,
        ...(await interleave(rounds, { measured: () => timed(() => sweep(false)), floor })),
        method:
          'the scheduled sweep: all containers observed and compared, GitHub asked for the repos, the repo for its head; floor: one list of the same 200 containers with dockerode',
      },
    ]
  } finally {
    await towline.stop()
  }
}

function spec(app: string): string {
  return `apiVersion: towline/v1
kind: Service
name: ${app}
image: towline-demo/busybox:1
command: [sleep, "2147483647"]
stop_grace_period: 1s
deploy: { update_config: { monitor: 0s } }
`
}
