import { expect, test } from 'vitest'
import { TowlineError } from '../rollout/error.ts'
import { observedContainer } from '../rollout/observed.fixture.ts'
import { containerSpec } from '../rollout/release.fixture.ts'
import { dockerHost } from './host.fixture.ts'
import { createHostStatus } from './host-status.ts'
import { recordLog } from './log.fixture.ts'
import { memoryStore } from './memory-store.fixture.ts'
import type { DockerHost } from './ports.ts'
import { advanceStored, queued, recordOf } from './records.fixture.ts'
import { recover } from './recovery.ts'

const { signal } = new AbortController()

async function scene(hosts: DockerHost[] = [dockerHost()]) {
  const store = memoryStore()
  const log = recordLog()
  const hostStatus = createHostStatus({ store, hosts: hosts.map(({ name }) => name), log })
  const told: string[] = []
  return {
    store,
    log,
    hostStatus,
    told,
    recover: () =>
      recover(
        {
          store,
          hosts: new Map(hosts.map((host) => [host.name, host])),
          hostStatus,
          onChange: (key) => told.push(key),
          log,
        },
        { signal },
      ),
  }
}

/** A host with a container made under this epoch. */
function hostWith(epoch: string, over: Partial<DockerHost> = {}): DockerHost {
  const spec = containerSpec()
  const container = observedContainer(spec, { labels: { ...spec.labels, 'towline.epoch': epoch } })
  const { observe } = dockerHost()
  return dockerHost({
    observe: async (options) => ({ ...(await observe(options)), containers: [container] }),
    ...over,
  })
}

test('every unfinished deployment is named with its phase: the newest goes on, older ones give way to it', async () => {
  const { store, told, recover: start } = await scene()
  const [first, second] = [queued('shop', { id: 'd-1' }), queued('shop', { id: 'd-2' })]
  const record = recordOf('shop', [first, second])
  await store.updateTarget(record.key, () => record)
  await advanceStored(store, second, { type: 'phase', phase: 'copying_files' })
  const other = recordOf('blog', [queued('blog')])
  await store.updateTarget(other.key, () => other)
  expect(await start()).toEqual([
    { target: record.key, deploymentId: 'd-1', phase: 'queued', outcome: 'superseded' },
    { target: record.key, deploymentId: 'd-2', phase: 'copying_files', outcome: 'resumes' },
    { target: other.key, deploymentId: 'd-blog', phase: 'queued', outcome: 'resumes' },
  ])
  const stored = await store.readTarget(record.key)
  expect(stored?.deployments[0]?.result).toEqual({ kind: 'superseded', phase: 'queued', by: 'd-2' })
  expect(stored?.deployments[1]?.result).toBeNull()
  expect(told).toEqual([record.key])
})

test('no epoch is given again that any host has seen, whatever the store remembers', async () => {
  const { store, recover: start } = await scene([hostWith('4711'), hostWith('no number', { name: 'web-2' })])
  await start()
  const claim = await store.claimTarget('acme/config:shop@web-1', { holder: 'worker', ttlMs: 60_000 })
  expect(claim?.epoch).toBeGreaterThan(4711)
})

test('a host that gives no answer is unknown from then on, and holds up no other', async () => {
  const away = new TowlineError('no answer', { fault: 'temporary' })
  const gone = dockerHost({
    name: 'web-2',
    observe: async () => {
      throw away
    },
  })
  const { store, hostStatus, recover: start } = await scene([hostWith('17'), gone])
  const record = recordOf('shop', [queued('shop')])
  await store.updateTarget(record.key, () => record)
  expect(await start()).toHaveLength(1)
  expect(hostStatus.unknownSince('web-1')).toBeNull()
  expect(hostStatus.unknownSince('web-2')).not.toBeNull()
})
