import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import Docker from 'dockerode'
import { afterEach, beforeEach, expect, inject, test } from 'vitest'
import { runCommand } from '../../src/cli/main.ts'
import { phases } from '../../src/rollout/phase.ts'
import { openEmbeddedStore } from '../../src/store/embedded.ts'
import { createBareRepo, openWorkTree } from '../support/git-server.ts'
import { runIn } from '../support/host-shell.ts'
import { eventually, freePort, removeOwned, serverYaml } from '../support/town.ts'

const docker = new Docker({ socketPath: inject('dockerSocket') })

/** A folder of specs, a server.yaml and a data folder: new for every test. */
let root: string
let dir: string
/** Id of the installation whose data folder it is. */
let owner: string

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'towline-cli-'))
  dir = join(root, 'specs')
  await mkdir(dir)
  await writeFile(join(root, 'server.yaml'), serverYaml(inject('dockerSocket')))
  const store = await openStore()
  owner = store.owner
  await store.close()
})

afterEach(async () => {
  await removeOwned(docker, owner)
  await rm(root, { recursive: true, force: true })
})

test('validate says how many specs are good, and needs no Docker host for it', async () => {
  await write({ ...service('one'), ...service('two') })
  const ran = await run(['validate', dir], { variables: { DOCKER_HOST: 'unix:///nowhere/docker.sock' } })
  expect(ran).toEqual({ code: 0, output: '2 specs are good\n', errors: '' })
})

test('validate prints each problem at its place, with what would be right', async () => {
  await write({ 'apps/bad.yaml': `${text('bad')}restarts: always\n`, ...service('good') })
  expect(await run(['validate', dir])).toEqual({
    code: 1,
    output:
      'apps/bad.yaml:8:1 unknown key `restarts`\n  Did you mean `restart`?\n1 problem; 1 spec is good\n',
    errors: '',
  })
})

test('validate says where it looked when there is no spec', async () => {
  expect(await run(['validate', dir])).toMatchObject({
    code: 0,
    output: 'No specs were found: Towline looks for apps/**/*.{yaml,yml}\n',
  })
})

test.each([
  [[]],
  [['validate']],
  [['destroy', '.']],
  [['plan', '.', 'more']],
  [['plan', '.', '--force']],
  [['plan', '.', '--data']],
])('%j is answered with the usage on the error stream', async (argv) => {
  const { code, output, errors } = await run(argv, { bare: true })
  expect({ code, output }).toEqual({ code: 1, output: '' })
  expect(errors).toContain('towline <validate|plan|apply> <dir>')
})

test('--help prints the usage', async () => {
  expect(await run(['--help'], { bare: true })).toMatchObject({
    code: 0,
    output: expect.stringContaining('towline <validate|plan|apply> <dir>'),
    errors: '',
  })
})

test.each(['validate', 'plan', 'apply'])('%s names a folder that is not there', async (verb) => {
  const { code, output, errors } = await run([verb, join(root, 'nowhere')])
  expect({ code, output }).toEqual({ code: 1, output: '' })
  expect(errors).toContain(join(root, 'nowhere'))
  expect(errors).toContain('Name a folder that exists')
})

test.each(['validate', 'plan', 'apply'])('%s prints what is wrong with server.yaml', async (verb) => {
  const path = join(root, 'server.yaml')
  await writeFile(path, 'apiVersion: towline/v1\nkind: Server\nlimit: {}\n')
  expect(await run([verb, dir])).toEqual({
    code: 1,
    output: '',
    errors: `server.yaml cannot be used:\n- ${path}:3:1 unknown key \`limit\`. Did you mean \`limits\`?\n`,
  })
})

