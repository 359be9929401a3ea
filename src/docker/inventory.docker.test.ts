import Docker from 'dockerode'
import { afterAll, expect, inject, test } from 'vitest'
import type { OwnedThing } from '../rollout/observed.ts'
import type { HostStep } from '../rollout/step.ts'
import { volumeName } from '../rollout/target.ts'
import { openDockerHost } from './host.ts'

/** Its first eight characters name the volume, and no other test's. */
const owner = `testi${process.pid % 1000}`
const labels = { 'towline.owner': owner }
const endpoint = { kind: 'unix', socketPath: inject('dockerSocket') } as const
const docker = new Docker({ socketPath: endpoint.socketPath })
const signal = new AbortController().signal
const image = 'towline-demo/busybox:1'
const host = openDockerHost({ name: 'web-1', endpoint, owner, images: { helper: image } })
const network = `towline-${owner}-net`
const volume = `towline-${owner}-data`
const tag = `towline-${owner}:built`

afterAll(async () => {
  for (const name of [`${owner}-ours`, `${owner}-theirs`, `${volumeName(owner)}-files`]) {
    await quietly(docker.getContainer(name).remove({ force: true }))
  }
  await quietly(docker.getNetwork(network).remove())
  for (const name of [volume, volumeName(owner)]) await quietly(docker.getVolume(name).remove())
  await quietly(docker.getImage(tag).remove())
})

test('a host that has nothing of ours is left as it is', async () => {
  const inventory = await host.inventory({ signal })
  const { ID } = await docker.info()
  expect(inventory).toEqual({ host: 'web-1', engineId: ID, at: expect.any(String), things: [] })
  expect(Math.abs(Date.parse(inventory.at) - Date.now())).toBeLessThan(60_000)
  await expect(docker.getVolume(volumeName(owner)).inspect()).rejects.toMatchObject({ statusCode: 404 })
})

test('all that is ours is named, with its age and who uses it, and is removed only once nobody does', async () => {
  await docker.createNetwork({ Name: network, Labels: labels })
  await docker.createVolume({ Name: volume, Labels: labels })
  const ours = await docker.createContainer({ name: `${owner}-ours`, Image: image, Labels: labels })
  await ours.commit({ repo: `towline-${owner}`, tag: 'built', changes: `LABEL towline.owner=${owner}` })
  const theirs = await docker.createContainer({
    name: `${owner}-theirs`,
    Image: tag,
    Labels: { 'towline.owner': 'another' },
    HostConfig: { NetworkMode: network, Mounts: [{ Type: 'volume', Source: volume, Target: '/data' }] },
  })
  await host.apply(
    {
      do: 'writeRelease',
      phase: 'copying_files',
      releaseId: 'r1',
      site: { folder: 'sites/docs-1a2b3c4d', root: '.', source: { kind: 'inline', files: {} } },
    },
    { signal, files: async () => [] },
  )
  const built = (await docker.getImage(tag).inspect()).Id
  const used = { labels: expect.objectContaining(labels), createdAt: expect.stringMatching(/^20.*Z$/) }
  const things = await takeInventory()
  expect(things).toHaveLength(7)
  expect(things).toEqual(
    expect.arrayContaining([
      { ...used, kind: 'container', id: ours.id, name: `${owner}-ours`, userCount: null },
      expect.objectContaining({ kind: 'container', name: `${volumeName(owner)}-files` }),
      { ...used, kind: 'network', id: expect.any(String), name: network, userCount: 1 },
      { ...used, kind: 'volume', id: volume, name: volume, userCount: 1 },
      expect.objectContaining({ kind: 'volume', name: volumeName(owner), userCount: 1 }),
      { ...used, kind: 'image', id: built, name: tag, userCount: 1 },
      {
        ...used,
        kind: 'site',
        id: 'sites/docs-1a2b3c4d',
        name: 'sites/docs-1a2b3c4d',
        labels: {},
        userCount: null,
      },
    ]),
  )
  const { networks, volumes } = await host.observe({ resources: true, signal })
  expect(networks).toEqual([network])
  expect(volumes).toEqual([volume, volumeName(owner)].sort())

  // Never started, then running, then gone.
  await removeAll(built)
  expect(kindsOf(await takeInventory())).toEqual(['image', 'network', 'volume'])
  await theirs.start()
  await removeAll(built)
  expect(kindsOf(await takeInventory())).toEqual(['image', 'network', 'volume'])
  await theirs.remove({ force: true })
  await removeAll(built)
  await removeAll(built)
  expect(kindsOf(await takeInventory())).toEqual([])
})

test('what is not ours is refused, whatever it is called', async () => {
  const strange = `${owner}-strange`
  await docker.createNetwork({ Name: strange })
  await docker.createVolume({ Name: strange })
  const { Id } = await docker.getImage(image).inspect()
  for (const step of removals({ network: strange, volume: strange, image: Id })) {
    await expect(host.apply(step, { signal })).rejects.toMatchObject({ fault: 'operator' })
  }
  await docker.getNetwork(strange).remove()
  await docker.getVolume(strange).remove()
})

async function takeInventory(): Promise<OwnedThing[]> {
  return (await host.inventory({ signal })).things
}

/** Of those this test removes. */
function kindsOf(things: OwnedThing[]): string[] {
  return things
    .filter(({ name }) => [network, volume, tag].includes(name))
    .map(({ kind }) => kind)
    .sort()
}

async function removeAll(imageId: string): Promise<void> {
  for (const step of removals({ network, volume, image: imageId })) await host.apply(step, { signal })
}

function removals(names: { network: string; volume: string; image: string }): HostStep[] {
  return [
    { do: 'removeNetwork', phase: 'active', name: names.network },
    { do: 'removeVolume', phase: 'active', name: names.volume },
    { do: 'removeImage', phase: 'active', id: names.image, name: tag },
  ]
}

async function quietly(done: Promise<unknown>): Promise<void> {
  await done.catch(() => {})
}
