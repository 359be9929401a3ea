/**
 * `npm run demo`: Towline at work on this machine. Real git over HTTP, a real Docker Engine, the embedded store, and a
 * GitHub stand-in that speaks GitHub's API. With `--once` it ends after the tour, cleans up and exits with 0.
 */
import { readdir, readFile } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { styleText } from 'node:util'
import { Octokit } from '@octokit/rest'
import { testEngine } from '../support/docker-daemon.ts'
import { runInSite } from '../support/host-shell.ts'
import { buildTestImages } from '../support/images.ts'
import { setUp } from '../support/set-up.ts'
import { eventually, serverYaml, startTown, type Town } from '../support/town.ts'

const once = process.argv.includes('--once')
const fixture = join(import.meta.dirname, '../../fixtures/config-repo')

process.exitCode = await main()

async function main(): Promise<number> {
  const ready = await setUp({ dockerHost: process.env.DOCKER_HOST })
  if (ready !== 0) return ready
  say('Starting a Docker Engine and building two small images …')
  const engine = await testEngine({ name: 'demo', dockerHost: process.env.DOCKER_HOST })
  try {
    await buildTestImages(engine.socketPath)
    say('Starting the GitHub stand-in and Towline …')
    const yaml = serverYaml(engine.socketPath).replace('sweep: "0 0 1 1 *"', 'sweep: "* * * * *"')
    await using town = await startTown({
      dockerSocket: engine.socketPath,
      ownProcess: true,
      serverYaml: yaml,
    })
    await tour(town)
    if (!once) await stay(town)
    say('Cleaning up …')
    return 0
  } finally {
    await engine.stop()
  }
}

async function tour(town: Town): Promise<void> {
  heading('1. git push: a Service and a Site')
  const commit = await showPhases(town, async () => town.push({ write: await readFixture() }))
  await printCheckRuns(town, commit)
  await printAnswer(town, 'hello')
  await printAnswer(town, 'docs')

  heading('2. git push: the Service gets a new image')
  const spec = await readFile(join(fixture, 'apps/hello.yaml'), 'utf8')
  const update = spec.replace('towline-demo/hello:1', 'towline-demo/hello:2')
  const second = await showPhases(town, () => town.push({ write: { 'apps/hello.yaml': update } }))
  await printAnswer(town, 'hello')

  heading('3. Re-run, as the button on the check run does')
  const clicked = await town.checkRun(second, 'towline / hello@local')
  await showPhases(town, async () => {
    town.github.rerequestRun(clicked.id)
    await eventually('the new run', async () => {
      const run = town.github.checkRuns(town.repo, second).findLast(({ name }) => name === clicked.name)
      return run && run.id !== clicked.id ? run : null
    })
    return second
  })
  await printCheckRuns(town, second)

  heading('4. A container is deleted by hand')
  const [victim] = await town.containers('hello')
  if (!victim) throw new Error('the demo has no container to delete')
  await town.docker.getContainer(victim.Id).remove({ force: true })
  say(`deleted  ${victim.Names[0]}`)
  const healed = await eventually('the container to come back', async () => {
    const found = await town.containers('hello')
    return found.find(
      ({ Names, State, Id }) => Names[0] === victim.Names[0] && State === 'running' && Id !== victim.Id,
    )
  })
  good(`is back  ${healed.Names[0]} (${healed.Status})`)

  heading('5. A release link is pointed elsewhere by hand')
  await runInSite(town, 'docs', 'ln -sfn releases/nowhere current')
  say('broken   current → releases/nowhere')
  await town.sweep()
  const target = await eventually('the link to be right again', async () => {
    const link = await runInSite(town, 'docs', 'readlink current')
    return link !== 'releases/nowhere' ? link : null
  })
  good(`is back  current → ${target}`)
  await printAnswer(town, 'docs')
}

