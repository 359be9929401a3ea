import { passRepo, queueRerun } from '../engine/config-pass.ts'
import { isApplied } from '../engine/dry-run.ts'
import { watchHosts } from '../engine/host-watch.ts'
import type { Mirror } from '../engine/ports.ts'
import type { TargetRecord } from '../engine/records.ts'
import type { TargetParts } from '../engine/steps.ts'
import { passTarget } from '../engine/target-pass.ts'
import { createTracker } from '../engine/tracker.ts'
import { sleep } from '../engine/wait.ts'
import { createWorkQueue } from '../engine/work-queue.ts'
import type { Deployment } from '../rollout/deployment.ts'
import { explain } from '../rollout/error.ts'
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
  const { store, config, repo, tree, commit } = workspace
  const failures: string[] = []
  const watch = watchHosts(workspace.hosts.values(), { onConnected: () => {}, onEvent: () => {}, log })
  const parts: TargetParts = {
    ...workspace,
    tracker: createTracker({ pollMs: config.schedule.pollMs, watch }),
    onChange: (key) => void show(key),
    log,
  }
  const shown = new Map<string, string>()
  const queue = createWorkQueue({
    total: config.limits.total,
    perGroup: config.limits.perHost,
    groupOf: (key) => key.slice(key.indexOf('@') + 1),
    run: async (key) => {
      const next = await passTarget(parts, key, { holder: `cli-${process.pid}`, signal })
      if (next) queue.add(key, next)
    },
    onError: (key, error) => {
      const { reason, hint } = explain(error)
      failures.push(key)
      print.error(`${key}: ${reason}\n${hint}`)
    },
  })

  async function show(key: string) {
    const record = await store.readTarget(key)
    for (const drift of record?.healing?.lastHealedAt ? record.healing.lastDrift : []) {
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
    const problems = await queueWork(workspace, { commit, tree, repo, signal, add: queue.add })
    printProblems(print, problems)
    print.value({ problems })
    while (queue.size().waiting + queue.size().running > 0) await sleep(settleLookMs, signal)
    const records = await wantedTargets(workspace)
    const standing = records.filter(isApplied)
    print.line(`${standing.length} of ${records.length} targets stand as the folder says.`)
    const whole = problems.length === 0 && failures.length === 0 && standing.length === records.length
    return whole ? 0 : 1
  } finally {
    await queue.stop()
    await watch.stop()
  }
}

/** A person who applies asks for it now: what failed before is tried again, what stands is checked for drift. */
async function queueWork(
  { store, specs, siteServer, config }: Workspace,
  input: {
    repo: string
    commit: string
    tree: Workspace['tree']
    signal: AbortSignal
    add: (key: string) => void
  },
) {
  const { repo, commit, tree, signal } = input
  const mirror: Mirror = { ...tree, probe: async () => commit, fetch: async () => commit }
  const parts = {
    store,
    specs,
    siteServer,
    deadlineMs: config.limits.deadlineMs,
    onWish: input.add,
    onRevision: () => {},
  }
  await passRepo(parts, { repo, branch: 'folder', mirror }, { force: true, signal })
  for (const record of await store.listTargets()) {
    if (record.target.repo !== repo || record.desired === null) continue
    if (!isApplied(record)) await queueRerun(parts, record.key, { commit, trigger: 'cli' })
    input.add(record.key)
  }
  return (await store.readRepo(repo))?.revisions.at(-1)?.problems ?? []
}

async function wantedTargets({ store, repo }: Workspace): Promise<TargetRecord[]> {
  return (await store.listTargets()).filter(({ target, desired }) => target.repo === repo && desired !== null)
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
