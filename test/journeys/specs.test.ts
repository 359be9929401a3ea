import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { expectCleanEnd } from '../support/clean-end.ts'
import type { Changes } from '../support/git-server.ts'
import { startTown, type Town } from '../support/town.ts'

let town: Town
/** Every test starts from this commit: what one leaves behind in the repo troubles no other. */
let base: string

beforeAll(async () => {
  town = await startTown({ dockerSocket: inject('dockerSocket') })
  base = await town.push({ write: service('steady') })
  expect(await town.checkRun(base, overall)).toMatchObject({ conclusion: 'success' })
})

afterAll(async () => {
  await town[Symbol.asyncDispose]()
})

test('a broken spec is annotated where it is wrong, keeps its release, and holds up no other app', async () => {
  await pushOnto({ write: { ...service('menu'), ...service('other') } })
  const before = await town.containers('menu')
  const broken = `${text('menu', { image: 'towline-demo/hello:2' })}restarts: always
deploy:
  replicas: many
environment: { GREETING: [Hello] }
`
  const commit = await town.push({
    write: { 'apps/menu.yaml': broken, ...service('other', { image: 'towline-demo/hello:2' }) },
  })
  const run = await town.checkRun(commit, overall)
  expect(run).toMatchObject({
    conclusion: 'failure',
    title: '3 problems, 1 active, 1 unchanged',
    summary: expect.stringContaining('The apps behind them keep their release until they are mended.'),
    text: expect.stringContaining('- `apps/menu.yaml:7:1` unknown key \\`restarts\\` Did you mean'),
  })
  expect(run.annotations).toEqual([
    annotation('apps/menu.yaml', {
      at: [7, 1, 9],
      message: 'unknown key `restarts`\nDid you mean `restart`?',
    }),
    annotation('apps/menu.yaml', {
      at: [9, 13, 17],
      message:
        '/deploy/replicas: "many" is not a whole number from 1 to 50\nWrite a whole number from 1 to 50',
    }),
    annotation('apps/menu.yaml', {
      at: [10, 16, 24],
      message:
        '/environment/GREETING: a list is not a string, number or boolean\nWrite a string, number or boolean',
    }),
  ])
  expect(runNames(commit)).toEqual([overall, 'towline / other@local'])
  expect(await town.fetchApp('other')).toContain('version 2')
  expect(ids(await town.containers('menu'))).toEqual(ids(before))
  expect(await town.fetchApp('menu')).toContain('version 1')

  const mended = await town.push({ write: service('menu', { image: 'towline-demo/hello:2' }) })
  expect(await town.checkRun(mended, overall)).toMatchObject({
    conclusion: 'success',
    title: '1 active, 2 unchanged',
    annotations: [],
  })
  expect(await town.fetchApp('menu')).toContain('version 2')
})

test('a new app with a broken spec fails its commit and deploys nothing', async () => {
  const commit = await pushOnto({ write: { 'apps/draft.yaml': 'apiVersion: towline/v1\nkind: Servise\n' } })
  const run = await town.checkRun(commit, overall)
  expect(run).toMatchObject({ conclusion: 'failure', title: '1 problem, 1 unchanged' })
  expect(run.annotations).toEqual([
    annotation('apps/draft.yaml', {
      at: [2, 7, 14],
      message:
        '/kind: "Servise" is not a kind of spec\nWrite `kind: Service` (containers) or `kind: Site` (static files)',
    }),
  ])
  expect(runNames(commit)).toEqual([overall])
})

test('text that is no YAML is annotated at the line where it breaks off', async () => {
  const commit = await pushOnto({ write: { 'apps/cut.yaml': `${text('cut')}command: [serve\n` } })
  const { annotations } = await town.checkRun(commit, overall)
  expect(annotations).toEqual([
    annotation('apps/cut.yaml', {
      at: [7, 16, 16],
      message: expect.stringMatching(/^not valid YAML: .+\nCheck .*bracket/),
    }),
  ])
})

