import { revisionCheckName, revisionExternalId } from '../report/revision-check.ts'
import { advance, type Deployment, queueDeployment } from '../rollout/deployment.ts'
import { type ConfigParts, newReport, queueRerun } from './config-pass.ts'
import type { DeliveryHint, RepoRecord, Revision, TargetRecord } from './records.ts'

export type RerunParts = Pick<ConfigParts, 'store' | 'deadlineMs' | 'onWish' | 'onRevision'> & {
  /** Called for a target that was answered without any work. */
  onAnswer: (key: string) => void
}
type RerunHint = Extract<DeliveryHint, { kind: 'rerunCheck' | 'rerunSuite' }>

/**
 * GitHub's Re-run button. A run of one target queues a new attempt of it; the run over all, and "re-run all checks",
 * queue one for each target of the commit. Asked twice it happens once: an attempt that is open, or newer than
 * the run that was clicked, already is the answer. Returns true where the commit's specs should be read again.
 */
export async function rerun(parts: RerunParts, hint: RerunHint): Promise<boolean> {
  const repo = await parts.store.readRepo(hint.repo)
  const revision = repo?.revisions.find(({ commit }) => commit === hint.headSha)
  if (!repo || !revision) return true
  const isOverall = hint.kind === 'rerunCheck' && hint.name === revisionCheckName
  // A run over all that was renewed since is answered already.
  if (isOverall && hint.externalId !== revisionExternalId(revision)) return false
  const all = isOverall || hint.kind === 'rerunSuite'
  // GitHub offers Re-run on complete runs only, so it may know of the end before our note of it is stored.
  const ended = isOverall || revision.report.done
  const asked = all
    ? revision.deploymentIds
    : revision.deploymentIds.filter(({ deploymentId }) => deploymentId === hint.externalId)
  const queued: Revision['deploymentIds'] = []
  for (const { target, deploymentId } of asked) {
    const id = await rerunTarget(parts, { key: target, clickedId: deploymentId, commit: hint.headSha })
    if (id !== null) queued.push({ target, deploymentId: id })
  }
  const reread = all && ended && repo.head === hint.headSha
  if (queued.length > 0 || reread) await renewRevision(parts, repo, { commit: hint.headSha, queued, ended })
  return reread
}

/**
 * The same asked for by the API: a new attempt of one deployment that ended. Refused where it would not be this one's
 * answer any more: another is open, or the repo wants otherwise.
 */
export async function retryDeployment(
  parts: RerunParts,
  { id, target: key }: Pick<Deployment, 'id' | 'target'>,
): Promise<{ kind: 'accepted'; deploymentId: string } | { kind: 'refused'; reason: string }> {
  const record = await parts.store.readTarget(key)
  const asked = record?.deployments.find((deployment) => deployment.id === id)
  if (!record || !asked) return { kind: 'refused', reason: 'It was let go.' }
  const open = record.deployments.find(({ result }) => result === null)
  if (open) return { kind: 'refused', reason: `Deployment ${open.id} of this target is open.` }
  if (record.desired?.specHash !== asked.specHash) {
    const now = record.desired
      ? `commit ${record.desired.commit.slice(0, 12)} asks for another`
      : 'the app left it'
    return { kind: 'refused', reason: `The repo does not want it any more: ${now}.` }
  }
  const { commit } = asked
  const deploymentId = await queueRerun(parts, key, { trigger: 'api', commit })
  if (deploymentId === null) return { kind: 'refused', reason: 'Another deployment of this target is open.' }
  const repo = await parts.store.readRepo(record.target.repo)
  if (repo?.revisions.some((revision) => revision.commit === commit)) {
    await renewRevision(parts, repo, { commit, queued: [{ target: key, deploymentId }], ended: false })
  }
  return { kind: 'accepted', deploymentId }
}

/** Only what the repo still wants is deployed again; a run of an older wish is answered with why not. */
async function rerunTarget(
  parts: RerunParts,
  { key, clickedId, commit }: { key: string; clickedId: string; commit: string },
): Promise<string | null> {
  const record = await parts.store.readTarget(key)
  const clicked = record?.deployments.find(({ id }) => id === clickedId)
  if (!record || !clicked || clicked.result === null) return null
  const later = record.deployments.slice(record.deployments.indexOf(clicked) + 1)
  const answer = later.find((deployment) => deployment.commit === commit)
  // A crash may have come between that attempt and its place in the run over all.
  if (answer) return answer.id
  if (record.desired?.specHash === clicked.specHash)
    return queueRerun(parts, key, { trigger: 'rerun', commit })
  return answerOutdated(parts, record, clicked)
}

async function answerOutdated(parts: RerunParts, record: TargetRecord, clicked: Deployment): Promise<string> {
  const id = `${clicked.id}-outdated`
  const now = new Date().toISOString()
  const by = record.desired
    ? `what commit ${record.desired.commit.slice(0, 12)} says`
    : 'the removal of the app'
  const attempt = queueDeployment({ ...clicked, id, trigger: 'rerun', now })
  const answer = advance(attempt, { type: 'superseded', by }, now)
  await parts.store.updateTarget(record.key, (stored) => ({
    ...(stored ?? record),
    deployments: [...(stored ?? record).deployments, answer],
    reports: { ...(stored ?? record).reports, [id]: newReport },
  }))
  parts.onAnswer(record.key)
  return id
}

/** A run over all that is complete cannot reopen, so it gets a new attempt with a run of its own. One that is not goes on. */
async function renewRevision(
  parts: RerunParts,
  record: RepoRecord,
  input: { commit: string; queued: Revision['deploymentIds']; ended: boolean },
): Promise<void> {
  const replaced = new Map(input.queued.map(({ target, deploymentId }) => [target, deploymentId]))
  await parts.store.updateRepo(record.repo, (stored) => {
    const revisions = (stored ?? record).revisions.map((revision) => {
      if (revision.commit !== input.commit) return revision
      const deploymentIds = revision.deploymentIds.map(({ target, deploymentId }) => ({
        target,
        deploymentId: replaced.get(target) ?? deploymentId,
      }))
      const renewal =
        input.ended || revision.report.done ? { attempt: revision.attempt + 1, report: newReport } : {}
      return { ...revision, deploymentIds, ...renewal }
    })
    return { ...(stored ?? record), revisions }
  })
  parts.onRevision(record.repo)
}
