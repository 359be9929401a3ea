import { expect, test } from 'vitest'
import { createDeliveries } from './deliveries.ts'
import { startApp } from './github-api.fixture.ts'

const { signal } = new AbortController()
const startMs = Date.parse('2026-11-21T10:00:00Z')
const sinceMs = startMs - 3 * 24 * 60 * 60_000
const repository = { full_name: 'acme/config' }

type Attempt = {
  id: number | bigint
  guid: string
  event: string
  action: string | null
  status: string
  status_code: number
  delivered_at: string
}

let attemptCount = 0

/** A push nobody answered, a second after the attempt made before it. */
function attempt(guid: string, over: Partial<Attempt> = {}): Attempt {
  attemptCount += 1
  const deliveredAt = new Date(startMs + attemptCount * 1_000).toISOString()
  const failed = { status: 'failed to connect to host', status_code: 0 }
  return {
    id: attemptCount,
    guid,
    event: 'push',
    action: null,
    ...failed,
    delivered_at: deliveredAt,
    ...over,
  }
}

const acknowledged = { status: 'OK', status_code: 202 }
const old = { delivered_at: new Date(sinceMs - 1_000).toISOString() }

/** GitHub's record of these attempts, given oldest first, and what each held. */
async function startRecord(attempts: Attempt[], payload: object | null = { repository }) {
  const newestFirst = attempts.toReversed()
  const started = await startApp(({ path, query }) => {
    if (path === '/app/hook/deliveries') {
      const from = Number(query.get('cursor') ?? 0)
      const to = from + Number(query.get('per_page'))
      const link = `<http://localhost/app/hook/deliveries?per_page=100&cursor=${to}>; rel="next"`
      return { body: newestFirst.slice(from, to), ...(to < newestFirst.length && { headers: { link } }) }
    }
    const found = attempts.find(({ id }) => path === `/app/hook/deliveries/${id}`)
    return found ? { body: { ...found, request: { headers: {}, payload } } } : null
  })
  return {
    deliveries: createDeliveries(started.app.probot),
    requests: started.requests,
    [Symbol.asyncDispose]: () => started[Symbol.asyncDispose](),
  }
}

async function missed(attempts: Attempt[]) {
  await using record = await startRecord(attempts)
  const { missed: found } = await record.deliveries.missedDeliveries({ sinceMs, signal })
  return found.map(({ guid }) => guid)
}

test('what no attempt could bring is missed, oldest first, and read from its last attempt', async () => {
  await using record = await startRecord([
    attempt('guid-a'),
    attempt('guid-b', { status: 'Invalid HTTP Response: 502', status_code: 502 }),
    attempt('guid-a', { id: 99, status: 'timed out' }),
  ])
  expect(await record.deliveries.missedDeliveries({ sinceMs, signal })).toEqual({
    missed: [
      { guid: 'guid-a', attemptId: '99', event: 'push' },
      { guid: 'guid-b', attemptId: expect.any(String), event: 'push' },
    ],
    whole: true,
  })
})

test.each<[string, Attempt[]]>([
  ['was acknowledged', [attempt('guid-a', acknowledged)]],
  ['was acknowledged when it was sent again', [attempt('guid-a'), attempt('guid-a', acknowledged)]],
  ['failed when it was sent again needlessly', [attempt('guid-a', acknowledged), attempt('guid-a')]],
  ['was answered with success in other words', [attempt('guid-a', { status: 'Accepted', status_code: 202 })]],
  ['is older than asked for', [attempt('guid-a', old)]],
  ['means nothing', [attempt('guid-a', { event: 'issues', action: 'opened' })]],
  ['is another action', [attempt('guid-a', { event: 'check_run', action: 'completed' })]],
])('what %s is not missed', async (_what, attempts) => {
  expect(await missed(attempts)).toEqual([])
})

test('each event that means something can be missed', async () => {
  const events: [string, string | null][] = [
    ['push', null],
    ['pull_request', 'synchronize'],
    ['check_run', 'rerequested'],
    ['check_suite', 'rerequested'],
    ['installation', 'created'],
    ['installation_repositories', 'added'],
  ]
  const attempts = events.map(([event, action]) => attempt(`guid-${event}`, { event, action }))
  expect(await missed(attempts)).toEqual(events.map(([event]) => `guid-${event}`))
})