test('a key that is planned says so, and what to do until then', async () => {
  const commit = await pushOnto({
    write: { 'apps/routed.yaml': `${text('routed')}routes: [{ domain: shop.example.com, port: 8080 }]\n` },
  })
  const { annotations } = await town.checkRun(commit, overall)
  expect(annotations).toEqual([
    annotation('apps/routed.yaml', {
      at: [7, 1, 7],
      message:
        '`routes` is not supported yet\nPublish a port with `ports: ["8080:80"]` and route to it yourself',
    }),
  ])
  expect(await town.containers('routed')).toEqual([])
})

test('more problems than GitHub takes in one request arrive in pages, each once, before the run is complete', async () => {
  const keys = Array.from({ length: 60 }, (_, index) => `x${index}: 1`).join('\n')
  const commit = await pushOnto({
    write: { 'apps/a.yaml': `${text('many-a')}${keys}\n`, 'apps/b.yaml': `${text('many-b')}${keys}\n` },
  })
  const run = await town.checkRun(commit, overall)
  expect(run).toMatchObject({ conclusion: 'failure', title: '120 problems, 1 unchanged' })
  const places = run.annotations.map(({ path, start_line }) => `${path}:${start_line}`)
  expect(places).toHaveLength(120)
  expect(new Set(places).size).toBe(120)
  expect(run.history.map(({ status, annotationCount }) => [status, annotationCount])).toEqual([
    ['in_progress', 50],
    ['in_progress', 100],
    ['completed', 120],
  ])
})

test('while towline.yaml is broken nothing is deployed, and mending it deploys what waited', async () => {
  await pushOnto({ write: service('patient') })
  const broken = { 'towline.yaml': 'apiVersion: towline/v1\nkind: Towline\nspec: ["apps/*.yaml"]\n' }
  const commit = await town.push({
    write: { ...broken, ...service('patient', { image: 'towline-demo/hello:2' }), ...service('newcomer') },
  })
  const run = await town.checkRun(commit, overall)
  expect(run).toMatchObject({ conclusion: 'failure', title: '1 problem' })
  expect(run.annotations).toEqual([
    annotation('towline.yaml', { at: [3, 1, 5], message: 'unknown key `spec`\nDid you mean `specs`?' }),
  ])
  expect(runNames(commit)).toEqual([overall])
  expect(await town.fetchApp('patient')).toContain('version 1')
  expect(await town.containers('newcomer')).toEqual([])

  const mended = await town.push({ remove: ['towline.yaml'] })
  expect(await town.checkRun(mended, overall)).toMatchObject({ conclusion: 'success' })
  expect(await town.fetchApp('patient')).toContain('version 2')
  expect(await town.fetchApp('newcomer')).toContain('version 1')
})

test('specs are read from where towline.yaml says, and from nowhere else', async () => {
  const commit = await pushOnto({
    write: {
      'towline.yaml': 'apiVersion: towline/v1\nkind: Towline\nspecs: ["deploy/*.yaml", apps/steady.yaml]\n',
      'deploy/moved.yaml': `${text('moved')}${proven}`,
      'deploy/deeper/unread.yaml': text('unread'),
      ...service('unread-too'),
    },
  })
  expect(await town.checkRun(commit, overall)).toMatchObject({
    conclusion: 'success',
    title: '1 active, 1 unchanged',
  })
  expect(runNames(commit)).toEqual([overall, 'towline / moved@local'])
})

test('a link or a submodule in place of a spec is refused at its path, and never followed', async () => {
  const commit = await pushOnto({
    write: { 'elsewhere/linked.yaml': text('linked') },
    links: { 'apps/linked.yaml': '../elsewhere/linked.yaml', 'apps/outside.yaml': '/etc/hostname' },
    submodules: { 'apps/module.yaml': base },
  })
  const { annotations } = await town.checkRun(commit, overall)
  const refused = (path: string, kind: string) =>
    annotation(path, {
      at: [1, 1, 1],
      message: `${kind} stands where a file is expected\nPut the file itself here`,
    })
  expect(annotations).toEqual([
    refused('apps/linked.yaml', 'a symbolic link'),
    refused('apps/module.yaml', 'a submodule'),
    refused('apps/outside.yaml', 'a symbolic link'),
  ])
  expect(runNames(commit)).toEqual([overall])
})

