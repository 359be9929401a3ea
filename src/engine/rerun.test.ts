import { beforeEach, describe, expect, test } from 'vitest'
import { isOpen } from '../rollout/deployment.ts'
import { newReport } from './config-pass.ts'
import { memoryStore } from './memory-store.fixture.ts'
import type { Store } from './ports.ts'
import { advanceStored, failure, queued, recordOf, revisionOf } from './records.fixture.ts'
import type { Desired, RepoRecord, ReportState } from './records.ts'
import { rerun } from './rerun.ts'

const repo = 'acme/config'
const commit = 'c0ffee'
const shop = queued('shop')
const blog = queued('blog')
const told: ReportState = { ...newReport, checkRunId: 7, createIntended: true, done: true }

let store: Store
let wished: string[]
let answered: string[]
let revisionsTold: number

/** A commit that asked for two deployments, of which one succeeded and one failed, all of it told. */
beforeEach(async () => {
  store = memoryStore()
  wished = []
  answered = []
  revisionsTold = 0
  for (const [app, deployment] of Object.entries({ shop, blog })) {
    const { id: deploymentId, specHash, attempt } = deployment
    await store.updateTarget(deployment.target, () =>
      recordOf(app, [deployment], {
        desired: wish(specHash),
        attempted: { deploymentId, specHash, attempt },
      }),
    )
  }
  await advanceStored(store, shop, { type: 'succeeded' })
  await advanceStored(store, blog, failure())
  await store.updateRepo(repo, () => repoRecord())
})

/** What the spec says beyond its hash does not matter to a re-run. */
function wish(specHash: string, at = commit): Desired {
  const spec = {
    kind: 'Service' as const,
    name: 'shop',
    hosts: ['web-1'],
    dependsOn: [],
    paused: null,
    ports: [],
    healthcheck: null,
    restart: { name: 'unless-stopped' as const, maxRetries: 0 },
    cpus: null,
    memoryBytes: null,
    monitorMs: 0,
    progressDeadlineMs: 300_000,
    keepReleases: 5,
    recreateVolumes: false,
    labels: {},
    image: 'shop:1',
    pullPolicy: 'missing' as const,
    entrypoint: null,
    command: null,
    environment: {},
    user: null,
    workingDir: null,
    mounts: [],
    replicas: 1,
    order: 'start-first' as const,
    stopSignal: null,
    stopGraceMs: 10_000,
  }
  return { commit: at, specHash, spec: { spec, path: 'apps/shop.yaml', line: 1, hash: specHash } }
}

function repoRecord(over: Partial<RepoRecord> = {}): RepoRecord {
  const revisions = [revisionOf(commit, [shop, blog], { report: told })]
  return { version: 1, repo, branch: 'main', head: commit, revisions, ...over }
}

function parts() {
  return {
    store,
    deadlineMs: 1_000,
    onWish: (key: string) => wished.push(key),
    onAnswer: (key: string) => answered.push(key),
    onRevision: () => {
      revisionsTold += 1
    },
  }
}

const clickTarget = (externalId: string, headSha = commit) =>
  rerun(parts(), {
    kind: 'rerunCheck',
    repo,
    headSha,
    name: 'towline / shop@web-1',
    externalId,
  })
const clickAll = (attempt = 1) =>
  rerun(parts(), {
    kind: 'rerunCheck',
    repo,
    headSha: commit,
    name: 'towline / deploy',
    externalId: `revision-${commit}-${attempt}`,
  })
const clickSuite = (headSha = commit) => rerun(parts(), { kind: 'rerunSuite', repo, headSha })

const deployments = async (key: string) => (await store.readTarget(key))?.deployments ?? []
const last = async (key: string) => (await deployments(key)).at(-1)
const revision = async () => (await store.readRepo(repo))?.revisions.at(-1)

async function endLast(key: string) {
  const open = await last(key)
  if (open) await advanceStored(store, open, { type: 'succeeded' })
}

describe('Re-run of one target', () => {
  test('queues one more attempt of it, and the commit gets a run over all that names it', async () => {
    expect(await clickTarget(shop.id)).toBe(false)
    expect(await deployments(shop.target)).toMatchObject([
      { id: shop.id },
      { commit, trigger: 'rerun', attempt: 2, phase: 'queued' },
    ])
    expect(wished).toEqual([shop.target])
    expect(await revision()).toMatchObject({
      attempt: 2,
      report: newReport,
      deploymentIds: [
        { target: shop.target, deploymentId: (await last(shop.target))?.id },
        { target: blog.target, deploymentId: blog.id },
      ],
    })
    expect(revisionsTold).toBe(1)
    expect(await deployments(blog.target)).toHaveLength(1)
  })

  test('happens once however often it is asked for while the new attempt is open', async () => {
    await Promise.all([clickTarget(shop.id), clickTarget(shop.id)])
    await clickTarget(shop.id)
    expect(await deployments(shop.target)).toHaveLength(2)
  })

  test('is answered by the attempt that followed the run that was clicked, also after that ended', async () => {
    await clickTarget(shop.id)
    await endLast(shop.target)
    await clickTarget(shop.id)
    expect(await deployments(shop.target)).toHaveLength(2)
    expect(await revision()).toMatchObject({ attempt: 2 })
  })

  test('may be asked for again on the newer run', async () => {
    await clickTarget(shop.id)
    await endLast(shop.target)
    await clickTarget((await last(shop.target))?.id ?? '')
    expect(await deployments(shop.target)).toMatchObject([{ attempt: 1 }, { attempt: 2 }, { attempt: 3 }])
  })

  test('that was cut off by a crash is completed when it is delivered again', async () => {
    const { updateRepo } = store
    store.updateRepo = async () => {
      throw new Error('killed')
    }
    await expect(clickTarget(shop.id)).rejects.toThrow('killed')
    store.updateRepo = updateRepo
    await clickTarget(shop.id)
    expect(await deployments(shop.target)).toHaveLength(2)
    expect((await revision())?.deploymentIds).toContainEqual({
      target: shop.target,
      deploymentId: (await last(shop.target))?.id,
    })
  })

  test('while another target of the commit still rolls out is told in the run over all that goes on', async () => {
    const open = { ...told, done: false }
    await store.updateRepo(repo, () =>
      repoRecord({ revisions: [revisionOf(commit, [shop, blog], { report: open })] }),
    )
    await clickTarget(shop.id)
    expect(await revision()).toMatchObject({ attempt: 1, report: open })
    expect((await revision())?.deploymentIds).toContainEqual({
      target: shop.target,
      deploymentId: (await last(shop.target))?.id,
    })
  })

  test('does nothing where its deployment is still open', async () => {
    await clickTarget(shop.id)
    await clickTarget((await last(shop.target))?.id ?? '')
    expect(await deployments(shop.target)).toHaveLength(2)
    expect(await revision()).toMatchObject({ attempt: 2 })
  })

  test('of a run nobody here made does nothing', async () => {
    expect(await clickTarget('d-unknown')).toBe(false)
    expect(wished).toEqual([])
    expect(await revision()).toMatchObject({ attempt: 1, report: told })
  })
})

