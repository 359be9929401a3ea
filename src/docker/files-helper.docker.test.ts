import { rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import Docker from 'dockerode'
import { afterEach, beforeEach, expect, inject, test } from 'vitest'
import { volumeName } from '../rollout/target.ts'
import { openDockerHost } from './host.ts'

/** Its first eight characters name the volume, and no other test's. */
const owner = `testh${process.pid % 1000}`
const endpoint = { kind: 'unix', socketPath: inject('dockerSocket') } as const
const docker = new Docker({ socketPath: endpoint.socketPath })
const signal = new AbortController().signal
const image = 'towline-demo/busybox:1'
const host = openDockerHost({ name: 'web-1', endpoint, owner, images: { helper: image } })
const volume = docker.getVolume(volumeName(owner))
const helper = docker.getContainer(`${volumeName(owner)}-files`)
const site = { folder: 'sites/docs-1a2b3c4d', root: '.', source: { kind: 'inline', files: {} } } as const

beforeEach(() => writeRelease())

afterEach(async () => {
  await helper.remove({ force: true }).catch(() => {})
  await volume.remove().catch(() => {})
})

test.each<[string, () => Promise<unknown>]>([
  ['stopped', () => helper.stop({ t: 0 })],
  ['removed', () => helper.remove({ force: true })],
  ['paused', () => helper.pause()],
  ['given another network', giveNetwork],
  ['replaced by one that may do more', () => replaceHelper({ CapDrop: [] })],
  ['replaced by one in the network of the host', () => replaceHelper({ NetworkMode: 'host' })],
  ['replaced by one that may only read', () => replaceHelper({ Mounts: mounts({ ReadOnly: true }) })],
  ['replaced by one with another volume', () => replaceHelper({ Mounts: mounts({ Source: 'other' }) })],
])('a helper that was %s is back as it was, with its files, at the next use', async (_what, harm) => {
  await harm()
  expect(await releases()).toEqual(['kept'])
  const { State, HostConfig, NetworkSettings } = await helper.inspect()
  expect(State.Status).toBe('running')
  expect(HostConfig.CapDrop).toEqual(['ALL'])
  expect(Object.keys(NetworkSettings.Networks)).toEqual(['none'])
  await docker
    .getVolume('other')
    .remove()
    .catch(() => {})
})

test('a helper that is as it should be stays', async () => {
  const { Id } = await helper.inspect()
  expect(await releases()).toEqual(['kept'])
  expect((await helper.inspect()).Id).toBe(Id)
})

test('a volume that was deleted with its helper is made anew at the next use', async () => {
  await helper.remove({ force: true })
  await volume.remove()
  expect(await releases()).toEqual([])
  await writeRelease()
  expect(await releases()).toEqual(['kept'])
})

test.each([
  ['under a running helper', async () => {}],
  ['and the helper died of it', () => helper.restart({ t: 0 }).catch(() => {})],
])(
  'a volume that was deleted on the disk of the host, %s, is made anew at the next use',
  async (_what, then) => {
    await rm(dirname((await volume.inspect()).Mountpoint), { recursive: true })
    await then()
    // The one that makes the helper anew ends what the other runs in it; that one may try again.
    const seen = await Promise.allSettled([releases(), releases()])
    for (const each of seen) {
      if (each.status === 'rejected') expect(each.reason).toMatchObject({ fault: 'temporary' })
      else expect(each.value).toEqual([])
    }
    await writeRelease()
    expect(await releases()).toEqual(['kept'])
  },
)

test("somebody else's volume of our name is not used", async () => {
  await helper.remove({ force: true })
  await volume.remove()
  await docker.createVolume({ Name: volume.name })
  await expect(releases()).rejects.toMatchObject({ fault: 'operator' })
})

async function writeRelease(): Promise<void> {
  await host.apply(
    { do: 'writeRelease', phase: 'copying_files', releaseId: 'kept', site },
    { signal, files: async () => [{ path: 'index.html', mode: 0o644, content: Buffer.from('kept') }] },
  )
}

/** Ids of those that are whole. */
async function releases(): Promise<string[]> {
  const files = [{ folder: site.folder, releaseId: 'kept' }]
  const { sites } = await host.observe({ files, signal })
  const found = sites?.[site.folder]?.releases ?? []
  return found.filter(({ damage }) => damage?.length === 0).map(({ id }) => id)
}

async function giveNetwork(): Promise<void> {
  await docker.getNetwork('none').disconnect({ Container: helper.id, Force: true })
  await docker.getNetwork('bridge').connect({ Container: helper.id })
}

function mounts(over: Partial<Docker.MountSettings>): Docker.MountSettings[] {
  return [{ Type: 'volume', Source: volume.name, Target: '/towline', ...over }] as Docker.MountSettings[]
}

async function replaceHelper(over: Docker.HostConfig): Promise<void> {
  const { Config, HostConfig } = await helper.inspect()
  await helper.remove({ force: true })
  const made = await docker.createContainer({
    name: helper.id,
    Image: image,
    Cmd: ['sleep', '1000'],
    Labels: Config.Labels,
    HostConfig: { ...HostConfig, ...over },
  })
  await made.start()
}
