import { randomUUID } from 'node:crypto'
import { TowlineError } from '../rollout/error.ts'
import { boundRepo, boundTarget } from '../store/bounds.ts'
import { frozen } from '../store/frozen.ts'
import type { Store } from './ports.ts'
import type { Claim, Delivery, HostRecord, RepoRecord, TargetRecord } from './records.ts'

/** A store that forgets with the process, for tests. It passes the contract of every store. */
export function memoryStore({
  nowMs = () => Date.now(),
  owner = randomUUID(),
}: {
  nowMs?: () => number
  owner?: string
} = {}): Store {
  const targets = new Map<string, TargetRecord>()
  const repos = new Map<string, RepoRecord>()
  const hosts = new Map<string, HostRecord>()
  const deliveries = new Map<string, Delivery>()
  const claims = new Map<string, { holder: string; epoch: number; expiresAtMs: number }>()
  let epoch = 0
  let isClosed = false

  function refuseIfClosed() {
    if (isClosed) throw new TowlineError('the store is closed', { fault: 'cancelled' })
  }

  function heldClaim(claim: Claim) {
    const held = claims.get(claim.target)
    if (held?.epoch === claim.epoch) return held
    throw new TowlineError(`claim ${claim.epoch} on ${claim.target} is stale`, { fault: 'stale' })
  }

  return {
    owner,
    readTarget: async (key) => targets.get(key) ?? null,
    listTargets: async () => [...targets.values()],
    async updateTarget(key, change, { claim } = {}) {
      refuseIfClosed()
      if (claim) heldClaim(claim)
      const changed = boundTarget(change(targets.get(key) ?? null))
      if (changed.key !== key) {
        throw new TowlineError(`the record of ${changed.key} was to be stored as ${key}`, { fault: 'bug' })
      }
      targets.set(key, frozen(changed))
      return changed
    },
    async deleteTarget(key, { claim, when = () => true } = {}) {
      if (claim) heldClaim(claim)
      const record = targets.get(key)
      return record !== undefined && when(record) && targets.delete(key)
    },
    async claimTarget(target, { holder, ttlMs }) {
      const expiresAtMs = nowMs() + ttlMs
      if ((claims.get(target)?.expiresAtMs ?? 0) > nowMs()) return null
      epoch += 1
      claims.set(target, { holder, epoch, expiresAtMs })
      return { target, holder, epoch, expiresAt: new Date(expiresAtMs).toISOString() }
    },
    async renewClaim(claim, { ttlMs }) {
      heldClaim(claim).expiresAtMs = nowMs() + ttlMs
    },
    async releaseClaim(claim) {
      if (claims.get(claim.target)?.epoch === claim.epoch) claims.delete(claim.target)
    },
    readRepo: async (repo) => repos.get(repo) ?? null,
    listRepos: async () => [...repos.values()],
    async updateRepo(repo, change) {
      refuseIfClosed()
      const changed = frozen(boundRepo(change(repos.get(repo) ?? null)))
      repos.set(repo, changed)
      return changed
    },
    readHost: async (host) => hosts.get(host) ?? null,
    listHosts: async () => [...hosts.values()],
    async updateHost(host, change) {
      refuseIfClosed()
      const changed = frozen(change(hosts.get(host) ?? null))
      hosts.set(host, changed)
      return changed
    },
    async raiseEpoch(above) {
      epoch = Math.max(epoch, above)
    },
    async addDelivery(delivery) {
      refuseIfClosed()
      if (deliveries.has(delivery.guid)) return 'duplicate'
      deliveries.set(delivery.guid, frozen(delivery))
      return 'stored'
    },
    knowsDelivery: async (guid) => deliveries.has(guid),
    pendingDeliveries: async () => [...deliveries.values()].filter(({ processedAt }) => processedAt === null),
    async completeDelivery(guid) {
      const delivery = deliveries.get(guid)
      if (delivery) deliveries.set(guid, { ...delivery, processedAt: new Date(nowMs()).toISOString() })
    },
    async close() {
      isClosed = true
    },
  }
}
