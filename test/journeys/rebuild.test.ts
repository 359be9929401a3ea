import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { ContainerInspectInfo } from 'dockerode'
import { afterAll, beforeAll, beforeEach, expect, inject, test } from 'vitest'
import { runCommand } from '../../src/cli/main.ts'
import { expectCleanEnd } from '../support/clean-end.ts'
import { nameOf } from '../support/deploy.ts'
import { runIn, runInSite } from '../support/host-shell.ts'
import { service, site } from '../support/specs.ts'
import { eventually, freePort, startTown, type Town } from '../support/town.ts'

let town: Town

beforeAll(async () => {
  town = await startTown({ dockerSocket: inject('dockerSocket') })
  const files = {
    ...shop(),
    ...service('fixed', {
      ports: [`127.0.0.1:${await freePort()}:8080`],
      volumes: ['data:/data'],
    }),
    ...service('greeter', { environment: { GREETING: 'hello' } }),
    ...site('docs', { source: { files: 'sites/docs' }, root: 'html' }),
    ...page('one'),
    ...site('inline', { source: { inline: { 'index.html': 'written in the spec' } } }),
  }
  for (const write of [files, page('two')]) {
    const commit = await town.push({ write })
    expect(await town.checkRun(commit, 'towline / deploy')).toMatchObject({ conclusion: 'success' })
  }
  const [fixed] = await town.containers('fixed')
  await runIn(town, fixed?.Id ?? '', 'echo precious > /data/file')
})

afterAll(async () => {
  await town[Symbol.asyncDispose]()
})

let before: Standing
beforeEach(async () => {
  await eventually('all that was told to be told', async () => {
    const runs = town.github.checkRuns(town.repo)
    return runs.length > 0 && runs.every(({ status }) => status === 'completed') ? true : null
  })
  before = await standing()
})

test('a start with its data folder lost knows all of it again: nothing is restarted, told or due', async () => {
  const runs = runNames()
  await loseData()
  await town.startTowline()
  expect(await due()).toEqual([])
  expect(await standing()).toEqual(before)
  expect(runNames()).toEqual(runs)
  expect(await dataOf('fixed')).toBe('precious')
})

test('what was rebuilt is healed as it was, with its ports, volume, environment and health check', async () => {
  for (const app of ['shop', 'fixed', 'greeter', 'docs']) {
    const [victim] = await town.containers(app)
    const found = await town.docker.getContainer(victim?.Id ?? '').inspect()
    await town.docker.getContainer(victim?.Id ?? '').remove({ force: true })
    await eventually(`${app} to be healed`, async () => {
      const now = (await town.containers(app)).find((container) => nameOf(container) === nameOf(victim))
      return now?.State === 'running' && now.Id !== victim?.Id ? true : null
    })
    const healed = await town.docker.getContainer(nameOf(victim)).inspect()
    expect(created(healed)).toEqual(created(found))
  }
  expect(await dataOf('fixed')).toBe('precious')
  expect(await drift()).toEqual([])
})

test('what was pushed while Towline had no records is deployed, once, and nothing else', async () => {
  const earlier = runNames()
  await loseData()
  const commit = await town.push({ write: service('greeter', { environment: { GREETING: 'changed' } }) })
  await town.startTowline()
  expect(await town.checkRun(commit, 'towline / greeter@local')).toMatchObject({ conclusion: 'success' })
  expect(await town.checkRun(commit, 'towline / deploy')).toMatchObject({ conclusion: 'success' })
  await eventually('the old container to go', async () =>
    (await town.containers('greeter')).length === 1 ? true : null,
  )
  expect(await town.fetchApp('greeter')).toContain('changed')
  expect(await due()).toEqual([])
  const { greeter: _, ...others } = await standing()
  expect(others).toEqual(without(before, 'greeter'))
  expect(runNames().slice(earlier.length).sort()).toEqual(['towline / deploy', 'towline / greeter@local'])
})

test('a release folder a rollback may need outlives the loss, and one that vanished meanwhile is healed', async () => {
  const runs = runNames()
  expect(await runInSite(town, 'docs', 'ls releases | wc -l')).toBe('2')
  await loseData()
  await runInSite(town, 'docs', 'rm -r releases/$(basename $(readlink current))')
  await town.startTowline()
  await eventually('the page to be back', async () =>
    (await town.fetchApp('docs').catch(() => '')).includes('two') ? true : null,
  )
  expect(await runInSite(town, 'docs', 'ls releases | wc -l')).toBe('2')
  expect(await drift()).toEqual([])
  expect(runNames()).toEqual(runs)
})

