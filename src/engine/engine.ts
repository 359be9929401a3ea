import { schedule } from 'node-cron'
import type { StuckReason } from '../rollout/deployment.ts'
import { explain, faultOf, TowlineError } from '../rollout/error.ts'
import { formatTarget } from '../rollout/target.ts'
import type { SiteServer } from '../spec/release.ts'
import type { ServerConfig } from '../spec/server.ts'
import { startDeadline } from '../time/deadline.ts'
import { type CatchUpStatus, createCatchUp } from './catch-up.ts'
import { type Commands, createCommands } from './commands.ts'
import { type ConfigParts, passRepo } from './config-pass.ts'
import { createHostStatus } from './host-status.ts'
import { watchHosts } from './host-watch.ts'
import { createIntake, type Intake } from './intake.ts'
import { createOrphanSearch } from './orphan-search.ts'
import { createOutbox } from './outbox.ts'
import { keepPolling } from './polling.ts'
import type { DockerHost, GitHub, HostEvent, Log, Mirror, RepoAccess, Store } from './ports.ts'
import { type RebuildReport, rebuildIfEmpty, rebuildStore } from './rebuild.ts'
import { dueHosts, isRepoDue } from './rebuild-due.ts'
import type { DeliveryHint, TargetRecord } from './records.ts'
import { recover } from './recovery.ts'
import { rerun } from './rerun.ts'
import { singleFlight } from './single-flight.ts'
import type { SpecReader } from './spec-reader.ts'
import { createStatistics } from './statistics.ts'
import type { EngineStatus, OrphanStatus } from './status.ts'
import type { TargetParts } from './steps.ts'
import { createStuckWatch, type StuckFinding } from './stuck-watch.ts'
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
  limits: ServerConfig['limits']
  orphans: ServerConfig['orphans']
  schedule: ServerConfig['schedule']
  log: Log
}

/** What a sweep found, per host, and what became of the repos. */
export type SweepReport = {
  hosts: HostSweep[]
  repos: { repo: string; error: string | null }[]
  orphans: OrphanStatus[]
}