test('plan shows each step and changes nothing; apply takes them phase by phase; then nothing is to change', async () => {
  await write(service('hello'))
  const planned = await run(['plan', dir])
  expect(planned).toMatchObject({ code: 2, errors: '' })
  expect(planned.output).toMatch(/^deploy {2}local\/specs:hello@local: the spec changed\n/)
  expect(planned.output).toContain('  use image towline-demo/hello:1 (')
  expect(planned.output).toContain('  start container towline-hello-')
  expect(planned.output).toContain('1 of 1 targets would change.\n')
  expect(await containers('hello')).toEqual([])

  const applied = await run(['apply', dir])
  expect(applied).toMatchObject({ code: 0, errors: '' })
  const shown = [...applied.output.matchAll(/@local (\w+)/g)].map(([, phase = '']) => rank(phase))
  expect(shown).toEqual(shown.toSorted((a, b) => a - b))
  expect(shown.length).toBeGreaterThan(3)
  expect(applied.output).toMatch(/hello@local active\n1 of 1 targets stand as the folder says\.\n$/)
  expect(await answer('hello')).toContain('version 1')

  const before = await containers('hello')
  expect(await run(['plan', dir])).toMatchObject({
    code: 0,
    output: expect.stringMatching(/^none .*\nNothing to change\.\n$/),
  })
  expect(await run(['apply', dir])).toMatchObject({ code: 0 })
  expect(ids(await containers('hello'))).toEqual(ids(before))

  await write(service('hello', { image: 'towline-demo/hello:2' }))
  expect(await run(['plan', dir])).toMatchObject({ code: 2 })
  expect(await run(['apply', dir])).toMatchObject({ code: 0 })
  expect(await answer('hello')).toContain('version 2')
  expect(await containers('hello')).toHaveLength(1)
})

test('with pruning on, plan shows what leaves with its steps, and apply takes it off the host', async () => {
  await write({ 'towline.yaml': 'prune: { enabled: true, delay: 0s, max: 1 }\n', ...service('old') })
  await write({ ...service('older'), ...service('stays') })
  await run(['apply', dir])
  const stays = await containers('stays')

  await rm(join(dir, 'apps/old.yaml'))
  await rm(join(dir, 'apps/older.yaml'))
  const refused = await run(['apply', dir])
  expect(refused).toMatchObject({ code: 1, errors: expect.stringContaining('prune.max is 1') })
  expect(await containers('old')).toHaveLength(1)

  await write(service('older'))
  const planned = await run(['plan', dir])
  expect(planned.code).toBe(2)
  expect(planned.output).toMatch(/^remove {2}local\/specs:old@local: left the repo\n {2}remove container /m)
  expect(await containers('old')).toHaveLength(1)

  const applied = await run(['apply', dir])
  expect(applied).toMatchObject({ code: 0, errors: '' })
  expect(applied.output).toContain('local/specs:old@local left the folder and is removed\n')
  expect(await containers('old')).toEqual([])
  expect(ids(await containers('stays'))).toEqual(ids(stays))
  expect(await run(['plan', dir])).toMatchObject({
    code: 0,
    output: expect.not.stringContaining('old@local'),
  })
})

test('with --json each line of the output is one JSON value', async () => {
  await write({ ...service('hello'), 'apps/bad.yaml': 'kind: Nothing\n' })
  const problems = [expect.objectContaining({ path: 'apps/bad.yaml', line: 1 })]
  expect(await json(['validate', dir])).toEqual({ code: 1, values: [{ specCount: 1, problems }] })

  const target = expect.stringMatching(/hello@local$/)
  expect(await json(['plan', dir])).toEqual({
    code: 1,
    values: [{ targets: [expect.objectContaining({ target, action: 'deploy' })], problems }],
  })
  const { code, values } = await json(['apply', dir])
  expect(code).toBe(1)
  expect(values).toContainEqual({ problems, paused: [], removals: [], pruneRefused: null })
  expect(values.at(-1)).toMatchObject({
    target,
    phase: 'active',
    progress: 100,
    result: { kind: 'succeeded' },
  })
})

test('colours are for terminals only, and never in JSON', async () => {
  await write(service('hello'))
  const colour = '\u001B['
  expect((await run(['validate', dir], { isTTY: true })).output).toContain(colour)
  expect((await run(['plan', dir], { isTTY: true })).output).toContain(colour)
  expect((await run(['plan', dir, '--json'], { isTTY: true })).output).not.toContain(colour)
  for (const verb of ['validate', 'plan', 'apply']) {
    expect((await run([verb, dir])).output).not.toContain(colour)
  }
})

