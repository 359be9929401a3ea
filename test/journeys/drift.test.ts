import type { ContainerInfo } from 'dockerode'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { expectCleanEnd } from '../support/clean-end.ts'
import { runIn, runInSite } from '../support/host-shell.ts'
import { service, site } from '../support/specs.ts'
import { eventually, startTown, type Town } from '../support/town.ts'

let town: Town
let commit: string

beforeAll(async () => {
  town = await startTown({ dockerSocket: inject('dockerSocket') })
  commit = await town.push({
    write: {
      ...service('shop', { deploy: { replicas: 2, update_config: { monitor: '200ms' } } }),
      ...service('moody', moody),
      ...service('keeper', { volumes: ['data:/data'] }),
      ...site('docs', { source: { files: 'sites/docs' } }),
      'sites/docs/index.html': 'the page\n',
      'sites/docs/more/style.css': 'body {}\n',
    },
  })
  expect(await town.checkRun(commit, 'towline / deploy')).toMatchObject({ conclusion: 'success' })
})

afterAll(async () => {
  await town[Symbol.asyncDispose]()
})

/**
 * Healthy while `/tmp/well` is there, which it makes at its start unless it was cursed. Its own restart policy has nothing
 * to do: it runs all the time.
 */
const moody = {
  image: 'towline-demo/busybox:1',
  ports: undefined,
  command: ['sh', '-c', '[ -e /tmp/cursed ] || touch /tmp/well; exec sleep 2147483647'],
  stop_grace_period: '1s',
  healthcheck: { test: ['CMD', 'test', '-e', '/tmp/well'], interval: '1s', timeout: '1s', retries: 1 },
}

test('a container that stopped is healed, and its commit says which field drifted and what was done', async () => {
  const [victim] = await town.containers('shop')
  await town.docker.getContainer(victim?.Id ?? '').stop({ t: 1 })
  const run = await town.checkRun(commit, 'towline / drift shop@local', ({ title }) => isResolved(title))
  expect(run).toMatchObject({ status: 'completed', conclusion: 'neutral' })
  expect(run.title).toBe(`resolved: container ${nameOf(victim)}: state was exited`)
  expect(run.summary).toMatch(/\| running \| exited \| start container/)
  expect(runsNamed('towline / drift shop@local')).toHaveLength(1)
})

test('the same again goes on in the same run', async () => {
  const [victim] = await town.containers('shop')
  await town.docker.getContainer(victim?.Id ?? '').stop({ t: 1 })
  const run = await town.checkRun(
    commit,
    'towline / drift shop@local',
    ({ title, summary }) => isResolved(title) && /\| 2 \|$/m.test(summary ?? ''),
  )
  expect(run.conclusion).toBe('neutral')
  expect(runsNamed('towline / drift shop@local')).toHaveLength(1)
})

test.each<[string, string, RegExp]>([
  ['a file was changed', 'cd releases/*; echo changed > index.html', /index.html: /],
  ['a file was removed', 'rm releases/*/more/style.css', /more\/style.css: missing/],
  ['a file was added', 'cd releases/*; echo new > added.html', /added.html: /],
  ['the rights of a file were changed', 'chmod 600 releases/*/index.html', /index.html: mode 600/],
])('where %s in a release, the sweep names it and the release is whole again', async (_, harm, found) => {
  const before = await filesOfDocs()
  await runInSite(town, 'docs', harm)
  expect(await filesOfDocs()).not.toBe(before)
  expect(await dueDrift()).toContainEqual(
    expect.objectContaining({ field: 'files', expected: 'complete', found: expect.stringMatching(found) }),
  )
  await eventually('the release to be whole', async () => ((await filesOfDocs()) === before ? true : null))
  expect(await town.fetchApp('docs')).toBe('the page\n')
  const run = await town.checkRun(
    commit,
    'towline / drift docs@local',
    ({ title, summary }) => isResolved(title) && found.test((summary ?? '').replaceAll('\\', '')),
  )
  expect(run.conclusion).toBe('neutral')
})

test('a container that is unhealthy is restarted', async () => {
  const [container] = await town.containers('moody')
  await runIn(town, container?.Id ?? '', 'rm /tmp/well')
  await town.checkRun(commit, 'towline / drift moody@local', ({ title }) => isResolved(title))
  const info = await town.docker.getContainer(container?.Id ?? '').inspect()
  expect(info.State.StartedAt).not.toBe(startedAt(container))
  await eventually('it to be healthy', async () => {
    const { State } = await town.docker.getContainer(container?.Id ?? '').inspect()
    return State.Health?.Status === 'healthy' ? true : null
  })
})

