import { passRepo, queueRerun } from '../engine/config-pass.ts'
import { isApplied } from '../engine/dry-run.ts'
import { watchHosts } from '../engine/host-watch.ts'
import type { Mirror } from '../engine/ports.ts'
import type { Revision, TargetRecord } from '../engine/records.ts'
import { createStatistics } from '../engine/statistics.ts'
import type { TargetParts } from '../engine/steps.ts'
import { passTarget, pausedReason, waitingDependents } from '../engine/target-pass.ts'
import { createTracker } from '../engine/tracker.ts'
import { sleep } from '../engine/wait.ts'
import { createWorkQueue } from '../engine/work-queue.ts'
import type { Deployment } from '../rollout/deployment.ts'
import { explain, TowlineError } from '../rollout/error.ts'
import type { Drift } from '../rollout/observed.ts'
import type { Problem } from '../spec/spec.ts'
import type { CommandOptions } from './command.ts'
import { type Print, printProblems } from './print.ts'
import { openWorkspace, type Workspace } from './workspace.ts'

/** `towline apply <dir>`: brings the hosts to what the folder says, phases live. Exits 0 when all of it stands, else 1. */
export async function apply(options: CommandOptions): Promise<number> {
  const workspace = await openWorkspace(options)
  try {
    return await applyWorkspace(workspace, options)
  } finally {
    await workspace.close()
  }
}

async function applyWorkspace(workspace: Workspace, { print, signal, log }: CommandOptions): Promise<number> {
  const { store, config } = workspace
  const failures: string[] = []
  const watch = watchHosts(workspace.hosts.values(), {
    onConnected: () => {},
    onLost: () => {},
    onEvent: () => {},
    log,
  })
  const parts: TargetParts = {
    ...workspace,
    tracker: createTracker({ pollMs: config.schedule.pollMs, watch }),
    progressDeadlineMs: config.limits.progressDeadlineMs,
    healing: config.limits.healing,
    statistics: createStatistics(),
    onChange: (key) => {
      printing = printing.then(() => show(key))
    },
    log,
  }
  const shown = new Map<string, string>()
  let printing = Promise.resolve()
  const queue = createWorkQueue({
    total: config.limits.total,
    perGroup: config.limits.perHost,
    groupOf: (key) => key.slice(key.indexOf('@') + 1),
    run: async (key) => {
      const next = await passTarget(parts, key, { holder: `cli-${process.pid}`, signal })
      const healing = (await store.readTarget(key))?.healing
      if (healing && healing.failureCount > 0) throw healingFailed(healing.lastDrift)
      if (next) queue.add(key, next)
      else for (const dependent of await waitingDependents(store, key)) queue.add(dependent)
    },
    onError: (key, error) => {
      failures.push(key)
      if (signal.aborted) return
      const { reason, hint } = explain(error)
      print.error([`${key}: ${reason}`, hint].filter(Boolean).join('\n'))
    },
  })

  async function show(key: string) {
    const record = await store.readTarget(key)
    for (const drift of record?.healing?.failureCount === 0 ? record.healing.lastDrift : []) {
      const { subject, field, expected, found } = drift
      print.line(
        `${print.style('bold', key)} healed: ${subject}: ${field} was ${found}, is ${expected} again`,
      )
      print.value({ target: key, healed: drift })
    }
    const deployment = record?.deployments.at(-1)
    if (!deployment) return
    const text = describe(print, deployment)
    if (shown.get(key) === text) return
    shown.set(key, text)
    print.line(text)
    const { target, id, phase, progress, message, result } = deployment
    print.value({ target, deployment: id, phase, progress, message, result })
  }

  try {
    const { keys, problems, paused } = await queueWork(workspace, signal)
    printProblems(print, problems)
    for (const { target, reason } of paused) print.line(`${print.style('bold', target)} paused: ${reason}`)
    print.value({ problems, paused })
    for (const key of keys) queue.add(key)
    watch.start()
    queue.start()
    while (queue.size().waiting + queue.size().running > 0) await sleep(settleLookMs, signal)
    await printing
    const records = await wantedTargets(workspace)
    const standing = records.filter(isApplied)
    print.line(`${standing.length} of ${records.length} targets stand as the folder says.`)
    const whole = problems.length === 0 && failures.length === 0 && standing.length === records.length
    return whole ? 0 : 1
  } finally {
    await queue.stop()
    await watch.stop()
    await printing
  }
}

/**
 * Stores what is to be done and returns the targets to look at. A person who applies asks for it now: what failed
 * before is tried again, what stands is checked for drift. No target may be looked at before all are stored, or one
 * would take the old failure of its dependency for the new one.
 */
async function queueWork(
  workspace: Workspace,
  signal: AbortSignal,
): Promise<{ keys: string[]; problems: Problem[]; paused: Revision['pausedTargets'] }> {
  const { store, specs, siteServer, config, repo, commit, tree } = workspace
  const mirror: Mirror = { ...tree, probe: async () => commit, fetch: async () => commit }
  const parts = {
    store,
    specs,
    siteServer,
    deadlineMs: config.limits.deadlineMs,
    onWish: () => {},
    onRevision: () => {},
  }
  await passRepo(parts, { repo, branch: 'folder', mirror }, { force: true, signal })
  const wanted = await wantedTargets(workspace)
  for (const record of wanted) {
    await store.updateTarget(record.key, (stored) => ({ ...(stored ?? record), healing: null }))
    if (!isApplied(record)) await queueRerun(parts, record.key, { commit, trigger: 'cli' })
  }
  const revision = (await store.readRepo(repo))?.revisions.at(-1)
  return {
    keys: wanted.map(({ key }) => key),
    problems: revision?.problems ?? [],
    paused: revision?.pausedTargets ?? [],
  }
}

/** What the folder wants now; a paused app is left as it is. */
async function wantedTargets({ store, repo }: Workspace): Promise<TargetRecord[]> {
  return (await store.listTargets()).filter(
    ({ target, desired }) =>
      target.repo === repo && desired !== null && pausedReason(desired.spec.spec.paused, Date.now()) === null,
  )
}

function healingFailed(drift: Drift[]): TowlineError {
  const subjects = drift.map(({ subject, field, found }) => `${subject}: ${field} is ${found}`).join('; ')
  return new TowlineError(`could not be healed (${subjects})`, {
    fault: 'operator',
    hint: 'Run it again with LOG_LEVEL=error to see what the host answered.',
  })
}

function describe(print: Print, { target, phase, progress, message, result }: Deployment): string {
  const name = print.style('bold', target)
  if (result?.kind === 'succeeded') return `${name} ${print.style('green', 'active')}`
  if (result?.kind === 'failed') {
    const tail = result.logTail.map((line) => `    ${line}`).join('\n')
    const why = print.style('red', `failed in ${result.phase}: ${result.reason}`)
    return [`${name} ${why}`, `  ${result.hint}`, `  The release before: ${result.previous}`, tail]
      .filter(Boolean)
      .join('\n')
  }
  if (result) return `${name} ${result.kind}`
  return `${name} ${phase} ${print.style('dim', `${progress} %`)} ${message}`
}

const settleLookMs = 20