test('an app that fails is told with its last words, tried again by the next apply, and mended by a good spec', async () => {
  await write({ ...service('shop', { image: 'towline-demo/crash:1' }), ...service('other') })
  const failed = await run(['apply', dir])
  expect(failed.code).toBe(1)
  expect(failed.output).toMatch(/shop@local failed in \w+: container .*exit code 1\n/)
  expect(failed.output).toContain('  The release before: there was none')
  expect(failed.output).toContain('    cannot open the database\n')
  expect(failed.output).toMatch(/\n1 of 2 targets stand as the folder says\.\n$/)
  expect(await answer('other')).toContain('version 1')

  expect(await run(['plan', dir])).toMatchObject({
    code: 2,
    output: expect.stringContaining('shop@local: its last deployment failed'),
  })
  const again = await run(['apply', dir])
  expect(again.code).toBe(1)
  expect(again.output).toContain('    cannot open the database\n')

  await write(service('shop'))
  expect(await run(['apply', dir])).toMatchObject({ code: 0 })
  expect(await answer('shop')).toContain('version 1')
})

test('a broken spec fails the command and is left out; the others are applied', async () => {
  await write({ ...service('good'), 'apps/bad.yaml': `${text('bad')}replicas: 2\n` })
  const { code, output } = await run(['apply', dir])
  expect(code).toBe(1)
  expect(output).toContain('apps/bad.yaml:8:1 unknown key `replicas`')
  expect(output).toContain('1 of 1 targets stand as the folder says.')
  expect(await answer('good')).toContain('version 1')
})

test('what drifted is planned with what was found, and apply says what it healed', async () => {
  await write(service('hello'))
  await run(['apply', dir])
  const [container] = await containers('hello')
  await docker.getContainer(container?.Id ?? '').remove({ force: true })
  const planned = await run(['plan', dir])
  expect(planned.code).toBe(2)
  expect(planned.output).toMatch(/^heal .*hello@local: the host drifted from the applied release\n/)
  expect(planned.output).toMatch(/ {2}container towline-hello-\S+: state is missing, should be running\n/)

  const applied = await run(['apply', dir])
  expect(applied.code).toBe(0)
  expect(applied.output).toMatch(/healed: container towline-hello-\S+: state was missing, is running again\n/)
  expect(await answer('hello')).toContain('version 1')
  expect(await run(['plan', dir])).toMatchObject({ code: 0 })
})

