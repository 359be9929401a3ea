import { expect, test } from 'vitest'
import { advance, type Deployment, queueDeployment } from './deployment.ts'
import { stuckNow } from './stuck.ts'

const waiting = queueDeployment({
  id: 'd-1',
  target: 'acme/config:shop@web-1',
  commit: 'c0ffee',
  specHash: 'beef',
  attempt: 1,
  trigger: 'push',
  now: '2026-11-21T10:00:00.000Z',
  deadlineAt: '2026-11-21T10:30:00.000Z',
})
const building = advance(waiting, { type: 'phase', phase: 'building' }, '2026-11-21T10:10:00.000Z')
const ended = advance(building, { type: 'succeeded' }, '2026-11-21T10:11:00.000Z')

function look(deployment: Deployment, clock: string) {
  const found = stuckNow(deployment, {
    nowMs: Date.parse(`2026-11-21T${clock}.000Z`),
    progressDeadlineMs: 300_000,
  })
  return found && `${found.reason} since ${new Date(found.sinceMs).toISOString().slice(11, 19)}`
}

test.each<[string, Deployment, string, string | null]>([
  ['gets on', building, '10:15:00', null],
  ['stands still in its phase', building, '10:15:01', 'progress since 10:15:00'],
  ['stands still and is past its deadline', building, '10:40:01', 'deadline since 10:40:00'],
  ['waits in the queue, however long', waiting, '23:00:00', null],
  ['has ended', ended, '23:00:00', null],
])('a deployment that %s is told apart', (_, deployment, clock, verdict) => {
  expect(look(deployment, clock)).toBe(verdict)
})
