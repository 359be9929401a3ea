import { schedule } from 'node-cron'
import { explain, faultOf, TowlineError } from '../rollout/error.ts'
import { formatTarget, parseTarget } from '../rollout/target.ts'
import type { SiteServer } from '../spec/release.ts'
import { type ConfigParts, passRepo } from './config-pass.ts'
import { watchHosts } from './host-watch.ts'
import { createIntake, type Intake } from './intake.ts'
import { createOutbox } from './outbox.ts'
import type { DockerHost, GitHub, HostEvent, Log, Mirror, RepoAccess, Store } from './ports.ts'
import { type RebuildReport, raiseEpochs, rebuildIfEmpty, rebuildStore } from './rebuild.ts'
import { dueHosts, isRepoDue } from './rebuild-due.ts'
import type { DeliveryHint, TargetRecord } from './records.ts'
import { rerun } from './rerun.ts'
import { singleFlight } from './single-flight.ts'
import type { SpecReader } from './spec-reader.ts'
import type { TargetParts } from './steps.ts'
import { type HostSweep, sweepHost } from './sweep.ts'
import { passTarget, pausedReason, waitingDependents } from './target-pass.ts'
import { createTracker } from './tracker.ts'
import { createWorkQueue } from './work-queue.ts'

export type EngineParts = {
  store: Store
  hosts: ReadonlyMap<string, DockerHost>
  github: GitHub
  /** The mirror of a config repo's branch, opened once. */
  mirror: (access: RepoAccess) => Promise<Mirror>
  specs: SpecReader
  files: TargetParts['files']
  siteServer: SiteServer
  limits: { total: number; perHost: number; deadlineMs: number; githubWriteIntervalMs: number }
  schedule: { sweep: string; pollMs: number }
  log: Log
}

/** What a sweep found, per host, and what became of the repos. */
export type SweepReport = { hosts: HostSweep[]; repos: { repo: string; error: string | null }[] }

export type Engine = {
  intake: Intake
  /** Looks at everything now. While one runs, all who ask share the one that follows it. */
  sweep(options: { deep: boolean }): Promise<SweepReport>
  /** Takes up what an earlier process left, looks at everything, then keeps doing so. */
  start(): Promise<void>
  /** Ends waits, lets acts on hosts finish, leaves what is unfinished to the next start. */
  stop(): Promise<void>
}

