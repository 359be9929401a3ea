import Docker from 'dockerode'
import type { TestProject } from 'vitest/node'
import { testEngine } from './docker-daemon.ts'
import { buildTestImages } from './images.ts'

declare module 'vitest' {
  export interface ProvidedContext {
    /** Socket of a Docker Engine that holds the test images. */
    dockerSocket: string
  }
}

/** One Docker Engine for a whole test run. */
export async function setup(project: TestProject): Promise<() => Promise<void>> {
  const engine = await testEngine({ name: 'test', dockerHost: process.env.DOCKER_HOST })
  await removeTestContainers(engine.socketPath)
  await buildTestImages(engine.socketPath)
  project.provide('dockerSocket', engine.socketPath)
  return async () => {
    await removeTestContainers(engine.socketPath)
    await engine.stop()
  }
}

/**
 * On an Engine that is not ours alone, only what tests made: containers whose owner id starts with `test`.
 * An installation's id is random hex and starts with no `t`.
 */
async function removeTestContainers(socketPath: string): Promise<void> {
  const docker = new Docker({ socketPath })
  const containers = await docker.listContainers({ all: true, filters: { label: ['towline.owner'] } })
  const ours = containers.filter(({ Labels }) => Labels['towline.owner']?.startsWith('test'))
  await Promise.all(ours.map(({ Id }) => docker.getContainer(Id).remove({ force: true, v: true })))
}
