import { createHash } from 'node:crypto'
import type { CheckRun } from '../report/check-run.ts'
import { renderDeploymentCheck } from '../report/deployment-check.ts'
import { renderDriftCheck } from '../report/drift-check.ts'
import { type RevisionView, renderRevisionCheck } from '../report/revision-check.ts'
import { explain, faultOf, TowlineError } from '../rollout/error.ts'
import { newReport } from './config-pass.ts'
import type { GitHub, Log, Store } from './ports.ts'
import type { DriftRecord, ReportState, Revision, TargetRecord } from './records.ts'
import { backoffMs, waitFor } from './wait.ts'

/** Brings check runs to what the store says, whatever happened in between. */
export type Outbox = {
  /** Something about this target or repo may have to be told. Cheap; safe to call for anything. */
  markTarget(key: string): void
  markRepo(repo: string): void
  stop(): Promise<void>
}

/** One check run and where its state is kept. */
type Item = {
  id: string
  source: Source['kind']
  repo: string
  check: CheckRun
  report: ReportState
  /** True where nothing follows the state that is to be written. */
  isFinal: boolean
  save: (change: (report: ReportState) => ReportState) => Promise<void>
}

type Source = { kind: 'target' | 'repo'; key: string }
type Failure = { count: number; notBeforeMs: number }

/**
 * The outbox is level-triggered: the wanted content of a check run is rendered from the store, what GitHub was told is
 * remembered as a hash, and the difference is written. So bursts coalesce into the latest state, and a run ends
 * rightly though GitHub was away for hours or we were killed between any two calls. One write at a time,
 * `writeIntervalMs` apart (GitHub asks for a second); final states go first.
 */
export function createOutbox(parts: {
  store: Store
  github: Pick<GitHub, 'createCheckRun' | 'updateCheckRun' | 'findCheckRun'>
  writeIntervalMs: number
  log: Log
}): Outbox {
  const { store, github, log } = parts
  const controller = new AbortController()
  const { signal } = controller
  const marked = new Map<string, Source>()
  const failures = new Map<string, Failure>()
  const wakes = new Set<() => void>()
  /** True where something was marked since the look under way began: it may have come too late for that look. */
  let markedMeanwhile = false
  const loop = run()

  function mark(source: Source) {
    marked.set(`${source.kind} ${source.key}`, source)
    markedMeanwhile = true
    for (const wake of [...wakes]) wake()
  }

  async function run() {
    while (!signal.aborted) {
      markedMeanwhile = false
      const idleMs = await writeNext().catch((error: unknown) => {
        log.error({ err: error }, 'the outbox stumbled')
        return stumbleMs
      })
      if (signal.aborted) return
      if (markedMeanwhile && idleMs > parts.writeIntervalMs) continue
      await waitFor({
        ms: idleMs,
        signal,
        onWake: (wake) => {
          if (idleMs > parts.writeIntervalMs) wakes.add(wake)
          return () => wakes.delete(wake)
        },
      }).catch(() => {})
    }
  }

  /** Writes the most urgent difference; returns how long to wait before the next look. */
  async function writeNext(): Promise<number> {
    const items: Item[] = []
    for (const [mapKey, source] of marked) {
      const open = await openItems(store, source)
      // Marked anew while we read is another object: what we read may be older than that mark.
      if (open.length === 0 && marked.get(mapKey) === source) marked.delete(mapKey)
      items.push(...open)
    }
    const nowMs = Date.now()
    const due = items.filter(({ id }) => (failures.get(id)?.notBeforeMs ?? 0) <= nowMs)
    const item = due.sort((a, b) => urgency(a) - urgency(b))[0]
    if (item) {
      await write(item)
      return parts.writeIntervalMs
    }
    const retries = items.flatMap(({ id }) => failures.get(id)?.notBeforeMs ?? [])
    return retries.length > 0 ? Math.max(1, Math.min(...retries) - nowMs) : idleLookMs
  }

  async function write(item: Item) {
    const hash = hashCheck(item.check)
    const done = item.isFinal
    try {
      const checkRunId = item.report.checkRunId ?? (await createOnce(item))
      if (item.report.checkRunId !== null) {
        const annotationsFrom = item.check.annotations.length
        await github.updateCheckRun(item.repo, checkRunId, item.check, { annotationsFrom, signal })
      }
      await item.save((report) => ({
        ...report,
        checkRunId,
        writtenHash: hash,
        writeCount: report.writeCount + 1,
        done,
      }))
      failures.delete(item.id)
    } catch (error) {
      if (signal.aborted) return
      await postpone(item, error)
    }
  }

  /** Intent first: after a crash, or an answer that got lost, the run is looked for before it is made a second time. */
  async function createOnce(item: Item): Promise<number> {
    if (item.report.createIntended) {
      const found = await github.findCheckRun(item.repo, item.check, { signal })
      if (found !== null) {
        const annotationsFrom = found.annotationCount
        await github.updateCheckRun(item.repo, found.id, item.check, { annotationsFrom, signal })
        return found.id
      }
    }
    await item.save((report) => ({ ...report, createIntended: true }))
    return github.createCheckRun(item.repo, item.check, { signal })
  }

  async function postpone(item: Item, error: unknown) {
    const count = (failures.get(item.id)?.count ?? 0) + 1
    const askedMs = error instanceof TowlineError ? error.retryAfterMs : null
    const delayMs = Math.max(askedMs ?? 0, backoffMs(count, retryBackoff))
    failures.set(item.id, { count, notBeforeMs: Date.now() + delayMs })
    log.warn({ check: item.check.name, count, delayMs, ...explain(error) }, 'GitHub did not take a check run')
    if (faultOf(error) !== 'bug' || count < refusalLimit) return
    log.error(
      { check: item.check.name, ...explain(error) },
      'GitHub refuses this check run for good; giving it up',
    )
    failures.delete(item.id)
    await item.save((report) => ({ ...report, done: true }))
  }

  return {
    markTarget: (key) => mark({ kind: 'target', key }),
    markRepo: (repo) => mark({ kind: 'repo', key: repo }),
    async stop() {
      controller.abort()
      await loop
    },
  }
}