test('doctor --rebuild does the same without the server, which then finds nothing to do', async () => {
  const runs = runNames()
  await loseData()
  const ran = await doctor('--rebuild')
  expect(ran).toMatchObject({ code: 0, errors: '' })
  expect(ran.output).toContain('5 of 5 targets are known again. Nothing was changed on a host.')
  expect(ran.output).toMatch(/acme\/config:docs@local\S* +[0-9a-f]{12} +as the head says/)
  expect(await standing()).toEqual(before)
  expect(await doctor('--rebuild')).toMatchObject({
    code: 1,
    output: '',
    errors: expect.stringMatching(/has records of every host already.*\n.*--data/),
  })
  await town.startTowline()
  expect(await due()).toEqual([])
  expect(await standing()).toEqual(before)
  expect(runNames()).toEqual(runs)
  expect(await doctor('--rebuild')).toMatchObject({
    code: 1,
    errors: expect.stringContaining('is in use by process'),
  })
})

test('doctor --rebuild finds what another owner id made, and takes no other data folder for it', async () => {
  const owner = town.owner()
  await loseData()
  const nothing = await doctor('--rebuild', '--owner', '00000000-0000-4000-8000-000000000000')
  expect(nothing).toMatchObject({ code: 1, output: expect.stringContaining('Nothing was found') })
  const found = await doctor('--rebuild', '--owner', owner, '--json')
  expect(found.code).toBe(0)
  expect(JSON.parse(found.output)).toMatchObject({ owner, problems: [], targets: { length: 5 } })
  expect(await doctor('--rebuild', '--owner', '00000000-0000-4000-8000-000000000000')).toMatchObject({
    code: 1,
    errors: expect.stringContaining(`holds records of the installation ${owner}`),
  })
  expect(await doctor('--rebuild', '--owner', '../../etc')).toMatchObject({
    code: 1,
    errors: expect.stringContaining('is no owner id'),
  })
  await town.startTowline()
  expect(await due()).toEqual([])
  expect(await standing()).toEqual(before)
})

test('at the end GitHub was asked rightly and no secret shows', () => expectCleanEnd(town))

/** What a container was created from, without what Docker fills in for each anew. */
function created({ Config, HostConfig }: ContainerInspectInfo) {
  const { Hostname: _, ...config } = Config
  return { config, host: HostConfig }
}

function shop(): Record<string, string> {
  return service('shop', {
    environment: { GREETING: 'Welcome', RETRIES: 3 },
    user: '0:0',
    working_dir: '/tmp',
    restart: 'on-failure:3',
    labels: { 'com.example.team': 'web' },
    stop_grace_period: '2s',
    deploy: {
      replicas: 2,
      resources: { limits: { cpus: '0.5', memory: '64M' } },
      update_config: { monitor: '0s' },
    },
  })
}

function page(text: string): Record<string, string> {
  return { 'sites/docs/html/index.html': `<h1>${text}</h1>` }
}

/** All that shows whether something was touched: ids and starts of containers, and the links of Sites. */
type Standing = Record<string, string[]>

async function standing(): Promise<Standing> {
  const found: Standing = {}
  for (const app of ['shop', 'fixed', 'greeter', 'docs', 'inline']) {
    const containers = await town.containers(app)
    const details = await Promise.all(containers.map(({ Id }) => town.docker.getContainer(Id).inspect()))
    found[app] = details.map(({ Id, State }) => `${Id} ${State.Status} ${State.StartedAt}`).sort()
  }
  for (const app of ['docs', 'inline']) {
    const links = await runInSite(town, app, 'readlink current; readlink webroot; stat -c %Y current webroot')
    found[app]?.push(links)
  }
  return found
}

function without(all: Standing, app: string): Standing {
  return Object.fromEntries(Object.entries(all).filter(([name]) => name !== app))
}

async function loseData(): Promise<void> {
  await town.stopTowline()
  await rm(join(town.environment.TOWLINE_DATA ?? 'none'), { recursive: true })
}

/** Everything the trigger finds to be done. */
async function due(): Promise<{ drift: unknown[] }[]> {
  const found = (await town.sweep()) as { hosts: { due: { drift: unknown[] }[] }[] }
  return found.hosts.flatMap((host) => host.due)
}

/** What of it is not as it should be; the rest is to be told only. */
async function drift(): Promise<unknown[]> {
  return (await due()).flatMap((found) => found.drift)
}

/** Deployments and revisions; what was healed meanwhile is told in runs of its own. */
function runNames(): string[] {
  const names = town.github.checkRuns(town.repo).map(({ name }) => name)
  return names.filter((name) => !name.startsWith('towline / drift'))
}

async function dataOf(app: string): Promise<string> {
  const [container] = await town.containers(app)
  return runIn(town, container?.Id ?? '', 'cat /data/file')
}

async function doctor(...argv: string[]): Promise<{ code: number; output: string; errors: string }> {
  let [output, errors] = ['', '']
  const code = await runCommand(['doctor', ...argv], {
    variables: town.environment,
    signal: new AbortController().signal,
    streams: {
      stdout: { write: (text) => (output += text) },
      stderr: { write: (text) => (errors += text) },
    },
  })
  return { code, output, errors }
}
