import {
  attemptOf,
  isSameRelease,
  rebuiltDeployment,
  releaseAsItStands,
  type StandingRelease,
} from '../rollout/rebuild.ts'
import type { FileSource, Release } from '../rollout/release.ts'
import { formatTarget, type Target } from '../rollout/target.ts'
import { hashSpec, renderRelease, type SiteServer } from '../spec/release.ts'
import { newReport, newTarget } from './config-pass.ts'
import type { Store } from './ports.ts'
import type { Desired, TargetRecord } from './records.ts'
import type { ReadSpecs, WishedSpec } from './spec-reader.ts'

/** The specs of one commit of a repo. */
export type AtCommit = { commit: string; specs: ReadSpecs }

export type Git = {
  /** null where the repo, or its branch, is gone. */
  head: AtCommit | null
  /** null where nobody can read that commit any more. */
  older: (commit: string) => Promise<AtCommit | null>
}

/** What the record of a target was rebuilt from. */
export type RebuiltFrom = 'head' | 'older commit' | 'host alone'

type RecordParts = { store: Pick<Store, 'owner'>; siteServer: SiteServer }

/**
 * The record of one target, as far as anything tells. The head's spec says it best; else that of the commit it was
 * deployed from, so that the head is a change like any other; else the containers have to speak for themselves.
 */
export async function rebuildTarget(
  parts: RecordParts,
  { target, applied, git }: { target: Target; applied: StandingRelease; git: Git },
): Promise<{ record: TargetRecord; from: RebuiltFrom }> {
  const asHead = renderStanding(parts, { target, applied, at: git.head })
  if (asHead) return { record: recordOf(target, { applied, ...asHead }), from: 'head' }
  const older = applied.commit === git.head?.commit ? null : await git.older(applied.commit)
  const asOlder = renderStanding(parts, { target, applied, at: older })
  if (asOlder) {
    const left = git.head !== null && hasLeft(git.head, target)
    const desired = left || git.head === null ? null : asOlder.desired
    return { record: recordOf(target, { applied, ...asOlder, desired }), from: 'older commit' }
  }
  const settings = wishOf(git.head, target)?.located.spec ?? standingDefaults
  const release = releaseAsItStands(applied, {
    owner: parts.store.owner,
    target,
    monitorMs: settings.monitorMs,
    keepReleases: settings.keepReleases,
  })
  return { record: recordOf(target, { applied, release, specHash: '', desired: null }), from: 'host alone' }
}

/** The release that stands, made from the spec of a commit. null where that spec does not say exactly that. */
function renderStanding(
  { store, siteServer }: RecordParts,
  { target, applied, at }: { target: Target; applied: StandingRelease; at: AtCommit | null },
): { release: Release; specHash: string; desired: Desired } | null {
  const wished = wishOf(at, target)
  if (!at || !wished) return null
  const { located, filesOid } = wished
  const { spec, hash } = located
  const specHash = hashSpec({ hash, filesOid, spec, siteServer })
  const { deploymentId, commit: labelledCommit } = applied
  const release = renderRelease(spec, {
    owner: store.owner,
    target,
    // As labelled: a container that is healed gets the labels it had.
    deploymentId,
    commit: labelledCommit,
    attempt: attemptOf(applied.id),
    epoch: applied.epoch,
    specHash,
    image: {
      reference: spec.kind === 'Service' ? spec.image : siteServer.image,
      pinned: applied.containers[0]?.spec.image ?? '',
    },
    source: sourceOf(wished, at.commit),
    siteServer,
  })
  if (!isSameRelease(release, applied)) return null
  // What a Site serves may be newer than the server, whose labels those are.
  const commit = spec.kind === 'Site' ? at.commit : labelledCommit
  return { release: { ...release, commit }, specHash, desired: { commit, specHash, spec: located } }
}

export function wishOf(at: AtCommit | null, { app, host, preview }: Target): WishedSpec | null {
  if (preview !== null) return null
  const found = at?.specs.specs.find(
    ({ located: { spec } }) => spec.name === app && spec.hosts.includes(host),
  )
  return found ?? null
}

/** An app is gone only where all of its commit can be read: a broken file may be the one that describes it. */
function hasLeft(head: AtCommit, target: Target): boolean {
  return wishOf(head, target) === null && head.specs.problems.length === 0
}

function sourceOf({ located: { spec }, filesOid }: WishedSpec, commit: string): FileSource | null {
  if (spec.kind !== 'Site') return null
  if ('inline' in spec.source) return { kind: 'inline', files: spec.source.inline }
  return { kind: 'folder', commit, path: spec.source.files, treeOid: filesOid ?? '' }
}

/** Labels of a Site's server are of the deployment that made the server, which may be older than what it serves. */
function deploymentIdOf(
  { kind, id, deploymentId, commit }: StandingRelease,
  servedCommit: string | null,
): string {
  const isOwn = deploymentId !== '' && (kind === 'Service' || commit === servedCommit)
  return isOwn ? deploymentId : unlabelled + id
}

/** Before the id of a release whose deployment nothing tells of any more. */
export const unlabelled = 'rebuilt-'

function recordOf(
  target: Target,
  input: { applied: StandingRelease; release: Release; specHash: string; desired: Desired | null },
): TargetRecord {
  const { applied, release, specHash, desired } = input
  const key = formatTarget(target)
  const { at } = applied
  // Where nothing but the host tells of it, the commit of what a Site serves is not known.
  const id = deploymentIdOf(applied, specHash === '' ? null : release.commit)
  const others = applied.otherIds.map((otherId) => {
    const other = {
      ...release,
      id: otherId,
      inputHash: otherId,
      site: release.site && { ...release.site, source: unknownSource },
    }
    return rebuiltDeployment({ id: unlabelled + otherId, target: key, specHash: '', release: other, at })
  })
  const deployments = [...others, rebuiltDeployment({ id, target: key, specHash, release, at })]
  return {
    ...newTarget(key, target),
    desired,
    attempted: { deploymentId: id, specHash, attempt: attemptOf(release.id) },
    applied: { deploymentId: id, specHash, release, at },
    deployments,
    reports: Object.fromEntries(deployments.map((deployment) => [deployment.id, toldReport])),
  }
}

const unknownSource: FileSource = { kind: 'unknown' }

/** GitHub was told when it happened. */
export const toldReport = { ...newReport, done: true }

/** What `schemas/defaults.ts` says, for a release no spec is known of. */
const standingDefaults = { monitorMs: 5_000, keepReleases: 5 }