/** The check runs behind a mark that differ from what GitHub was told. */
async function openItems(store: Store, source: Source): Promise<Item[]> {
  const items =
    source.kind === 'target' ? await targetItems(store, source.key) : await repoItems(store, source.key)
  return items.filter(isDue)
}

async function targetItems(store: Store, key: string): Promise<Item[]> {
  const record = await store.readTarget(key)
  if (!record) return []
  return [...driftItems(store, record), ...deploymentItems(store, record)]
}

/** A stretch of drift that has ended may begin again and then goes on in the same run: GitHub lets a complete run change. */
function driftItems(store: Store, { key, target, drift, untoldDrifts }: TargetRecord): Item[] {
  const untold = [...untoldDrifts, ...(drift ? [drift] : [])].filter(({ report }) => !report.done)
  return untold.map(({ episode, report }) => ({
    id: episode.id,
    source: 'target',
    repo: target.repo,
    check: renderDriftCheck(episode),
    report,
    isFinal: episode.endedAt !== null,
    save: async (change) => {
      await store.updateTarget(key, (stored) => {
        if (!stored) throw new TowlineError(`the record of ${key} is gone`, { fault: 'stale' })
        const changed = (one: DriftRecord): DriftRecord => {
          if (one.episode.id !== episode.id) return one
          const saved = change(one.report)
          // Seen again while its end was on its way: that is still to be told.
          return { ...one, report: { ...saved, done: saved.done && one.episode.endedAt === episode.endedAt } }
        }
        return {
          ...stored,
          drift: stored.drift && changed(stored.drift),
          untoldDrifts: stored.untoldDrifts.map(changed).filter((one) => !one.report.done),
        }
      })
    },
  }))
}

