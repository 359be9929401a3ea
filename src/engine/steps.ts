import { type TargetView, viewTarget } from '../rollout/plan.ts'
import type { FileSource, Release } from '../rollout/release.ts'
import type { Step } from '../rollout/step.ts'
import { type SiteServer, siteFolder } from '../spec/release.ts'
import type { HostStatus } from './host-status.ts'
import type { DockerHost, Log, ReleaseFile, Store } from './ports.ts'
import type { Claim, TargetRecord } from './records.ts'
import type { Statistics } from './statistics.ts'
import type { Tracker } from './tracker.ts'

/** What work on a target needs from outside. */
export type TargetParts = {
  store: Store
  hosts: ReadonlyMap<string, DockerHost>
  tracker: Tracker
  /** Tree id of a folder at a commit, and the files behind a source. */
  files: {
    treeOid: (repo: string, commit: string, path: string, signal: AbortSignal) => Promise<string | null>
    read: (repo: string, source: FileSource, signal: AbortSignal) => Promise<ReleaseFile[]>
  }
  siteServer: SiteServer
  /** Which hosts answer. */
  hostStatus: Pick<HostStatus, 'unknownSince' | 'whenKnown'>
  /** How long one phase may take where the spec does not say. */
  progressDeadlineMs: number
  /** How often within which time one thing is put right. */
  healing: { limit: number; windowMs: number }
  statistics: Statistics
  /** Called after each stored change of a target, for reports and live output. */
  onChange: (key: string) => void
  log: Log
}

/** One piece of work on one target, under its claim. `signal` cancels waits, never an atomic step. */
export type TargetWork = { record: TargetRecord; host: DockerHost; claim: Claim; signal: AbortSignal }

type ExecuteOptions = { readyTimeoutMs: number; onProgress?: ProgressListener }

/**
 * Carries out steps in order; the same act on several replicas is done side by side. Waits end with the signal; each
 * act on the host is done whole.
 */
export async function executeSteps(
  parts: TargetParts,
  work: Pick<TargetWork, 'record' | 'host' | 'signal'>,
  steps: Step[],
  options: ExecuteOptions,
): Promise<void> {
  for (const group of groupReplicas(steps)) {
    work.signal.throwIfAborted()
    // All of a group end before an error goes on: nothing may still be acting when the next plan is made.
    const outcomes = await Promise.allSettled(
      group.map((step) => executeStep(parts, work, { step, options })),
    )
    for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason
  }
}

async function executeStep(
  parts: TargetParts,
  { record, host, signal }: Pick<TargetWork, 'record' | 'host' | 'signal'>,
  { step, options }: { step: Step; options: ExecuteOptions },
): Promise<void> {
  if (step.do === 'awaitReady') {
    return parts.tracker.awaitReady({ ...step, host, deadlineMs: options.readyTimeoutMs, signal })
  }
  if (step.do === 'monitor') return parts.tracker.watchSteady({ ...step, host, signal })
  const long = step.do === 'ensureImage' || step.do === 'writeRelease'
  return host.apply(step, {
    signal: long ? signal : AbortSignal.timeout(atomicTimeoutMs(step)),
    ...(step.do === 'writeRelease' && {
      files: () => parts.files.read(record.target.repo, step.site.source, signal),
    }),
    ...(options.onProgress && { onProgress: options.onProgress }),
  })
}

/** Neighbours that do the same to different containers, at most `replicasAtOnce` together. */
function groupReplicas(steps: Step[]): Step[][] {
  const groups: Step[][] = []
  for (const step of steps) {
    const last = groups.at(-1)
    const joins = last?.[0]?.do === step.do && replicaActs.has(step.do) && last.length < replicasAtOnce
    if (joins) last.push(step)
    else groups.push([step])
  }
  return groups
}

const replicaActs = new Set<Step['do']>([
  'createContainer',
  'startContainer',
  'stopContainer',
  'removeContainer',
])

/** A stop may take its whole grace, so one after another would take long; more at once only press on the host. */
const replicasAtOnce = 8

/** A fresh look at one target, narrowed to its app. Every file of `release`, or else of the applied one, is read. */
export async function observeTarget(
  parts: Pick<TargetParts, 'store'>,
  work: Pick<TargetWork, 'record' | 'host'>,
  wanted?: Release,
): Promise<TargetView> {
  const { target } = work.record
  const release = wanted ?? work.record.applied?.release
  const wantsSite = release?.kind === 'Site' || work.record.desired?.spec.spec.kind === 'Site'
  const observed = await work.host.observe({
    deep: true,
    sites: wantsSite,
    files: release?.site ? [{ folder: release.site.folder, releaseId: release.id }] : [],
    resources: true,
    only: { repo: target.repo, app: target.app },
    signal: AbortSignal.timeout(observeTimeoutMs),
  })
  return viewTarget(observed, target, wantsSite ? siteFolder(parts.store.owner, target) : null)
}

type ProgressListener = (fraction: number, message: string) => void

/** An act that must not be cut short still ends: a stop takes its grace, anything else far less than the margin. */
function atomicTimeoutMs(step: Step): number {
  return ('graceMs' in step ? step.graceMs : 0) + atomicMarginMs
}

const atomicMarginMs = 60_000
/** Long enough for a full host; a host that hangs is not waited for. */
export const observeTimeoutMs = 30_000
