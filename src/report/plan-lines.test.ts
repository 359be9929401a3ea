import { expect, test } from 'vitest'
import { containerSpec, siteRelease } from '../rollout/release.fixture.ts'
import type { Step } from '../rollout/step.ts'
import { describeStep, renderPlan } from './plan-lines.ts'

const reason = 'because'
const { network, site } = siteRelease()
const name = 'shop-1'
const waits: Step[] = [
  { do: 'awaitReady', phase: 'updating_routes', names: [name], created: [], settleMs: 1, reason },
  { do: 'monitor', phase: 'health_check', names: [name], started: [], monitorMs: 1, reason },
]

test('a plan reads as one line a step with its reason, and leaves waits out', () => {
  const steps: Step[] = [
    { do: 'ensureImage', phase: 'building', image: { reference: 'nginx:1.27', pinned: 'x' }, reason },
    { do: 'ensureNetwork', phase: 'copying_files', network, reason },
    { do: 'ensureVolume', phase: 'copying_files', volume: { name: 'data', labels: {} }, reason },
    ...(site ? [{ do: 'writeRelease', phase: 'copying_files', releaseId: 'r2', site, reason } as const] : []),
    { do: 'createContainer', phase: 'copying_files', container: containerSpec({ name }), reason },
    {
      do: 'pointLinks',
      phase: 'creating_symlinks',
      folder: 'sites/docs',
      links: [
        { name: 'webroot', to: 'releases/r2/dist' },
        { name: 'current', to: 'releases/r2' },
      ],
      reason,
    },
    { do: 'stopContainer', phase: 'updating_routes', name: 'old-1', graceMs: 1, reason },
    { do: 'startContainer', phase: 'updating_routes', name, reason },
    ...waits,
    { do: 'removeContainer', phase: 'active', name: 'old-1', id: 'abc', graceMs: 1, reason },
    { do: 'removeRelease', phase: 'active', folder: 'sites/docs', releaseId: 'r1', reason },
    { do: 'removeSite', phase: 'active', folder: 'sites/docs', reason },
  ]
  expect(renderPlan(steps)).toEqual([
    'use image nginx:1.27 (because)',
    'ensure network towline-net (because)',
    'ensure volume data (because)',
    'write release r2 (because)',
    'create container shop-1 (because)',
    'point webroot to releases/r2/dist, point current to releases/r2 (because)',
    'stop container old-1 (because)',
    'start container shop-1 (because)',
    'remove container old-1 (because)',
    'remove release r1 (because)',
    'remove sites/docs (because)',
  ])
})

test('a wait has no words of its own', () => {
  expect(waits.map(describeStep)).toEqual([null, null])
})
