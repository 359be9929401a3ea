import { describe, expect, test } from 'vitest'
import type { Release } from '../rollout/release.ts'
import { boundRepo, boundTarget, keptDeployments, keptRevisions, keptUnreported } from './bounds.ts'
import {
  exampleDeployment,
  exampleRepo,
  exampleReport,
  exampleRevision,
  exampleTarget,
} from './examples.contract.ts'

const release: Release = {
  id: 'r1',
  inputHash: 'beef',
  commit: 'c0ffee',
  kind: 'Service',
  image: { reference: 'nginx:1.27', pinned: 'nginx@sha256:00' },
  network: { name: 'towline', labels: {} },
  volumes: [],
  containers: [],
  site: null,
  order: 'start-first',
  monitorMs: 10_000,
  keepReleases: 5,
}

describe('a target within its bounds', () => {
  test('is the same object', () => {
    const deployments = ended(keptDeployments)
    const record = exampleTarget({ deployments, reports: { d0: exampleReport() } })
    expect(boundTarget(record)).toBe(record)
  })
})

describe('a target beyond its bounds', () => {
  test('loses its oldest deployments and their reports, and nothing else', () => {
    const deployments = ended(keptDeployments + 3)
    const reports = Object.fromEntries(deployments.map(({ id }) => [id, exampleReport()]))
    const bounded = boundTarget(exampleTarget({ deployments, reports }))
    expect(bounded.deployments).toEqual(deployments.slice(3))
    expect(Object.keys(bounded.reports)).toEqual(deployments.slice(3).map(({ id }) => id))
  })

  test('loses the report of a deployment it does not have', () => {
    expect(boundTarget(exampleTarget({ reports: { gone: exampleReport() } })).reports).toEqual({})
  })

  test('keeps the applied deployment and every open one, however old', () => {
    const deployments = [...ended(2), exampleDeployment('open', 'queued'), ...ended(200, 'later')]
    const bounded = boundTarget(
      exampleTarget({
        deployments,
        applied: { deploymentId: 'd1', specHash: 'beef', release, at: '2026-11-21T10:00:00.000Z' },
      }),
    )
    expect(bounded.deployments.slice(0, 2).map(({ id }) => id)).toEqual(['d1', 'open'])
    expect(bounded.deployments.slice(2)).toEqual(deployments.slice(-keptDeployments))
  })

  test('keeps what GitHub was not told yet, up to a bound of its own', () => {
    const untold = (count: number) => {
      const deployments = ended(count)
      const reports = Object.fromEntries(deployments.map(({ id }) => [id, exampleReport({ done: false })]))
      return boundTarget(exampleTarget({ deployments, reports })).deployments
    }
    expect(untold(keptUnreported)).toEqual(ended(keptUnreported))
    expect(untold(keptUnreported + 5)).toEqual(ended(keptUnreported + 5).slice(5))
  })

  test('keeps its newest deployment, however many older ones must stay', () => {
    const old = ended(keptDeployments + 5, 'untold')
    const reports = Object.fromEntries(old.map(({ id }) => [id, exampleReport({ done: false })]))
    const deployments = [...old, exampleDeployment('newest')]
    expect(boundTarget(exampleTarget({ deployments, reports })).deployments).toEqual(deployments)
  })
})

describe('a repo', () => {
  test('within its bounds is the same object', () => {
    const record = exampleRepo({ revisions: revisions(keptRevisions) })
    expect(boundRepo(record)).toBe(record)
  })

  test('beyond its bounds loses its oldest revisions, but none that GitHub was not told of', () => {
    const untold = exampleRevision('untold', exampleReport({ done: false }))
    const record = exampleRepo({ revisions: [untold, ...revisions(keptRevisions + 5)] })
    expect(boundRepo(record).revisions).toEqual([untold, ...revisions(keptRevisions + 5).slice(5)])
  })

  test('that GitHub takes no reports of keeps a bounded number of revisions', () => {
    const untold = Array.from({ length: keptUnreported + 1 }, (_, index) =>
      exampleRevision(`c${index}`, exampleReport({ done: false })),
    )
    expect(boundRepo(exampleRepo({ revisions: untold })).revisions).toEqual(untold.slice(1))
  })
})

function ended(count: number, prefix = 'd') {
  return Array.from({ length: count }, (_, index) => exampleDeployment(`${prefix}${index}`))
}

function revisions(count: number) {
  return Array.from({ length: count }, (_, index) => exampleRevision(`c${index}`))
}
