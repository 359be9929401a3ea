import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { runCommand } from '../../src/cli/main.ts'
import { expectCleanEnd } from '../support/clean-end.ts'
import { deploy, nameOf, onlyContainer } from '../support/deploy.ts'
import { type FaultProxy, startFaultProxy } from '../support/fault-proxy.ts'
import { service } from '../support/specs.ts'
import { eventually, serverYaml, startTown, type Town } from '../support/town.ts'

const key = 'acme/config:hello@local'
const secretValue = 'postgres://hello:hunter2hunter2@db'
let town: Town
let proxy: FaultProxy

beforeAll(async () => {
  const dockerSocket = inject('dockerSocket')
  proxy = await startFaultProxy(dockerSocket)
  town = await startTown({ dockerSocket, serverYaml: serverYaml(proxy.socketPath) })
  await deploy(town, service('hello', { environment: { DATABASE_URL: secretValue } }))
})

afterAll(async () => {
  await town[Symbol.asyncDispose]()
  await proxy[Symbol.asyncDispose]()
})

/** Runs `towline …` against the town's server. */
async function towline(...argv: string[]): Promise<{ code: number; output: string }> {
  let output = ''
  const write = (text: string) => {
    output += text
  }
  const code = await runCommand(argv, {
    variables: { TOWLINE_URL: town.url },
    signal: AbortSignal.timeout(60_000),
    streams: { stdout: { write }, stderr: { write } },
  })
  return { code, output }
}

/** What `towline get … --json` prints, once it is as wanted. */
function shown<T>(subject: string, isWanted: (value: T) => boolean): Promise<T> {
  return eventually(`towline get ${subject} to show what is wanted`, async () => {
    const { code, output } = await towline('get', subject, '--json')
    const value: T | null = code === 0 ? JSON.parse(output) : null
    return value !== null && isWanted(value) ? value : null
  })
}

type Target = {
  health: string
  reason: string
  applied: { deploymentId: string; releaseId: string } | null
  lastDeployment: { id: string; state: string }
  healing: { failureCount: number } | null
  spec: { environmentNames: string[] }
}

const health = (wanted: string) => shown<Target>(key, (target) => target.health === wanted)

/** The end of what doctor prints, once it ends with that code. */
function doctor(code: number): Promise<string> {
  return eventually(`doctor to end with ${code}`, async () => {
    const ran = await towline('doctor')
    return ran.code === code ? ran.output : null
  })
}

test('after a good push all is well: in the API, in the metrics, and for the doctor', async () => {
  const target = await health('healthy')
  expect(target).toMatchObject({
    applied: { deploymentId: target.lastDeployment.id },
    spec: { environmentNames: ['DATABASE_URL'] },
  })
  const output = await doctor(0)
  expect(output).toContain('All is well.')
  expect(output).toContain('GitHub: reachable')
  const metrics = await (await fetch(`${town.url}/metrics`)).text()
  expect(metrics).toMatch(/^towline_target_info\{target="acme\/config:hello@local",.*health="healthy"\} 1$/m)
  expect(metrics).toMatch(/^towline_host_unknown_seconds\{host="local"\} 0$/m)
})

test('a push that fails is named with its reason and what to do, and a retry is a new attempt', async () => {
  const bad = { image: 'towline-demo/crash:1', environment: { DATABASE_URL: secretValue } }
  const { run } = await deploy(town, service('hello', bad))
  expect(run.conclusion).toBe('failure')
  const { lastDeployment, applied } = await health('failed')
  expect(applied?.deploymentId).not.toBe(lastDeployment.id)
  const output = await doctor(2)
  expect(output).toContain(`target ${key} since `)
  expect(output).toContain(`towline retry ${lastDeployment.id}`)
  const { result } = await shown<{ result: object }>(lastDeployment.id, () => true)
  expect(result).toMatchObject({ kind: 'failed', fault: 'rejected', hint: expect.stringMatching(/./) })

  expect((await towline('retry', lastDeployment.id)).code).toBe(0)
  const again = await shown<Target>(
    key,
    (target) => target.lastDeployment.id !== lastDeployment.id && target.lastDeployment.state === 'failed',
  )
  const { attempt, trigger } = await shown<{ attempt: number; trigger: string }>(
    again.lastDeployment.id,
    () => true,
  )
  expect({ attempt, trigger }).toEqual({ attempt: 2, trigger: 'api' })
})

