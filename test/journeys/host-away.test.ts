import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { expectCleanEnd } from '../support/clean-end.ts'
import { type DockerDaemon, startDockerDaemon } from '../support/docker-daemon.ts'
import { buildTestImages } from '../support/images.ts'
import { service, slow } from '../support/specs.ts'
import { eventually, serverYaml, startTown, type Town } from '../support/town.ts'

/** A town with two hosts: `local`, which stays, and `far`, an Engine of its own that is killed and comes back. */
let town: Town
let far: DockerDaemon

beforeAll(async () => {
  const dockerSocket = inject('dockerSocket')
  far = await startDockerDaemon({ name: 'far' })
  await buildTestImages(far.socketPath)
  const yaml = serverYaml(dockerSocket).replace('hosts:\n', `hosts:\n  far: { endpoint: "${far.host}" }\n`)
  town = await startTown({ dockerSocket, serverYaml: yaml })
  const commit = await town.push({
    write: { ...service('near', { hosts: ['local'] }), ...service('remote', { hosts: ['far'] }) },
  })
  expect(await town.checkRun(commit, 'towline / deploy')).toMatchObject({ conclusion: 'success' })
})

afterAll(async () => {
  await town[Symbol.asyncDispose]()
  await far.stop()
})

test('while a host is away it is unknown since then, its work waits, and other hosts go on', async () => {
  const before = new Date().toISOString()
  await far.kill()
  const unknown = await eventually(
    'the host to be unknown',
    async () => (await hostStatus('far')).unknownSince,
  )
  expect(unknown >= before).toBe(true)
  expect(await hostStatus('local')).toMatchObject({ unknownSince: null })
  const commit = await town.push({
    write: {
      ...service('near', { hosts: ['local'], environment: { GREETING: 'two' } }),
      ...service('remote', { hosts: ['far'], environment: { GREETING: 'two' } }),
    },
  })
  expect(await town.checkRun(commit, 'towline / near@local')).toMatchObject({ conclusion: 'success' })
  await town.checkRun(commit, 'towline / remote@far', ({ title }) =>
    (title ?? '').includes('gives no answer since'),
  )
  expect(await town.checkRun(commit, 'towline / remote@far', () => true)).toMatchObject({ status: 'queued' })
  await far.restart()
  expect(await town.checkRun(commit, 'towline / remote@far')).toMatchObject({ conclusion: 'success' })
  expect(await hostStatus('far')).toMatchObject({ unknownSince: null })
})

test('a deployment under way when its Engine is killed waits for it and ends rightly', async () => {
  const commit = await town.push({ write: service('remote', { ...slow, hosts: ['far'] }) })
  await town.checkRun(commit, 'towline / remote@far', ({ title }) =>
    /^(updating_routes|health)/.test(title ?? ''),
  )
  await far.kill()
  await eventually('the host to be unknown', async () => (await hostStatus('far')).unknownSince)
  await far.restart()
  const run = await town.checkRun(commit, 'towline / remote@far')
  expect(run, JSON.stringify(run)).toMatchObject({ conclusion: 'success' })
  expect(
    town.github.checkRuns(town.repo, commit).filter(({ name }) => name === 'towline / remote@far'),
  ).toHaveLength(1)
})

test('after the Engine came back what it lost is healed, and nothing is doubled', async () => {
  await far.kill()
  await far.restart()
  await eventually('all to stand again', async () => {
    const { hosts } = (await town.sweep()) as { hosts: { host: string; due?: unknown[] }[] }
    return hosts.every(({ due }) => due?.length === 0) ? true : null
  })
  const targets = (await (await fetch(`${town.url}/api/targets`)).json()) as { targets?: unknown[] }
  expect(JSON.stringify(targets)).toContain('remote@far')
})

test('at the end GitHub was asked rightly and no secret shows', () => expectCleanEnd(town))

type HostStatus = { host: string; unknownSince: string | null }

async function hostStatus(name: string): Promise<HostStatus> {
  const answer = await fetch(`${town.url}/api/monitoring/health`)
  const { hosts } = (await answer.json()) as { hosts: HostStatus[] }
  return hosts.find(({ host }) => host === name) ?? { host: name, unknownSince: 'never seen' }
}