function deploymentItems(store: Store, record: TargetRecord): Item[] {
  const { key } = record
  return record.deployments.flatMap((deployment) => {
    const report = record.reports[deployment.id]
    if (!report || report.done) return []
    const save = async (change: (report: ReportState) => ReportState) => {
      await store.updateTarget(key, (stored) => {
        if (!stored) throw new TowlineError(`the record of ${key} is gone`, { fault: 'stale' })
        const changed = change(stored.reports[deployment.id] ?? newReport)
        return { ...stored, reports: { ...stored.reports, [deployment.id]: changed } }
      })
    }
    const check = renderDeploymentCheck(deployment)
    return [
      {
        id: deployment.id,
        source: 'target' as const,
        repo: record.target.repo,
        check,
        report,
        isFinal: check.status === 'completed',
        save,
      },
    ]
  })
}

async function repoItems(store: Store, repo: string): Promise<Item[]> {
  const record = await store.readRepo(repo)
  const open = record?.revisions.filter(({ report }) => !report.done) ?? []
  return Promise.all(
    open.map(async (revision) => {
      const check = renderRevisionCheck(
        await viewRevision(store, { revision, isNewest: revision === record?.revisions.at(-1) }),
      )
      const save = async (change: (report: ReportState) => ReportState) => {
        await store.updateRepo(repo, (stored) => {
          if (!stored) throw new TowlineError(`the record of ${repo} is gone`, { fault: 'stale' })
          const revisions = stored.revisions.map((other) => {
            // A re-run gives the revision a fresh report meanwhile; the old attempt's answer must not land in it.
            if (other.commit !== revision.commit || other.attempt !== revision.attempt) return other
            const report = change(other.report)
            // Asked again while the final state was on its way: that run cannot reopen, so the next one tells it.
            const isLate = report.done && !saysTheSame(other, revision)
            return isLate ? { ...other, attempt: other.attempt + 1, report: newReport } : { ...other, report }
          })
          return { ...stored, revisions }
        })
      }
      const isFinal = check.status === 'completed'
      return {
        id: check.externalId,
        source: 'repo' as const,
        repo,
        check,
        report: revision.report,
        isFinal,
        save,
      }
    }),
  )
}

function saysTheSame(a: Revision, b: Revision): boolean {
  const said = ({ deploymentIds, removals, pruneRefused }: Revision) =>
    JSON.stringify([deploymentIds, removals, pruneRefused])
  return said(a) === said(b)
}

/** What is missing of an older revision was dropped since; what is missing of the newest has yet to be stored. */
async function viewRevision(
  store: Store,
  { revision, isNewest }: { revision: Revision; isNewest: boolean },
): Promise<RevisionView> {
  const deployments = await Promise.all(
    revision.deploymentIds.map(async ({ target, deploymentId }) => {
      const record = await store.readTarget(target)
      return record?.deployments.find(({ id }) => id === deploymentId) ?? []
    }),
  )
  const found = deployments.flat()
  const isWhole = !isNewest || found.length === revision.deploymentIds.length
  return { ...revision, deployments: found, isWhole }
}

function isDue({ check, report, isFinal }: Item): boolean {
  if (report.writtenHash === hashCheck(check)) return false
  return isFinal || report.writeCount < progressWriteLimit
}

/** Final states first, then runs GitHub does not know yet, then progress; one target before the run over all. */
function urgency({ report, source, isFinal }: Item): number {
  const rank = isFinal ? 0 : report.checkRunId === null ? 1 : 2
  return rank * 2 + (source === 'repo' ? 1 : 0)
}

function hashCheck(check: CheckRun): string {
  return createHash('sha256').update(JSON.stringify(check)).digest('hex').slice(0, 16)
}

/** With the final one at most 12 writes for one deployment. */
const progressWriteLimit = 11
/** A request GitHub refuses for its content will not be taken later either. A missing permission may be given. */
const refusalLimit = 8
const retryBackoff = { baseMs: 1_000, capMs: 300_000 }
/** Marks wake the loop; this is only the floor under it. */
const idleLookMs = 60_000
const stumbleMs = 5_000