test('pages are followed by their cursor, without a filter that would hide failures', async () => {
  const attempts = Array.from({ length: 250 }, (_, index) => attempt(`guid-${index}`))
  await using record = await startRecord(attempts)
  const { missed: found, whole } = await record.deliveries.missedDeliveries({ sinceMs, signal })
  expect([found.length, whole]).toEqual([250, true])
  expect(record.requests.map(({ query }) => [...query])).toEqual([
    [['per_page', '100']],
    [
      ['per_page', '100'],
      ['cursor', '100'],
    ],
    [
      ['per_page', '100'],
      ['cursor', '200'],
    ],
  ])
})

test('an acknowledgement on another page counts', async () => {
  const between = Array.from({ length: 150 }, (_, index) => attempt(`guid-${index}`, acknowledged))
  expect(await missed([attempt('guid-a'), ...between, attempt('guid-a', acknowledged)])).toEqual([])
})

test('pages beyond the time that counts are not asked for', async () => {
  const olds = Array.from({ length: 250 }, (_, index) => attempt(`guid-${index}`, old))
  await using record = await startRecord([...olds, attempt('guid-a')])
  const { missed: found, whole } = await record.deliveries.missedDeliveries({ sinceMs, signal })
  expect([found.map(({ guid }) => guid), whole]).toEqual([['guid-a'], true])
  expect(record.requests).toHaveLength(1)
})

test('more than 30 pages are not looked through, and that is said', async () => {
  const attempts = Array.from({ length: 3_050 }, (_, index) => attempt(`guid-${index}`))
  await using record = await startRecord(attempts)
  const { missed: found, whole } = await record.deliveries.missedDeliveries({ sinceMs, signal })
  expect([found.length, found[0]?.guid, whole]).toEqual([3_000, 'guid-50', false])
  expect(record.requests).toHaveLength(30)
})

test('a missed delivery means what its webhook would have meant', async () => {
  const run = { head_sha: 'c0ffee', name: 'towline / shop@web-1', external_id: 'd-1' }
  const rerun = attempt('guid-a', { event: 'check_run', action: 'rerequested' })
  await using record = await startRecord([rerun], { action: 'rerequested', repository, check_run: run })
  const [found] = (await record.deliveries.missedDeliveries({ sinceMs, signal })).missed
  expect(found && (await record.deliveries.readDelivery(found, { signal }))).toEqual([
    {
      guid: 'guid-a',
      hint: {
        kind: 'rerunCheck',
        repo: 'acme/config',
        headSha: 'c0ffee',
        name: 'towline / shop@web-1',
        externalId: 'd-1',
      },
    },
  ])
})

test('an id beyond what a number of JavaScript can hold is asked for to the digit', async () => {
  await using record = await startRecord([attempt('guid-a', { id: 3_804_004_623_172_239_366n })])
  const [found] = (await record.deliveries.missedDeliveries({ sinceMs, signal })).missed
  expect(found && (await record.deliveries.readDelivery(found, { signal }))).toHaveLength(1)
  expect(record.requests.at(-1)?.path).toBe('/app/hook/deliveries/3804004623172239366')
})

test('a delivery whose content is gone is told from one that could not be asked for', async () => {
  await using record = await startRecord([attempt('guid-a', { id: 7 })], null)
  const delivery = { guid: 'guid-a', attemptId: '7', event: 'push' }
  expect(await record.deliveries.readDelivery(delivery, { signal })).toBeNull()
  expect(await record.deliveries.readDelivery({ ...delivery, attemptId: '8' }, { signal })).toBeNull()
})

test('while GitHub does not answer rightly, the failure says what to do', async () => {
  await using started = await startApp(() => ({
    status: 429,
    body: { message: 'slow down' },
    headers: { 'retry-after': '7' },
  }))
  const deliveries = createDeliveries(started.app.probot)
  const limited = { fault: 'temporary', retryAfterMs: 7_000 }
  await expect(deliveries.missedDeliveries({ sinceMs, signal })).rejects.toMatchObject(limited)
  const delivery = { guid: 'guid-a', attemptId: '7', event: 'push' }
  await expect(deliveries.readDelivery(delivery, { signal })).rejects.toMatchObject(limited)
})