test('one that stays unhealthy is given up, told once as degraded, and resolved when it comes right', async () => {
  const [container] = await town.containers('moody')
  const id = container?.Id ?? ''
  await runIn(town, id, 'touch /tmp/cursed; rm /tmp/well')
  const run = await town.checkRun(commit, 'towline / drift moody@local', ({ title }) =>
    (title ?? '').startsWith('degraded: '),
  )
  expect(run).toMatchObject({
    conclusion: 'neutral',
    summary: expect.stringContaining('Healing has given up'),
  })
  const { StartedAt } = (await town.docker.getContainer(id).inspect()).State
  for (let time = 1; time <= 3; time += 1) expect(await dueDrift()).toEqual([])
  expect((await town.docker.getContainer(id).inspect()).State.StartedAt).toBe(StartedAt)
  expect(givenUpCount('moody')).toBe(1)
  await runIn(town, id, 'rm /tmp/cursed; touch /tmp/well')
  await town.checkRun(commit, 'towline / drift moody@local', ({ title }) => isResolved(title))
  expect(runsNamed('towline / drift moody@local')).toHaveLength(1)
})

test('Re-run on the run of a drift looks again at once, also where healing had given up', async () => {
  const [container] = await town.containers('moody')
  const id = container?.Id ?? ''
  await runIn(town, id, 'touch /tmp/cursed; rm /tmp/well')
  const run = await town.checkRun(commit, 'towline / drift moody@local', ({ title }) =>
    (title ?? '').startsWith('degraded: '),
  )
  await runIn(town, id, 'rm /tmp/cursed')
  town.github.rerequestRun(run.id)
  await town.checkRun(commit, 'towline / drift moody@local', ({ title }) => isResolved(title))
  expect((await town.docker.getContainer(id).inspect()).State.Status).toBe('running')
})

test('a volume that is gone is reported and not made again, until the spec says so', async () => {
  const [container] = await town.containers('keeper')
  const info = await town.docker.getContainer(container?.Id ?? '').inspect()
  const volume = info.Mounts[0]?.Name ?? ''
  // Otherwise the container is back before its volume can go.
  await town.stopTowline()
  await town.docker.getContainer(container?.Id ?? '').remove({ force: true })
  await town.docker.getVolume(volume).remove()
  await town.startTowline()
  const run = await town.checkRun(commit, 'towline / drift keeper@local', ({ title }) =>
    (title ?? '').includes(`volume ${volume}`),
  )
  expect(run.summary).toContain('recreateVolumes')
  await town.sweep()
  const { Volumes: volumes } = await town.docker.listVolumes()
  expect(volumes.map(({ Name }) => Name)).not.toContain(volume)
  const next = await town.push({
    write: service('keeper', { volumes: ['data:/data'], rollout: { recreateVolumes: true } }),
  })
  expect(await town.checkRun(next, 'towline / deploy')).toMatchObject({ conclusion: 'success' })
  await town.sweep()
  await eventually('the app to run on a new volume', async () =>
    (await town.containers('keeper'))[0]?.State === 'running' ? true : null,
  )
})

test('a network that was removed under stopped containers is made again, with them', async () => {
  const containers = await town.containers('shop')
  const [network = ''] = Object.keys(containers[0]?.NetworkSettings.Networks ?? {})
  await town.stopTowline()
  const all = await town.docker.listContainers({ filters: { network: [network] } })
  for (const { Id } of all) await town.docker.getNetwork(network).disconnect({ Container: Id, Force: true })
  for (const { Id } of containers) await town.docker.getContainer(Id).stop({ t: 1 })
  await town.docker.getNetwork(network).remove()
  await town.startTowline()
  await eventually('all to be on a new network', async () => {
    const now = (
      await Promise.all(['shop', 'moody', 'keeper', 'docs'].map((app) => town.containers(app)))
    ).flat()
    const right = now.filter(
      ({ State, NetworkSettings }) => State === 'running' && network in NetworkSettings.Networks,
    )
    return right.length === 5 && now.length === 5 ? true : null
  })
  await eventually('the page to be served', async () => {
    const page = await town.fetchApp('docs').catch(() => null)
    return page === 'the page\n' ? true : null
  })
})

test('at the end GitHub was asked rightly and no secret shows', () => expectCleanEnd(town))

function isResolved(title: string | null | undefined): boolean {
  return (title ?? '').startsWith('resolved: ')
}

function runsNamed(name: string) {
  return town.github.checkRuns(town.repo, commit).filter((run) => run.name === name)
}

function givenUpCount(app: string): number {
  return town.log().split(`healing acme/config:${app}@local has given up`).length - 1
}

async function filesOfDocs(): Promise<string> {
  return runInSite(
    town,
    'docs',
    'cd "$(readlink current)"; find . -type f | sort | while read -r f; do stat -c "%n %a" "$f"; sha256sum "$f"; done',
  )
}

/** Everything the trigger finds that is not as it should be. */
async function dueDrift(): Promise<unknown[]> {
  const found = (await town.sweep()) as { hosts: { due: { drift: unknown[] }[] }[] }
  return found.hosts.flatMap((host) => host.due.flatMap(({ drift }) => drift))
}

function nameOf(container: ContainerInfo | undefined): string {
  return container?.Names[0]?.slice(1) ?? ''
}

function startedAt(container: ContainerInfo | undefined): string {
  return new Date((container?.Created ?? 0) * 1_000).toISOString()
}
