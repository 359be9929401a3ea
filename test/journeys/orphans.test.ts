import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { expectCleanEnd } from '../support/clean-end.ts'
import { runIn } from '../support/host-shell.ts'
import { service, site } from '../support/specs.ts'
import { eventually, serverYaml, startTown, type Town } from '../support/town.ts'

/** Two installations on one Engine that work on repos and apps of the same names. */
let town: Town
let neighbour: Town

const graceMs = 1_000

beforeAll(async () => {
  const dockerSocket = inject('dockerSocket')
  const yaml = serverYaml(dockerSocket).replace('limits: {', `limits: { orphanGrace: ${graceMs}ms,`)
  ;[town, neighbour] = await Promise.all([
    startTown({ dockerSocket, serverYaml: yaml }),
    startTown({ dockerSocket, serverYaml: yaml }),
  ])
  for (const each of [town, neighbour]) {
    const commit = await each.push({ write: { ...service('shop'), ...site('docs', inline) } })
    expect(await each.checkRun(commit, 'towline / deploy')).toMatchObject({ conclusion: 'success' })
  }
})

afterAll(async () => {
  await town[Symbol.asyncDispose]()
  await neighbour[Symbol.asyncDispose]()
})

const inline = { source: { inline: { 'index.html': 'the page' } } }

type Found = { kind: string; name: string; reason: string; removeAfter: string | null }

test('what nothing explains is found and told, and a dry run removes nothing', async () => {
  const names = await strew(town)
  const found = await orphansOf(town, '?dryRun=true')
  expect(found.map(({ kind, name }) => `${kind} ${name}`).sort()).toEqual(names)
  for (const { reason } of found) expect(reason).not.toBe('')
  await new Promise((resolve) => setTimeout(resolve, graceMs * 2))
  await orphansOf(town, '?dryRun=true')
  expect((await orphansOf(town, '?dryRun=true')).map(({ kind, name }) => `${kind} ${name}`).sort()).toEqual(
    names,
  )
})

test('after its grace it is removed, volumes stay, and nothing of an app or of another installation is touched', async () => {
  const before = await standing(neighbour)
  const apps = await standing(town, 'shop')
  await eventually('the orphans to be gone', async () => {
    const left = await orphansOf(town)
    return left.every(({ kind }) => kind === 'volume') ? left : null
  })
  expect(await orphansOf(town)).toMatchObject([{ kind: 'volume', removeAfter: null }])
  expect(await standing(town, 'shop')).toEqual(apps)
  expect(await town.fetchApp('docs')).toBe('the page')
  expect(await standing(neighbour)).toEqual(before)
  expect(await orphansOf(neighbour)).toEqual([])
  expect(await neighbour.fetchApp('docs')).toBe('the page')
})

test('the network of a repo goes with its last app, and comes back with the next', async () => {
  const [container] = await neighbour.containers('shop')
  const [network = ''] = Object.keys(container?.NetworkSettings.Networks ?? {})
  const commit = await neighbour.push({
    write: { 'towline.yaml': 'prune: { enabled: true, delay: 0s, max: 9 }\n' },
    remove: ['apps/shop.yaml', 'apps/docs.yaml'],
  })
  await neighbour.checkRun(commit, 'towline / deploy')
  await eventually('both apps and their network to be gone', async () => {
    await neighbour.sweep()
    const networks = await neighbour.docker.listNetworks()
    const left = [...(await neighbour.containers('shop')), ...(await neighbour.containers('docs'))]
    return left.length === 0 && !networks.some(({ Name }) => Name === network) ? true : null
  })
  const again = await neighbour.push({ write: service('shop') })
  expect(await neighbour.checkRun(again, 'towline / deploy')).toMatchObject({ conclusion: 'success' })
})

test('things of a config repo that is not this server’s are told and left alone', async () => {
  const name = `theirs-${Date.now()}`
  const labels = { 'towline.owner': town.owner(), 'towline.repo': 'acme/elsewhere', 'towline.app': 'shop' }
  const { id } = await town.docker.createContainer({ name, Image: 'towline-demo/busybox:1', Labels: labels })
  await orphansOf(town)
  await new Promise((resolve) => setTimeout(resolve, graceMs * 2))
  expect(await orphansOf(town)).toContainEqual(
    expect.objectContaining({ name, removeAfter: null, reason: expect.stringContaining('acme/elsewhere') }),
  )
  expect((await town.docker.getContainer(id).inspect()).Name).toBe(`/${name}`)
})

test('at the end GitHub was asked rightly and no secret shows', async () => {
  await expectCleanEnd(town)
  await expectCleanEnd(neighbour)
})

/** One thing of each kind that carries our labels and that no record explains; resolves to `kind name` of each, sorted. */
async function strew({ docker, repo, owner }: Town): Promise<string[]> {
  const suffix = Date.now()
  const labels = {
    'towline.owner': owner(),
    'towline.repo': repo,
    'towline.app': 'gone',
    'towline.role': 'app',
  }
  const container = `stray-${suffix}`
  const made = await docker.createContainer({
    name: container,
    Image: 'towline-demo/busybox:1',
    Cmd: ['sleep', '2147483647'],
    Labels: labels,
    HostConfig: { Init: true },
  })
  await made.start()
  const network = `towline-stray-${suffix}`
  await docker.createNetwork({
    Name: network,
    Labels: { 'towline.owner': owner(), 'towline.repo': `${repo}`, 'towline.app': 'gone' },
  })
  const volume = `towline-stray-${suffix}`
  await docker.createVolume({ Name: volume, Labels: labels })
  const [helper] = await docker.listContainers({
    filters: { label: [`towline.owner=${owner()}`, 'towline.role=files'] },
  })
  const folder = `sites/gone-${suffix}`
  await runIn({ docker }, helper?.Id ?? '', `mkdir -p /towline/${folder}/releases/abc`)
  return [`container ${container}`, `network ${network}`, `site ${folder}`, `volume ${volume}`].sort()
}

/** Containers of a town (of one app, where named): what they are and since when they run. */
async function standing(of: Town, app?: string): Promise<string[]> {
  const label = [`towline.owner=${of.owner()}`, ...(app ? [`towline.app=${app}`] : [])]
  const found = await of.docker.listContainers({ all: true, filters: { label } })
  const infos = await Promise.all(found.map(({ Id }) => of.docker.getContainer(Id).inspect()))
  return infos.map(({ Id, Name, State }) => `${Id} ${Name} ${State.StartedAt}`).sort()
}

async function orphansOf({ url }: Town, query = ''): Promise<Found[]> {
  const answer = await fetch(`${url}/api/monitoring/reconcile/trigger${query}`, { method: 'POST' })
  return ((await answer.json()) as { orphans: Found[] }).orphans
}
