import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { expectCleanEnd } from '../support/clean-end.ts'
import { ids } from '../support/deploy.ts'
import { type FaultProxy, startFaultProxy } from '../support/fault-proxy.ts'
import { runIn } from '../support/host-shell.ts'
import { service, site } from '../support/specs.ts'
import { eventually, serverYaml, startTown, type Town } from '../support/town.ts'

let town: Town
let proxy: FaultProxy

beforeAll(async () => {
  const dockerSocket = inject('dockerSocket')
  proxy = await startFaultProxy(dockerSocket)
  town = await startTown({ dockerSocket, serverYaml: serverYaml(proxy.socketPath), ownProcess: true })
  await push({ write: { ...prune('delay: 0s, max: 1'), ...service('stays') } })
})

afterAll(async () => {
  await town[Symbol.asyncDispose]()
  await proxy[Symbol.asyncDispose]()
})

function prune(rules: string): Record<string, string> {
  return { 'towline.yaml': `prune: { enabled: true, ${rules} }\n` }
}

/** Pushes and waits until all the commit asks for is done. */
async function push(changes: { write?: Record<string, string>; remove?: string[] }) {
  const commit = await town.push(changes)
  return town.checkRun(commit, 'towline / deploy')
}

function withVolume(app: string): Record<string, string> {
  return service(app, { volumes: ['data:/data'] })
}

async function volumesOf(app: string): Promise<string[]> {
  const filters = { label: [`towline.owner=${town.owner()}`, `towline.app=${app}`] }
  const { Volumes: found } = await town.docker.listVolumes({ filters })
  return (found ?? []).map(({ Name }) => Name)
}

/** Folders of sites in Towline's volume that belong to an app. */
async function foldersOf(app: string): Promise<string[]> {
  const filters = { label: [`towline.owner=${town.owner()}`, 'towline.role=files'] }
  const [helper] = await town.docker.listContainers({ filters })
  if (!helper) throw new Error('no container of ours mounts the files')
  const found = await runIn(town, helper.Id, 'ls -A /towline/sites')
  return found.split(/\s+/).filter((folder) => folder.startsWith(`${app}-`))
}

function gone(app: string): Promise<true> {
  return eventually(`${app} to be gone`, async () =>
    (await town.containers(app)).length === 0 && town.log().includes(`removed acme/config:${app}@local`)
      ? true
      : null,
  )
}

test('an app whose spec is deleted is announced on the commit, then taken off its host; another is not touched', async () => {
  const files = { 'sites/page/index.html': '<p>page</p>\n' }
  await push({ write: { ...site('page', { source: { files: 'sites/page' } }), ...files } })
  expect(await foldersOf('page')).toHaveLength(1)
  const stays = await town.containers('stays')
  const run = await push({ remove: ['apps/page.yaml', 'sites/page/index.html'] })
  expect(run).toMatchObject({ conclusion: 'success', title: '1 unchanged, 1 to be removed' })
  expect(run.summary).toContain('`page@local` left the repo and is removed now; its volumes stay.')
  await gone('page')
  expect(await foldersOf('page')).toEqual([])
  expect(ids(await town.containers('stays'))).toEqual(ids(stays))
})

test('its volumes stay with the data in them, unless the repo says that they go too', async () => {
  await push({ write: withVolume('kept') })
  const [kept] = await town.containers('kept')
  await runIn(town, kept?.Id ?? '', 'echo precious > /data/note')
  const [volume] = await volumesOf('kept')
  await push({ remove: ['apps/kept.yaml'] })
  await gone('kept')
  expect(await volumesOf('kept')).toEqual([volume])
  await push({ write: withVolume('kept') })
  const [again] = await town.containers('kept')
  expect(await runIn(town, again?.Id ?? '', 'cat /data/note')).toBe('precious')
  const run = await push({ write: prune('delay: 0s, max: 1, volumes: true'), remove: ['apps/kept.yaml'] })
  expect(run.summary).toContain('with its volumes and the data in them')
  await eventually('the volume to be gone', async () =>
    (await volumesOf('kept')).length === 0 ? true : null,
  )
  expect(await town.containers('kept')).toEqual([])
})

test('two deleted at once are refused on the commit, and both keep running', async () => {
  await push({ write: { ...prune('delay: 0s, max: 1'), ...service('one'), ...service('two') } })
  const before = [...(await town.containers('one')), ...(await town.containers('two'))]
  const run = await push({ remove: ['apps/one.yaml', 'apps/two.yaml'] })
  expect(run).toMatchObject({ conclusion: 'failure', title: '1 unchanged, removal refused' })
  expect(run.summary).toContain('2 targets left the repo, and prune.max is 1')
  expect(run.summary).toContain('delete them in parts of at most 1')
  await town.sweep()
  const after = [...(await town.containers('one')), ...(await town.containers('two'))]
  expect(ids(after)).toEqual(ids(before))
  // In parts they go.
  await push({ write: service('two') })
  await gone('one')
  await push({ remove: ['apps/two.yaml'] })
  await gone('two')
})

test('put back before the delay has passed, an app was never touched', async () => {
  await push({ write: { ...prune('delay: 1h, max: 1'), ...service('back') } })
  const before = await town.containers('back')
  const run = await push({ remove: ['apps/back.yaml'] })
  expect(run.summary).toMatch(
    /`back@local` left the repo and is removed after \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ/,
  )
  await town.sweep()
  expect(ids(await town.containers('back'))).toEqual(ids(before))
  const again = await push({ write: service('back') })
  expect(again).toMatchObject({ conclusion: 'success', title: '1 active, 1 unchanged' })
  expect(ids(await town.containers('back'))).toEqual(ids(before))
})

test.each([
  ['before the first container is stopped', /^POST \S+\/containers\/\w+\/stop/, 'before'],
  ['when a container was removed and nobody told', /^DELETE \S+\/containers\/\w+/, 'after'],
  ['before its volume is removed', /^DELETE \S+\/volumes\/\S+/, 'before'],
] as const)('killed %s, a removal is completed by the next start', async (_moment, pattern, moment) => {
  await push({ write: { ...prune('delay: 0s, max: 1, volumes: true'), ...withVolume('torn') } })
  const stays = await town.containers('stays')
  proxy.hold(pattern, moment)
  await town.push({ remove: ['apps/torn.yaml'] })
  await eventually('the removal to stand still', async () => (proxy.stoppedCount() >= 1 ? true : null))
  await town.killTowline()
  proxy.clear()
  await town.startTowline()
  await eventually('all of it to be gone', async () => {
    const left = [...(await town.containers('torn')), ...(await volumesOf('torn'))]
    return left.length === 0 ? true : null
  })
  expect(ids(await town.containers('stays'))).toEqual(ids(stays))
})

test('a first deployment that failed leaves neither container, volume nor folder', async () => {
  const sick = service('sick', { image: 'towline-demo/unhealthy:1', volumes: ['data:/data'] })
  const run = await push({ write: sick })
  expect(run.conclusion).toBe('failure')
  expect([await town.containers('sick'), await volumesOf('sick')]).toEqual([[], []])
  await push({ remove: ['apps/sick.yaml'] })
})

test('at the end GitHub was asked rightly and no secret shows', () => expectCleanEnd(town))
