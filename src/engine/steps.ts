import { type TargetView, viewTarget } from '../rollout/plan.ts'
import type { FileSource } from '../rollout/release.ts'
import type { Step } from '../rollout/step.ts'
import { type SiteServer, siteFolder } from '../spec/release.ts'
import type { DockerHost, Log, ReleaseFile, Store } from './ports.ts'
import type { Claim, TargetRecord } from './records.ts'
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
  /** Called after each stored change of a target, for reports and live output. */
  onChange: (key: string) => void
  log: Log
}

/** One piece of work on one target, under its claim. `signal` cancels waits, never an atomic step. */
export type TargetWork = { record: TargetRecord; host: DockerHost; claim: Claim; signal: AbortSignal }

/** Carries out steps in order. Waits end with the signal; each act on the host is done whole. */
export async function executeSteps(
  parts: TargetParts,
  { record, host, signal }: Pick<TargetWork, 'record' | 'host' | 'signal'>,
  steps: Step[],
  options: { readyTimeoutMs: number; onProgress?: ProgressListener },
): Promise<void> {
  for (const step of steps) {
    signal.throwIfAborted()
    if (step.do === 'awaitReady') {
      await parts.tracker.awaitReady({ ...step, host, deadlineMs: options.readyTimeoutMs, signal })
    } else if (step.do === 'monitor') {
      await parts.tracker.watchSteady({ ...step, host, signal })
    } else {
      const long = step.do === 'ensureImage' || step.do === 'writeRelease'
      await host.apply(step, {
        signal: long ? signal : AbortSignal.timeout(atomicTimeoutMs(step)),
        ...(step.do === 'writeRelease' && {
          files: () => parts.files.read(record.target.repo, step.site.source, signal),
        }),
        ...(options.onProgress && {
          onProgress: (fraction: number, message: string) => options.onProgress?.(step, fraction, message),
        }),
      })
    }
  }
}

/** A fresh look at one target, narrowed to its app. */
export async function observeTarget(
  parts: Pick<TargetParts, 'store'>,
  work: Pick<TargetWork, 'record' | 'host'>,
): Promise<TargetView> {
  const { target } = work.record
  const release = work.record.applied?.release
  const wantsSite = release?.kind === 'Site' || work.record.desired?.spec.spec.kind === 'Site'
  const observed = await work.host.observe({
    deep: true,
    sites: wantsSite,
    only: { repo: target.repo, app: target.app },
    signal: AbortSignal.timeout(observeTimeoutMs),
  })
  return viewTarget(observed, target, wantsSite ? siteFolder(parts.store.owner, target) : null)
}

type ProgressListener = (step: Step, fraction: number, message: string) => void

/** An act that must not be cut short still ends: a stop takes its grace, anything else far less than the margin. */
function atomicTimeoutMs(step: Step): number {
  return ('graceMs' in step ? step.graceMs : 0) + atomicMarginMs
}

const atomicMarginMs = 60_000
/** Long enough for a full host; a host that hangs is not waited for. */
export const observeTimeoutMs = 30_000