/** Puts queue, workers, sweep, events and outbox together: when is work done, and in what order. */
export function createEngine(parts: EngineParts): Engine {
  const { store, hosts, log } = parts
  const shutdown = new AbortController()
  const holder = `${process.pid}-${Date.now()}`
  const waits = new Map<string, AbortController>()
  const access = new Map<string, RepoAccess>()
  /** Repos whose last pass here was whole. Any other's head is read again: a crash or a failure may have cut it short. */
  const read = new Set<string>()
  let lastDeepMs = 0
  /** Settled once nothing that the store lost is taken for new. null before the first try, and after one that failed. */
  let recovered: Promise<void> | null = null
  /** Hosts whose highest epoch was read, by name: what is given from now on is higher. */
  const met = new Map<string, Promise<void>>()

  const outbox = createOutbox({ ...parts, writeIntervalMs: parts.limits.githubWriteIntervalMs })
  const watch = watchHosts(hosts.values(), {
    onConnected: (host) => void sweepOne(host),
    onEvent,
    log,
  })
  const targetParts: TargetParts = {
    ...parts,
    tracker: createTracker({ pollMs: parts.schedule.pollMs, watch }),
    onChange: (key) => {
      outbox.markTarget(key)
      outbox.markRepo(repoOf(key))
    },
  }
  const queue = createWorkQueue({
    total: parts.limits.total,
    perGroup: parts.limits.perHost,
    groupOf: hostOf,
    run: runTarget,
    onError: onTargetError,
  })
  const configParts: ConfigParts & { onAnswer: (key: string) => void } = {
    ...parts,
    deadlineMs: parts.limits.deadlineMs,
    onWish: (key) => void onWish(key),
    onRevision: outbox.markRepo,
    onAnswer: outbox.markTarget,
  }
  const rebuildParts = { ...parts, deadlineMs: parts.limits.deadlineMs }
  const repos = singleFlight((repo, force) => lookAtRepo(repo, force))
  const rebuilds = singleFlight(() => rebuildLate())
  const sweeps = singleFlight((_key, deep) => sweepAll(deep))
  const intake = createIntake({ store, log, handle })

  /** What was lost is rebuilt before anything is decided from what the store says. */
  function recover(): Promise<void> {
    recovered ??= rebuildIfEmpty(rebuildParts, { signal: shutdown.signal }).then(
      (report) => void logRebuild(report),
      (error: unknown) => {
        recovered = null
        throw error
      },
    )
    return recovered
  }

  /** What could not be looked at before is rebuilt now; then nothing of it is held back any more. */
  async function rebuildLate() {
    const report = await rebuildStore(rebuildParts, { signal: shutdown.signal })
    logRebuild(report)
    if (!report?.released) return
    await takeUp()
    for (const repo of access.keys()) {
      repos.run(repo, { force: true }).catch((error: unknown) => {
        if (!shutdown.signal.aborted) log.warn({ repo, ...explain(error) }, 'a config repo could not be read')
      })
    }
  }

  function logRebuild(report: RebuildReport | null) {
    for (const found of report?.targets ?? []) log.info(found, 'rebuilt a record from what stands')
    for (const problem of report?.problems ?? []) {
      log.warn(problem, 'not rebuilt yet: nothing of it is deployed before it could be looked at')
    }
  }

  /** All that the store knows as open is worked on, and told where it was not. */
  async function takeUp() {
    for (const record of await store.listTargets()) {
      outbox.markTarget(record.key)
      if (openCount(record) > 0) queue.add(record.key)
    }
    for (const { repo } of await store.listRepos()) outbox.markRepo(repo)
  }

  /** A store put back from a backup may not know of epochs that a host has seen. A host that gives no answer is asked again. */
  function meet(name: string): Promise<void> {
    const signal = AbortSignal.any([shutdown.signal, AbortSignal.timeout(meetTimeoutMs)])
    const meeting =
      met.get(name) ??
      Promise.resolve(hosts.get(name)?.observe({ signal })).then((seen) =>
        raiseEpochs(store, seen?.containers ?? []),
      )
    met.set(name, meeting)
    return meeting.catch((error: unknown) => {
      met.delete(name)
      log.debug({ host: name, ...explain(error) }, 'the epochs of a host could not be read')
    })
  }

  async function runTarget(key: string) {
    await meet(hostOf(key))
    const wait = new AbortController()
    waits.set(key, wait)
    try {
      const signal = AbortSignal.any([shutdown.signal, wait.signal])
      const next = await passTarget(targetParts, key, { holder, signal })
      if (next) queue.add(key, next)
      for (const dependent of await waitingDependents(store, key)) queue.add(dependent)
    } finally {
      waits.delete(key)
    }
  }

  function onTargetError(key: string, error: unknown) {
    if (shutdown.signal.aborted) return
    const superseded = faultOf(error) === 'cancelled'
    if (!superseded) log.error({ target: key, err: error, ...explain(error) }, 'a pass over a target failed')
    queue.add(key, superseded ? { priority: 'user' } : { delayMs: passRetryMs })
  }

  /** A newer wish ends the waits of the older one at once; an act under way on the host is finished first. */
  async function onWish(key: string) {
    const record = await store.readTarget(key)
    outbox.markTarget(key)
    if (record && openCount(record) > 1) {
      waits.get(key)?.abort(new TowlineError(`a newer revision of ${key} took over`, { fault: 'cancelled' }))
    }
    queue.add(key, { priority: 'user' })
  }

  function onEvent({ host, repo, app, preview, action }: HostEvent) {
    if (healingActions.has(action)) queue.add(formatTarget({ repo, app, host, preview }))
  }

  async function handle(hint: DeliveryHint) {
    if (hint.kind === 'repo') return repos.run(hint.repo)
    if (await rerun(configParts, hint)) await repos.run(hint.repo, { force: true })
  }

  async function lookAtRepo(repo: string, force: boolean): Promise<void> {
    await recover()
    if (await isRepoDue(store, repo)) await rebuilds.run('all')
    const signal = AbortSignal.any([shutdown.signal, AbortSignal.timeout(repoPassTimeoutMs)])
    if (!access.has(repo)) await refreshAccess(signal)
    const found = access.get(repo)
    if (!found) return log.info({ repo }, 'not a repo Towline works on; its webhook is ignored')
    const mirror = await parts.mirror(found)
    const wasWhole = read.delete(repo)
    await passRepo(configParts, { ...found, mirror }, { force: force || !wasWhole, signal })
    read.add(repo)
  }

  async function refreshAccess(signal: AbortSignal) {
    const listed = await parts.github.repos({ signal })
    access.clear()
    for (const found of listed) access.set(found.repo, found)
  }

  async function sweepAll(forceDeep: boolean): Promise<SweepReport> {
    const deep = forceDeep || Date.now() - lastDeepMs >= deepIntervalMs
    if (deep) lastDeepMs = Date.now()
    // At the same time: a GitHub that is slow or away must not hold up healing, nor a host that hangs a push.
    const [swept, sweptRepos] = await Promise.all([
      Promise.all([...hosts.keys()].map((name) => sweepOne(name, deep))),
      sweepRepos(),
    ])
    return { hosts: swept.flatMap((host) => host ?? []), repos: sweptRepos }
  }

  async function sweepOne(name: string, deep = false): Promise<HostSweep | null> {
    const host = hosts.get(name)
    if (!host || shutdown.signal.aborted) return null
    try {
      await recover()
      if ((await dueHosts(store, [name])).length > 0) await rebuilds.run('all')
    } catch (error) {
      if (shutdown.signal.aborted) return null
      const { reason, hint } = explain(error)
      log.error({ host: name, err: error, reason, hint }, 'what was lost could not be rebuilt')
      return { host: name, error: reason, hint }
    }
    const signal = AbortSignal.any([shutdown.signal, AbortSignal.timeout(hostSweepTimeoutMs)])
    const found = await sweepHost(targetParts, host, { deep, signal })
    if ('due' in found) for (const { target } of found.due) queue.add(target)
    return found
  }

  async function sweepRepos(): Promise<SweepReport['repos']> {
    const signal = AbortSignal.any([shutdown.signal, AbortSignal.timeout(repoPassTimeoutMs)])
    await refreshAccess(signal).catch((error: unknown) => {
      log.warn(explain(error), 'GitHub did not say which repos there are; going on with those known')
    })
    return Promise.all(
      [...access.keys()].map(async (repo) => {
        try {
          await repos.run(repo, { force: await pauseEnded(repo) })
          return { repo, error: null }
        } catch (error) {
          if (!shutdown.signal.aborted)
            log.warn({ repo, ...explain(error) }, 'a config repo could not be read')
          return { repo, error: explain(error).reason }
        }
      }),
    )
  }

  async function pauseEnded(repo: string): Promise<boolean> {
    const newest = (await store.readRepo(repo))?.revisions.at(-1)
    return newest?.pausedTargets.some((paused) => pausedReason(paused, Date.now()) === null) ?? false
  }

  const cron = schedule(parts.schedule.sweep, () => sweeps.run('all').then(() => {}), {
    timezone: 'UTC',
    noOverlap: true,
    maxRandomDelay: sweepJitterMs,
  })

  return {
    intake,
    sweep: ({ deep }) => sweeps.run('all', { force: deep }),
    async start() {
      await recover()
      await takeUp()
      await intake.resume()
      await sweeps.run('all', { force: true })
    },
    async stop() {
      shutdown.abort(new TowlineError('Towline is stopping', { fault: 'cancelled' }))
      await cron.destroy()
      await Promise.all([intake.stop(), watch.stop(), queue.stop(), repos.idle(), sweeps.idle()])
      await Promise.allSettled([recovered, rebuilds.idle()])
      await outbox.stop()
    },
  }
}

function openCount(record: TargetRecord): number {
  return record.deployments.filter(({ result }) => result === null).length
}

function hostOf(targetKey: string): string {
  return parseTarget(targetKey)?.host ?? ''
}

function repoOf(targetKey: string): string {
  return targetKey.slice(0, targetKey.indexOf(':'))
}

/** Events after which a container may no longer be what it should be. Starting and creating are our own doing. */
const healingActions = new Set(['die', 'stop', 'kill', 'destroy', 'oom', 'pause', 'rename', 'update'])

const passRetryMs = 10_000
const repoPassTimeoutMs = 10 * 60_000
const hostSweepTimeoutMs = 60_000
/** One list call. The work that waits for it finds out for itself where the host gives no answer. */
const meetTimeoutMs = 10_000
/** What the list call does not show is compared at least hourly. */
const deepIntervalMs = 60 * 60_000
/** Spreads the sweeps of many installations; small against the default of five minutes. */
const sweepJitterMs = 15_000