/** Prints each state of each check run of a commit as Towline writes it, until all of them are complete. */
async function showPhases(town: Town, act: () => Promise<string>): Promise<string> {
  const before = town.github.checkRuns(town.repo).length
  const began = Date.now()
  const commit = await act()
  say(`commit   ${commit.slice(0, 12)}`)
  const printed = new Map<number, number>()
  await eventually('every check run to complete', async () => {
    const runs = town.github.checkRuns(town.repo).slice(before)
    for (const run of runs) {
      const seen = printed.get(run.id) ?? 0
      for (const { title, at } of run.history.slice(seen)) {
        const ms = String(Math.max(0, Date.parse(at) - began)).padStart(6)
        say(`${styleText('dim', `${ms} ms`)}  ${styleText('bold', run.name.padEnd(24))} ${title}`)
      }
      printed.set(run.id, run.history.length)
    }
    const overall = runs.find(({ name }) => name === 'towline / deploy')
    return overall && runs.every(({ status }) => status === 'completed') ? runs : null
  })
  return commit
}

/** The check runs as anybody reads them: through GitHub's REST API. */
async function printCheckRuns(town: Town, commit: string): Promise<void> {
  const octokit = new Octokit({ baseUrl: `${town.github.url}/api/v3`, auth: town.github.userToken() })
  const [owner = '', repo = ''] = town.repo.split('/')
  const { data } = await octokit.rest.checks.listForRef({ owner, repo, ref: commit, filter: 'latest' })
  say('')
  for (const run of data.check_runs) {
    const mark = run.conclusion === 'success' ? styleText('green', '✔') : styleText('red', '✘')
    say(`${mark} ${run.name.padEnd(24)} ${run.conclusion}: ${run.output.title}`)
  }
}

async function printAnswer(town: Town, app: string): Promise<void> {
  const containers = (await town.containers(app)).filter(({ State }) => State === 'running')
  const port = containers[0]?.Ports.find(({ PublicPort }) => PublicPort !== undefined)?.PublicPort
  const page = await town.fetchApp(app)
  const heading = /<h1[^>]*>(?<text>.*?)<\/h1>/s.exec(page)?.groups?.text
  const text = heading?.replace(/<[^>]+>|\s+/g, ' ').trim() ?? page.slice(0, 60)
  good(`${app.padEnd(8)} http://127.0.0.1:${port}/ answers: ${text}`)
}

async function stay(town: Town): Promise<void> {
  heading('It keeps running')
  const [, argument = ''] = town.github.pushArgs()
  say('Change a spec and push; the phases appear here:')
  say(`  git -c '${argument}' clone ${town.github.gitUrl(town.repo)}`)
  say(`Towline   ${town.url}/readyz (the dashboard is a later issue)`)
  say(`GitHub    ${town.github.url}/api/v3/repos/${town.repo}`)
  say('Stop it with Ctrl-C.')
  const stop = new AbortController()
  process.once('SIGINT', () => stop.abort())
  process.once('SIGTERM', () => stop.abort())
  const seen = new Map(town.github.checkRuns(town.repo).map((run) => [run.id, run.history.length]))
  while (!stop.signal.aborted) {
    for (const run of town.github.checkRuns(town.repo)) {
      for (const { title } of run.history.slice(seen.get(run.id) ?? 0)) say(`${run.name.padEnd(24)} ${title}`)
      seen.set(run.id, run.history.length)
    }
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
}

async function readFixture(): Promise<Record<string, string>> {
  const files: Record<string, string> = {}
  for (const entry of await readdir(fixture, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue
    const path = join(entry.parentPath, entry.name)
    files[relative(fixture, path)] = await readFile(path, 'utf8')
  }
  return files
}

function heading(text: string): void {
  say(`\n${styleText(['bold', 'cyan'], text)}`)
}

function good(text: string): void {
  say(`${styleText('green', '✔')} ${text}`)
}

function say(text: string): void {
  process.stdout.write(`${text}\n`)
}