test('a deployment that is cancelled ends, tells GitHub, and leaves the release before serving', async () => {
  const never = { test: ['CMD', 'false'], interval: '1s', retries: 100, start_period: '100s' }
  const commit = await town.push({ write: service('hello', { healthcheck: never }) })
  const { lastDeployment } = await shown<Target>(key, (target) => target.lastDeployment.state === 'open')
  await eventually('the new container to run', async () => {
    const running = (await town.containers('hello')).filter(({ State }) => State === 'running')
    return running.length === 2 ? running : null
  })
  expect((await towline('cancel', lastDeployment.id)).code).toBe(0)
  const run = await town.checkRun(commit, 'towline / hello@local')
  expect(run).toMatchObject({ conclusion: 'cancelled', externalId: lastDeployment.id })
  await onlyContainer(town, 'hello')
  expect(await town.fetchApp('hello')).toContain('version 1')
  const { code, output } = await towline('cancel', lastDeployment.id)
  expect({ code, output }).toEqual({ code: 1, output: 'It has ended already.\n' })
})

test('what cannot be healed is degraded until it can; reconcile does not wait for the backoff', async () => {
  await deploy(town, service('hello', { labels: { round: '2' } }))
  await health('healthy')
  const victim = await onlyContainer(town, 'hello')
  proxy.refuse(new RegExp(`POST \\S+/containers/${nameOf(victim)}/start`))
  await town.docker.getContainer(victim.Id).stop({ t: 1 })
  await shown<Target>(key, ({ healing }) => (healing?.failureCount ?? 0) > 0)
  const told = await doctor(2)
  expect(told).toContain(`towline reconcile ${key}`)
  expect(told).toContain(`container ${nameOf(victim)}: state was exited, should be running; start container`)
  const { driftEntries } = await shown<{ driftEntries: object[] }>(key, () => true)
  expect(driftEntries).toContainEqual(
    expect.objectContaining({ field: 'state', expected: 'running', found: 'exited' }),
  )
  const answer = await fetch(`${town.url}/api/monitoring/health`)
  expect(await answer.json()).toMatchObject({ status: 'degraded', targets: { byHealth: { degraded: 1 } } })
  proxy.clear()
  expect((await towline('reconcile', key)).code).toBe(0)
  await health('healthy')
  expect(await town.fetchApp('hello')).toContain('version 1')
  await doctor(0)
  const stats: unknown = await (await fetch(`${town.url}/api/monitoring/stats`)).json()
  expect(stats).toMatchObject({
    counts: {
      deploymentsCancelled: 1,
      deploymentsFailed: 2,
      healingsSucceeded: 1,
      driftDetected: expect.any(Number),
    },
    durations: [{ kind: 'Service', count: 2 }],
  })
})

test('a host that gives no answer is unknown since then, and known again once it does', async () => {
  proxy.refuse(/./)
  expect((await towline('reconcile')).code).toBe(1)
  const told = await doctor(2)
  expect(told).toMatch(/^host local: unknown since 20\S+Z$/m)
  expect(await health('unknown')).toMatchObject({ reason: expect.stringContaining('gives no answer since') })
  const metrics = await (await fetch(`${town.url}/metrics`)).text()
  expect(metrics).toMatch(/^towline_host_unknown_seconds\{host="local"\} 0*[.1-9]/m)
  proxy.clear()
  expect((await towline('reconcile')).code).toBe(0)
  await health('healthy')
  await doctor(0)
})

test('a dry run of a look says what would be healed, and heals nothing', async () => {
  const victim = await onlyContainer(town, 'hello')
  const [network = ''] = Object.keys(victim.NetworkSettings.Networks)
  await town.docker.getNetwork(network).disconnect({ Container: victim.Id })
  for (let time = 1; time <= 2; time += 1) {
    const { code, output } = await towline('reconcile', key, '--dry-run')
    expect(code).toBe(2)
    expect(output).toContain(`container ${nameOf(victim)}: network is none, should be ${network}`)
  }
  expect((await towline('reconcile')).code).toBe(0)
  await eventually('nothing to be due any more', async () =>
    (await towline('reconcile', '--dry-run')).code === 0 ? true : null,
  )
  await health('healthy')
})

test('a look at everything by command says what is due', async () => {
  const { code, output } = await towline('reconcile')
  expect(code).toBe(0)
  expect(output).toContain('local: 1 targets, 0 due\nNothing is due.\n')
})

test('no answer shows what the environment of an app holds', async () => {
  const { id } = (await shown<Target>(key, () => true)).lastDeployment
  for (const path of [
    '/api/monitoring/health',
    '/api/monitoring/stats',
    '/api/monitoring/deployments/stuck',
    '/api/targets',
    `/api/targets/${encodeURIComponent(key)}`,
    '/api/deployments?limit=100',
    `/api/deployments/${id}`,
    '/metrics',
  ]) {
    const answer = await fetch(town.url + path)
    expect([path, answer.status]).toEqual([path, 200])
    expect(await answer.text()).not.toContain('hunter2')
  }
})

test('at the end GitHub was asked rightly and no secret shows', () => expectCleanEnd(town))

test('a server that is stopped is what the doctor says', async () => {
  await town.stopTowline()
  const { code, output } = await towline('doctor')
  expect(code).toBe(1)
  expect(output).toContain(`no Towline answers at ${town.url}`)
})