describe('Re-run of what the repo does not want any more', () => {
  test('is answered with a run that ends at once and names the commit that took over', async () => {
    await store.updateTarget(shop.target, (record) => ({
      ...(record ?? recordOf('shop', [])),
      desired: wish('newer', 'b'.repeat(40)),
    }))
    await clickTarget(shop.id)
    expect(await last(shop.target)).toMatchObject({
      id: `${shop.id}-outdated`,
      commit,
      trigger: 'rerun',
      result: { kind: 'superseded', by: `what commit ${'b'.repeat(12)} says` },
    })
    expect(wished).toEqual([])
    expect(answered).toEqual([shop.target])
    expect((await store.readTarget(shop.target))?.reports[`${shop.id}-outdated`]).toEqual(newReport)
  })

  test('says so where the app left the repo', async () => {
    await store.updateTarget(shop.target, (record) => ({
      ...(record ?? recordOf('shop', [])),
      desired: null,
    }))
    await clickTarget(shop.id)
    expect((await last(shop.target))?.result).toMatchObject({ by: 'the removal of the app' })
  })

  test('waits for the end of the run that was clicked', async () => {
    await clickTarget(shop.id)
    const open = await last(shop.target)
    await store.updateTarget(shop.target, (record) => ({
      ...(record ?? recordOf('shop', [])),
      desired: null,
    }))
    await clickTarget(open?.id ?? '')
    expect(await last(shop.target)).toEqual(open)
    expect(answered).toEqual([])
  })

  test('is answered once for each run that was clicked, however often it comes', async () => {
    await store.updateTarget(shop.target, (record) => ({
      ...(record ?? recordOf('shop', [])),
      desired: null,
    }))
    await clickTarget(shop.id)
    await clickTarget(shop.id)
    expect(await deployments(shop.target)).toHaveLength(2)
  })
})

describe('Re-run of all', () => {
  test('by "Re-run all checks" or the run over all queues every target of the commit, and reads its specs again', async () => {
    for (const click of [() => clickSuite(), () => clickAll(2)]) {
      expect(await click()).toBe(true)
      const asked = await revision()
      for (const { target, id } of [shop, blog]) {
        const again = await last(target)
        expect(again).toMatchObject({ trigger: 'rerun', phase: 'queued' })
        expect(again?.id).not.toBe(id)
        expect(asked?.deploymentIds).toContainEqual({ target, deploymentId: again?.id })
        await endLast(target)
      }
      await store.updateRepo(repo, (record) => ({
        ...(record ?? repoRecord()),
        revisions: record?.revisions.map((one) => ({ ...one, report: told })) ?? [],
      }))
    }
    expect(await revision()).toMatchObject({ attempt: 3 })
  })

  test('queues nothing for a target that is still open, and does not renew the run for nothing', async () => {
    await clickSuite()
    const before = await store.readRepo(repo)
    expect(await clickSuite()).toBe(false)
    for (const { target } of [shop, blog]) expect((await deployments(target)).filter(isOpen)).toHaveLength(1)
    expect(await store.readRepo(repo)).toEqual(before)
  })

  test('on an older run over all than the newest does nothing', async () => {
    await clickAll()
    for (const { target } of [shop, blog]) await endLast(target)
    wished = []
    expect(await clickAll()).toBe(false)
    expect(wished).toEqual([])
    expect(await revision()).toMatchObject({ attempt: 2 })
  })

  test('of a commit that is not the head any more does not read it again', async () => {
    await store.updateRepo(repo, () => repoRecord({ head: 'b'.repeat(40) }))
    expect(await clickSuite()).toBe(false)
    expect(wished).toEqual([shop.target, blog.target])
  })

  test('of a commit with problems alone reads its specs again, as a run of its own', async () => {
    const empty = revisionOf(commit, [], { report: told })
    await store.updateRepo(repo, () => repoRecord({ revisions: [empty] }))
    expect(await clickAll()).toBe(true)
    expect(await revision()).toMatchObject({ attempt: 2, report: newReport })
  })
})

test('Re-run of a commit nothing is known of asks for a look at the repo', async () => {
  expect(await clickSuite('f'.repeat(40))).toBe(true)
  expect(await clickTarget(shop.id, 'f'.repeat(40))).toBe(true)
  expect(wished).toEqual([])
})
