import { expect, test } from 'vitest'
import { advance, type Deployment, type DeploymentEvent, queueDeployment } from './deployment.ts'
import type { OwnedThing } from './observed.ts'
import { serviceRelease } from './release.fixture.ts'
import { freshVolumes, volumesOf } from './volumes.ts'

const now = '2026-11-21T10:00:00.000Z'
const target = { repo: 'acme/config', app: 'shop', host: 'web-1', preview: null }
const succeeded: DeploymentEvent = { type: 'succeeded' }
const failed: DeploymentEvent = {
  type: 'failed',
  fault: 'rejected',
  reason: '',
  hint: '',
  logTail: [],
  previous: '',
}

function thing(
  name: string,
  labels: Record<string, string>,
  kind: OwnedThing['kind'] = 'volume',
): OwnedThing {
  return { kind, id: name, name, labels, createdAt: null, userCount: null }
}

/** A deployment that made, or would have made, a volume of each name. */
function deployment(id: string, names: string[], end?: DeploymentEvent): Deployment {
  const queued = queueDeployment({
    id,
    target: 'acme/config:shop@web-1',
    commit: 'c0ffee',
    specHash: id,
    attempt: 1,
    trigger: 'push',
    now,
    deadlineAt: now,
  })
  const release = serviceRelease({ volumes: names.map((name) => ({ name, labels: labelsOf(id) })) })
  const pinned = advance(queued, { type: 'pinned', release, changes: [] }, now)
  return end ? advance(pinned, end, now) : pinned
}

const labelsOf = (id: string) => ({ 'towline.deployment': id, 'towline.epoch': `epoch of ${id}` })
const madeBy = (id: string, name: string) => thing(name, labelsOf(id))

test('only volumes with the labels of this very target are its own', () => {
  const labels = { 'towline.repo': 'acme/config', 'towline.app': 'shop' }
  const things = [
    thing('data', labels),
    thing('net', labels, 'network'),
    thing('blog', { ...labels, 'towline.app': 'blog' }),
    thing('other', { ...labels, 'towline.repo': 'acme/other' }),
    thing('preview', { ...labels, 'towline.preview': '12' }),
    thing('bare', {}),
  ]
  expect(volumesOf(things, target)).toEqual(['data'])
  expect(volumesOf(things, { ...target, preview: 12 })).toEqual(['preview'])
})

test('what a failed deployment made is fresh', () => {
  const deployments = [deployment('d-1', ['data'])]
  const things = [madeBy('d-1', 'data')]
  expect(freshVolumes(things, { deployments, applied: null, endedId: 'd-1' })).toEqual(['data'])
})

test('what stood before it is not fresh, though it carries the same name', () => {
  const deployments = [deployment('d-1', ['data'])]
  const epochBefore = { ...labelsOf('d-1'), 'towline.epoch': 'an earlier one' }
  for (const found of [madeBy('d-0', 'data'), thing('data', epochBefore), thing('data', {})]) {
    expect(freshVolumes([found], { deployments, applied: null, endedId: 'd-1' })).toEqual([])
  }
})

test('what a release that was ever proven uses is not fresh, whoever made it', () => {
  const deployments = [deployment('d-0', ['data'], succeeded), deployment('d-1', ['data', 'cache'])]
  const things = [madeBy('d-1', 'data'), madeBy('d-1', 'cache')]
  expect(freshVolumes(things, { deployments, applied: null, endedId: 'd-1' })).toEqual(['cache'])
  const applied = serviceRelease({ volumes: [{ name: 'cache', labels: {} }] })
  expect(freshVolumes(things, { deployments, applied, endedId: 'd-1' })).toEqual([])
})

test('what a superseded deployment made is fresh once the newer one has ended, well or badly', () => {
  const gaveWay = deployment('d-1', ['data'], { type: 'superseded', by: 'd-2' })
  const things = [madeBy('d-1', 'data')]
  for (const end of [undefined, succeeded, failed]) {
    const deployments = [gaveWay, deployment('d-2', [], end), deployment('d-3', [])]
    expect(freshVolumes(things, { deployments, applied: null, endedId: 'd-2' })).toEqual(['data'])
  }
})

test('what was left before the last success is never touched: somebody may have used it since', () => {
  const deployments = [
    deployment('d-1', ['data'], failed),
    deployment('d-2', [], succeeded),
    deployment('d-3', [], failed),
  ]
  expect(freshVolumes([madeBy('d-1', 'data')], { deployments, applied: null, endedId: 'd-3' })).toEqual([])
})