export type Engine = {
  intake: Intake
  /**
   * Looks at everything now. While one runs, all who ask share the one that follows it. `dryRun` only says what is due.
   */
  sweep(options: { deep: boolean; dryRun?: boolean }): Promise<SweepReport>
  /** Looks at one target again now, also where healing has given up. False where nobody knows it. */
  reconcile(key: string): Promise<boolean>
  /** What a person may ask of a deployment. */
  cancel: Commands['cancel']
  retry: Commands['retry']
  /** Open deployments that do not get on, as the last look for them found. */
  stuck(): StuckFinding[]
  status(): Promise<EngineStatus>
  /** How the last look for missed deliveries went; null before the first has ended. */
  catchUp(): CatchUpStatus | null
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
  const startedAt = new Date().toISOString()
  const statistics = createStatistics()
  const hostStatus = createHostStatus({ store, hosts: hosts.keys(), log })
  const waits = new Map<string, AbortController>()
  /** Targets whose work is to be ended because it gets nowhere. */
  const stuckTargets = new Map<string, StuckReason>()
  let lastStuck: StuckFinding[] = []
  let lastSweep: EngineStatus['lastSweep'] = null
  let recovered = false
  const access = new Map<string, RepoAccess>()
  /** Repos whose last pass here was whole. Any other's head is read again: a crash or a failure may have cut it short. */
  const read = new Set<string>()
  /** By the steady clock. */
  let lastDeepMs = Number.NEGATIVE_INFINITY
  let wasAnswered = true
  let polling: Promise<void> | null = null
  /** Settled once nothing that the store lost is taken for new. null before the first try, and after one that failed. */
  let rebuilt: Promise<void> | null = null

  const outbox = createOutbox({ ...parts, writeIntervalMs: parts.limits.githubWriteIntervalMs })
  const watch = watchHosts(hosts.values(), {
    onConnected: (host) => inBackground(onConnected(host)),
    onLost: hostStatus.lost,
    onEvent,
    // A network or volume belongs to no single target: only a look at the whole host tells whom it concerns.
    onResource: ({ host }) => inBackground(sweepOne(host)),
    log,
  })
  const targetParts: TargetParts = {
    ...parts,
    tracker: createTracker({ pollMs: parts.schedule.pollMs, watch }),
    hostStatus,
    progressDeadlineMs: parts.limits.progressDeadlineMs,
    healing: parts.limits.healing,
    statistics,
    onChange: (key) => {
      outbox.markTarget(key)
      outbox.markRepo(repoOf(key))
    },
  }
  const queue = createWorkQueue({
    total: parts.limits.total,
    perGroup: parts.limits.perHost,
    groupOf: (key) => key.slice(key.indexOf('@') + 1),
    run: runTarget,
    onError: onTargetError,
  })
  const configParts: ConfigParts & { onAnswer: (key: string) => void } = {
    ...parts,
    deadlineMs: parts.limits.deadlineMs,
    onWish: (key) => inBackground(onWish(key)),
    onRevision: outbox.markRepo,
    onAnswer: outbox.markTarget,
  }
  const commands = createCommands({
    ...configParts,
    statistics,
    endWaits: (key, reason) => waits.get(key)?.abort(reason),
    look: (key) => queue.add(key, { priority: 'user' }),
  })
  const rebuildParts = { ...parts, deadlineMs: parts.limits.deadlineMs }
  const repos = singleFlight((repo, force) => lookAtRepo(repo, force))
  const rebuilds = singleFlight(() => rebuildLate())
  const sweeps = singleFlight((_key, deep) => sweepAll(deep))
  const orphans = createOrphanSearch({
    store,
    repos: () => access.keys(),
    settings: { ...parts.orphans, graceMs: parts.limits.orphanGraceMs },
    holder,
    statistics,
    log,
  })
  const stuckWatch = createStuckWatch({
    store,
    progressDeadlineMs: parts.limits.progressDeadlineMs,
    inWork: (key) => queue.has(key),
    onStuck,
  })
  const intake = createIntake({ store, log, handle })
  const catchUp = createCatchUp({ ...parts, accept: intake.accept, signal: shutdown.signal, statistics })

  /** What was lost is rebuilt before anything is decided from what the store says. */
  function rebuildLost(): Promise<void> {
    rebuilt ??= rebuildIfEmpty(rebuildParts, { signal: shutdown.signal }).then(
      (report) => void logRebuild(report),
      (error: unknown) => {
        rebuilt = null
        throw error
      },
    )
    return rebuilt
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
      if (openCount(record) > 0) queue.add(record.key, { priority: 'user' })
    }
    for (const { repo } of await store.listRepos()) outbox.markRepo(repo)
  }

  async function runTarget(key: string) {
    const wait = new AbortController()
    waits.set(key, wait)
    try {
      const cancellation = await commands.pendingCancellation(key)
      if (cancellation) wait.abort(cancellation)
      const signal = AbortSignal.any([shutdown.signal, wait.signal])
      const stuck = stuckTargets.get(key) ?? null
      stuckTargets.delete(key)
      const next = await passTarget(targetParts, key, { holder, signal, stuck })
      if (next) queue.add(key, next)
      for (const dependent of await waitingDependents(store, key)) queue.add(dependent)
    } finally {
      waits.delete(key)
    }
  }

  function onTargetError(key: string, error: unknown) {
    if (shutdown.signal.aborted) return
    const superseded = faultOf(error) === 'cancelled'
    if (faultOf(error) === 'stale') statistics.count('fenceRejections')
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

  /** Ends its waits; the pass after that closes it with the reason and puts the old release back. */
  function onStuck({ target, deploymentId, reason }: StuckFinding) {
    log.error({ target, deploymentId, reason }, 'a deployment is stuck; it is ended')
    stuckTargets.set(target, reason)
    waits.get(target)?.abort(new TowlineError(`${target} is stuck (${reason})`, { fault: 'cancelled' }))
    queue.add(target, { priority: 'user' })
  }

  /** Each (re)connection asks for a whole look; what waited for the host goes on at once. */
  async function onConnected(host: string) {
    hostStatus.answered(host)
    for (const record of await store.listTargets()) {
      if (record.target.host === host && openCount(record) > 0) queue.add(record.key, { priority: 'user' })
    }
    await sweepOne(host)
  }

  /** What nobody waits for. The sweep makes up for what fails here. */
  function inBackground(work: Promise<unknown>): void {
    work.catch((error: unknown) => {
      if (!shutdown.signal.aborted)
        log.warn({ err: error, ...explain(error) }, 'a look could not be finished')
    })
  }

  async function reconcile(key: string): Promise<boolean> {
    if ((await store.readTarget(key)) === null) return false
    await store.updateTarget(key, (stored) => {
      if (!stored) throw new TowlineError(`the record of ${key} is gone`, { fault: 'stale' })
      const { healing } = stored
      if (!healing) return stored
      const lifted = { failureCount: 0, notBefore: startedAt, healedAt: {}, degraded: null }
      return { ...stored, healing: { ...healing, ...lifted } }
    })
    queue.add(key, { priority: 'user' })
    return true
  }

  async function handle(hint: DeliveryHint) {
    if (hint.kind === 'rerunCheck') {
      const drifted = (await store.listTargets()).find(({ drift }) => drift?.episode.id === hint.externalId)
      if (drifted) return void (await reconcile(drifted.key))
    }
    if (hint.kind === 'repo') return repos.run(hint.repo)
    if (await rerun(configParts, hint)) await repos.run(hint.repo, { force: true })
  }

  async function lookAtRepo(repo: string, force: boolean): Promise<void> {
    await rebuildLost()
    if (await isRepoDue(store, repo)) await rebuilds.run('all')
    using deadline = startDeadline({ signal: shutdown.signal, ms: repoPassTimeoutMs })
    const { signal } = deadline
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
    const at = new Date().toISOString()
    const beganAtMs = performance.now()
    const deep = forceDeep || beganAtMs - lastDeepMs >= deepIntervalMs
    if (deep) lastDeepMs = beganAtMs
    // At the same time: a GitHub that is slow or away must not hold up healing, nor a host that hangs a push.
    const [swept, sweptRepos] = await Promise.all([
      Promise.all([...hosts.keys()].map((name) => sweepOne(name, deep))),
      sweepRepos(deep),
    ])
    const found = await searchOrphans({ dryRun: false })
    lastSweep = { at, durationMs: Math.round(performance.now() - beganAtMs) }
    statistics.count('sweeps')
    return { hosts: swept.flatMap((host) => host ?? []), repos: sweptRepos, orphans: found }
  }

  /** What a sweep would do, and nothing done. */
  async function dryRun(): Promise<SweepReport> {
    using deadline = startDeadline({ signal: shutdown.signal, ms: hostSweepTimeoutMs })
    const { signal } = deadline
    const swept = await Promise.all(
      [...hosts.values()].map((host) => sweepHost(targetParts, host, { deep: true, signal })),
    )
    const repoList = [...access.keys()].map((repo) => ({ repo, error: null }))
    return { hosts: swept, repos: repoList, orphans: await searchOrphans({ dryRun: true }) }
  }

  /** A host that does not answer is no reason to leave the others untidied. */
  async function searchOrphans(options: { dryRun: boolean }): Promise<OrphanStatus[]> {
    using deadline = startDeadline({ signal: shutdown.signal, ms: hostSweepTimeoutMs })
    const { signal } = deadline
    const found = await Promise.all(
      [...hosts.values()]
        .filter(({ name }) => hostStatus.unknownSince(name) === null)
        .map((host) =>
          orphans.look(host, { ...options, signal }).catch((error: unknown) => {
            if (!shutdown.signal.aborted)
              log.warn({ host: host.name, ...explain(error) }, 'a host could not be searched for orphans')
            return []
          }),
        ),
    )
    return found.flat()
  }

  async function sweepOne(name: string, deep = false): Promise<HostSweep | null> {
    const host = hosts.get(name)
    if (!host || shutdown.signal.aborted) return null
    try {
      await rebuildLost()
      if ((await dueHosts(store, [name])).length > 0) await rebuilds.run('all')
    } catch (error) {
      if (shutdown.signal.aborted) return null
      const { reason, hint } = explain(error)
      log.error({ host: name, err: error, reason, hint }, 'what was lost could not be rebuilt')
      return { host: name, error: reason, hint }
    }
    using deadline = startDeadline({ signal: shutdown.signal, ms: hostSweepTimeoutMs })
    const { signal } = deadline
    const found = await sweepHost(targetParts, host, { deep, signal })
    if ('error' in found) {
      if (!shutdown.signal.aborted)
        hostStatus.lost(name, new TowlineError(found.error, { fault: 'temporary' }))
      return found
    }
    if (found.targetCount > 0 && hostStatus.answered(name)) inBackground(onConnected(name))
    for (const { target } of found.due) queue.add(target)
    return found
  }

  /** The heads first: a Re-run that is found then is answered by what the repos want now. Nobody waits for the search. */
  async function sweepRepos(deep: boolean): Promise<SweepReport['repos']> {
    using deadline = startDeadline({ signal: shutdown.signal, ms: repoPassTimeoutMs })
    const { signal } = deadline
    const listed = await refreshAccess(signal).then(
      () => true,
      (error: unknown) => {
        log.warn(explain(error), 'GitHub did not say which repos there are; going on with those known')
        return false
      },
    )
    const found = await lookAtRepos('warn')
    const isBack = !wasAnswered
    wasAnswered = listed && anyAnswered(found)
    void catchUp.look({ force: deep || (isBack && wasAnswered) })
    return found
  }

  /** A head that has not moved costs one question to git. */
  function lookAtRepos(failureLevel: 'warn' | 'debug'): Promise<SweepReport['repos']> {
    return Promise.all(
      [...access.keys()].map(async (repo) => {
        try {
          await repos.run(repo, { force: await pauseEnded(repo) })
          return { repo, error: null }
        } catch (error) {
          if (!shutdown.signal.aborted)
            log[failureLevel]({ repo, ...explain(error) }, 'a config repo could not be read')
          return { repo, error: explain(error).reason }
        }
      }),
    )
  }

  /** The sweep says what fails; a poll is too frequent for that. */
  async function pollRepos(): Promise<boolean> {
    const found = await lookAtRepos('debug')
    await catchUp.look({ force: true })
    return anyAnswered(found)
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
  const stuckCron = schedule(parts.schedule.stuck, lookForStuck, { timezone: 'UTC', noOverlap: true })

  async function lookForStuck() {
    lastStuck = await stuckWatch.look()
  }

  return {
    intake,
    sweep: ({ deep, dryRun: isDry = false }) => (isDry ? dryRun() : sweeps.run('all', { force: deep })),
    reconcile,
    cancel: commands.cancel,
    retry: commands.retry,
    stuck: () => lastStuck,
    status: async () => ({
      startedAt,
      recovered,
      hosts: hostStatus.records().map(({ host, engineId, unknownSince, lastSeenAt }) => ({
        host,
        engineId,
        unknownSince,
        lastSeenAt,
      })),
      queue: queue.size(),
      lastSweep,
      orphans: orphans.found(),
      counts: statistics.read(),
    }),
    catchUp: catchUp.status,
    /** In this order: what was left unfinished, then what GitHub has to hear, then everything else. */
    async start() {
      await rebuildLost()
      using deadline = startDeadline({ signal: shutdown.signal, ms: hostSweepTimeoutMs })
      const { signal } = deadline
      await recover({ store, hosts, hostStatus, onChange: targetParts.onChange, log }, { signal })
      recovered = true
      await takeUp()
      queue.start()
      await lookForStuck()
      await intake.resume()
      watch.start()
      const { reposMs } = parts.schedule
      if (reposMs !== null)
        polling = keepPolling({ intervalMs: reposMs, poll: pollRepos, signal: shutdown.signal })
      await sweeps.run('all', { force: true })
    },
    async stop() {
      shutdown.abort(new TowlineError('Towline is stopping', { fault: 'cancelled' }))
      await cron.destroy()
      await stuckCron.destroy()
      await Promise.all([intake.stop(), watch.stop(), queue.stop(), repos.idle(), sweeps.idle(), polling])
      await Promise.allSettled([rebuilt, rebuilds.idle()])
      await catchUp.idle()
      await outbox.stop()
    },
  }
}

function openCount(record: TargetRecord): number {
  return record.deployments.filter(({ result }) => result === null).length
}

/** Whether GitHub answered for any repo: one that fails alone is no outage. */
function anyAnswered(repos: SweepReport['repos']): boolean {
  return repos.length === 0 || repos.some(({ error }) => error === null)
}

function repoOf(targetKey: string): string {
  return targetKey.slice(0, targetKey.indexOf(':'))
}

/** Events after which a container may no longer be what it should be. Starting and creating are our own doing. */
const healingActions = new Set([
  'die',
  'stop',
  'kill',
  'destroy',
  'oom',
  'pause',
  'rename',
  'update',
  'health_status',
])

const passRetryMs = 10_000
const repoPassTimeoutMs = 10 * 60_000
const hostSweepTimeoutMs = 60_000
/** What the list call does not show is compared at least hourly. */
const deepIntervalMs = 60 * 60_000
/** Spreads the sweeps of many installations; small against the default of five minutes. */
const sweepJitterMs = 15_000