test('healing that fails ends the command with what is still wrong, and the next apply tries again', async () => {
  const port = await freePort()
  await write(service('fixed', { port: `127.0.0.1:${port}:8080` }))
  await run(['apply', dir])
  const [container] = await containers('fixed')
  await docker.getContainer(container?.Id ?? '').remove({ force: true })
  const squatter = createServer().listen(port, '127.0.0.1')
  const failed = await run(['apply', dir])
  await new Promise((resolve) => squatter.close(resolve))
  expect(failed.code).toBe(1)
  expect(failed.errors).toMatch(/fixed@local: could not be healed \(container \S+: state is missing/)
  expect(failed.output).not.toContain('healed')

  expect(await run(['apply', dir])).toMatchObject({ code: 0, output: expect.stringContaining('healed: ') })
  expect(await answer('fixed')).toContain('version 1')
})

test('an image nobody has blocks the plan of its own app only', async () => {
  await write({ ...service('lost', { image: 'towline-demo/nowhere:1' }), ...service('there') })
  const { code, output } = await run(['plan', dir])
  expect(code).toBe(1)
  expect(output).toMatch(/^blocked \S+lost@local: local has no image towline-demo\/nowhere:1/m)
  expect(output).toMatch(/^deploy {2}\S+there@local: the spec changed\n {2}use image/m)
})

test('a host that is away blocks the plan and fails the command', async () => {
  await write(service('hello'))
  await writeFile(join(root, 'server.yaml'), serverYaml(join(root, 'no.sock')))
  const { code, output } = await run(['plan', dir])
  expect(code).toBe(1)
  expect(output).toMatch(/^blocked \S+hello@local: /m)
})

test('without a server.yaml the host is the one of DOCKER_HOST', async () => {
  await write(service('hello'))
  const ran = await run(['plan', dir, '--data', join(root, 'data')], {
    bare: true,
    variables: { DOCKER_HOST: `unix://${inject('dockerSocket')}` },
  })
  expect(ran).toMatchObject({ code: 2, output: expect.stringContaining('1 of 1 targets would change.') })
})

test('an app starts after what it depends on, without a wait in between', { timeout: 25_000 }, async () => {
  await write({
    ...service('a-front', { more: 'dependsOn: [z-back]' }),
    ...service('z-back', { image: 'towline-demo/crash:1' }),
  })
  const failed = await run(['apply', dir])
  expect(failed.code).toBe(1)
  expect(failed.output).toContain('depends on z-back, which failed')
  expect(await containers('a-front')).toEqual([])

  await write(service('z-back'))
  const applied = await run(['apply', dir])
  expect(applied).toMatchObject({ code: 0, errors: '' })
  expect(applied.output.indexOf('z-back@local active')).toBeLessThan(
    applied.output.indexOf('a-front@local pulling_source'),
  )
})

test('a paused app is left as it is, and that is no failure', async () => {
  await write({ ...service('held', { more: 'paused: { reason: stock-taking }' }), ...service('free') })
  expect(await run(['plan', dir])).toMatchObject({
    code: 2,
    output: expect.stringMatching(/^paused {2}\S+held@local: stock-taking$/m),
  })
  const applied = await run(['apply', dir])
  expect(applied).toMatchObject({ code: 0, errors: '' })
  expect(applied.output).toMatch(/^\S+held@local paused: stock-taking$/m)
  expect(await containers('held')).toEqual([])
  expect(await answer('free')).toContain('version 1')
})

test('a Site is served from the folder, replaced when a file changes, and healed after later commits', async () => {
  const bare = await createBareRepo(root, 'acme/config')
  await using work = await openWorkTree({ remote: bare })
  const page = (body: string) => ({ 'sites/docs/index.html': `<h1>${body}</h1>` })
  await work.commit({ write: { ...site('docs'), ...page('one') } })
  expect(await run(['apply', work.dir])).toMatchObject({ code: 0 })
  expect(await answer('docs')).toBe('<h1>one</h1>')

  await work.commit({ write: page('two') })
  expect(await run(['plan', work.dir])).toMatchObject({
    code: 2,
    output: expect.stringContaining('point current to'),
  })
  expect(await run(['apply', work.dir])).toMatchObject({ code: 0 })
  expect(await answer('docs')).toBe('<h1>two</h1>')

  await work.commit({ write: { 'README.md': 'something else' } })
  const filters = { label: [`towline.owner=${owner}`, 'towline.role=files'] }
  const [helper] = await docker.listContainers({ filters })
  await runIn({ docker }, helper?.Id ?? '', 'rm -r /towline/sites/docs-*/releases/*')
  expect(await run(['apply', work.dir])).toMatchObject({
    code: 0,
    errors: '',
    output: expect.stringContaining('healed: '),
  })
  expect(await answer('docs')).toBe('<h1>two</h1>')
})

test('a data folder a server works on is refused, and the server is named', async () => {
  await write(service('hello'))
  const store = await openStore()
  for (const verb of ['plan', 'apply']) {
    const { code, output, errors } = await run([verb, dir])
    expect({ code, output }).toEqual({ code: 1, output: '' })
    expect(errors).toContain(`is in use by process ${process.pid}`)
    expect(errors).toContain('Stop that process first')
  }
  await store.close()
  expect(await run(['plan', dir])).toMatchObject({ code: 2 })
})

test('an apply that is stopped leaves nothing doubled: the next one goes on', async () => {
  await write(service('slow', { image: 'towline-demo/slow:1', startPeriod: '30s' }))
  const stop = new AbortController()
  const stopped = run(['apply', dir], { signal: stop.signal })
  await eventually('the container to start', async () => (await containers('slow')).at(0))
  stop.abort(new Error('stopped by the test'))
  expect(await stopped).toMatchObject({ code: 1, errors: expect.stringContaining('stopped by the test') })
  expect(await run(['apply', dir])).toMatchObject({ code: 0 })
  expect(await containers('slow')).toHaveLength(1)
  expect(await answer('slow')).toContain('version slow')
})

type Settings = { image?: string; port?: string; startPeriod?: string; more?: string }

function text(name: string, { image = 'towline-demo/hello:1', port = '8080' }: Settings = {}): string {
  return `apiVersion: towline/v1
kind: Service
name: ${name}
image: ${image}
pull_policy: never
ports: ["${port}"]
stop_grace_period: 1s
`
}

function service(name: string, settings: Settings = {}): Record<string, string> {
  const spec = `${text(name, settings)}healthcheck:
  test: [CMD, wget, -q, -O, /dev/null, "http://127.0.0.1:8080/healthz"]
  interval: 500ms
  start_period: ${settings.startPeriod ?? '0s'}
deploy: { update_config: { monitor: 0s } }
${settings.more ?? ''}
`
  return { [`apps/${name}.yaml`]: spec }
}

function site(name: string): Record<string, string> {
  const spec = `apiVersion: towline/v1
kind: Site
name: ${name}
source: { files: sites/${name} }
ports: ["80"]
deploy: { update_config: { monitor: 0s } }
`
  return { [`apps/${name}.yaml`]: spec }
}

async function write(files: Record<string, string>): Promise<void> {
  for (const [path, content] of Object.entries(files)) {
    await mkdir(dirname(join(dir, path)), { recursive: true })
    await writeFile(join(dir, path), content)
  }
}

/** Runs a command as `towline` does; unless `bare`, with the server.yaml and the data folder of this test. */
async function run(
  argv: string[],
  options: { variables?: Record<string, string>; isTTY?: boolean; bare?: boolean; signal?: AbortSignal } = {},
) {
  const { variables = {}, isTTY = false, bare = false } = options
  const settings = { TOWLINE_CONFIG: join(root, 'server.yaml'), TOWLINE_DATA: join(root, 'data') }
  const stdout = capture(isTTY)
  const stderr = capture(isTTY)
  const code = await runCommand(argv, {
    variables: { ...(bare ? {} : settings), ...variables },
    signal: options.signal ?? new AbortController().signal,
    streams: { stdout, stderr },
  })
  return { code, output: stdout.text(), errors: stderr.text() }
}

function capture(isTTY: boolean) {
  const written: string[] = []
  return { isTTY, write: (piece: string) => written.push(piece), text: () => written.join('') }
}

async function json(argv: string[]): Promise<{ code: number; values: unknown[] }> {
  const { code, output } = await run([...argv, '--json'])
  const lines = output.trimEnd().split('\n')
  return { code, values: lines.map((line): unknown => JSON.parse(line)) }
}

/** As a server does. */
function openStore() {
  return openEmbeddedStore({ folder: join(root, 'data', 'store'), onDamage: () => {} })
}

async function containers(app: string) {
  const filters = { label: [`towline.owner=${owner}`, `towline.app=${app}`] }
  return docker.listContainers({ all: true, filters })
}

async function answer(app: string): Promise<string> {
  const published = (await containers(app)).flatMap(({ Ports }) => Ports).find(({ PublicPort }) => PublicPort)
  const found = await fetch(`http://127.0.0.1:${published?.PublicPort}/`, {
    signal: AbortSignal.timeout(5_000),
  })
  return found.text()
}

function ids(found: { Id: string }[]): string[] {
  return found.map(({ Id }) => Id)
}

function rank(phase: string): number {
  return (phases as readonly string[]).indexOf(phase)
}