test('a spec of more than 1 MiB is refused, and its app goes on serving', async () => {
  await pushOnto({ write: service('huge') })
  const large = `${text('huge', { image: 'towline-demo/hello:2' })}#${'x'.repeat(1024 * 1024)}\n`
  const commit = await town.push({ write: { 'apps/huge.yaml': large } })
  const { annotations } = await town.checkRun(commit, overall)
  expect(annotations).toEqual([
    annotation('apps/huge.yaml', {
      at: [1, 1, 1],
      message: expect.stringMatching(`has ${large.length} bytes; at most 1048576 are read\n.+`),
    }),
  ])
  expect(await town.fetchApp('huge')).toContain('version 1')
})

test('of two specs with one name neither is deployed, and each names the other', async () => {
  await pushOnto({ write: service('twin') })
  const commit = await town.push({
    write: { 'apps/z.yaml': text('twin', { image: 'towline-demo/hello:2' }) },
  })
  const { annotations } = await town.checkRun(commit, overall)
  const double = (path: string, other: string) =>
    annotation(path, {
      at: [3, 7, 11],
      message: `/name: "twin" is also the name of the spec at ${other}\nGive each spec a name of its own`,
    })
  expect(annotations).toEqual([
    double('apps/twin.yaml', 'apps/z.yaml:3'),
    double('apps/z.yaml', 'apps/twin.yaml:3'),
  ])
  expect(runNames(commit)).toEqual([overall])
  expect(await town.fetchApp('twin')).toContain('version 1')
})

test('a Site whose folder is not in the repo is refused at the line that names it', async () => {
  const site = `apiVersion: towline/v1
kind: Site
name: lost
source:
  files: sites/lsot
ports: ["80"]
`
  const commit = await pushOnto({
    write: { 'apps/lost.yaml': site, 'sites/lost/index.html': '<h1>lost</h1>' },
  })
  const { annotations } = await town.checkRun(commit, overall)
  expect(annotations).toEqual([
    annotation('apps/lost.yaml', {
      at: [5, 10, 20],
      message:
        '/source/files: there is no folder "sites/lsot" in the config repo\n' +
        'Name a folder of this repo, from its root, such as sites/docs',
    }),
  ])
})

test('at the end GitHub was asked rightly and no secret shows', () => expectCleanEnd(town))

const overall = 'towline / deploy'

const proven = 'deploy: { update_config: { monitor: 0s } }\n'

type Settings = { image?: string }

function text(name: string, { image = 'towline-demo/hello:1' }: Settings = {}): string {
  return `apiVersion: towline/v1
kind: Service
name: ${name}
image: ${image}
ports: ["8080"]
stop_grace_period: 1s
`
}

function service(name: string, settings: Settings = {}): Record<string, string> {
  return { [`apps/${name}.yaml`]: text(name, settings) + proven }
}

/** Commits onto the first commit, whatever was pushed since, pushes, and waits until Towline is done with it. */
async function pushOnto(changes: Changes): Promise<string> {
  await town.work.reset(base)
  const commit = await town.work.commit(changes)
  await town.work.push({ force: true })
  await town.checkRun(commit, overall)
  return commit
}

/** As GitHub got it. `at` is line, first column, column behind the last character. */
function annotation(path: string, { at, message }: { at: [number, number, number]; message: unknown }) {
  const [line, column, endColumn] = at
  return {
    path,
    start_line: line,
    end_line: line,
    start_column: column,
    end_column: endColumn,
    annotation_level: 'failure',
    title: 'Towline cannot use this spec',
    message,
  }
}

function ids(containers: { Id: string }[]): string[] {
  return containers.map(({ Id }) => Id)
}

function runNames(commit: string): string[] {
  return town.github
    .checkRuns(town.repo, commit)
    .map(({ name }) => name)
    .sort()
}
