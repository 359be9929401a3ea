import { vi } from 'vitest'
import type { Deployment } from '../rollout/deployment.ts'
import { volumeName } from '../rollout/target.ts'
import { hashSpec } from '../spec/release.ts'
import type { ServiceSpec, SiteSpec, Spec, SpecMount } from '../spec/spec.ts'
import { newReport, newTarget } from './config-pass.ts'
import { alwaysKnown } from './host-status.ts'
import { recordLog } from './log.fixture.ts'
import { memoryStore } from './memory-store.fixture.ts'
import { type ModelHost, modelFiles, modelHost } from './model-host.fixture.ts'
import type { Store } from './ports.ts'
import { queued, target } from './records.fixture.ts'
import type { TargetRecord } from './records.ts'
import { createStatistics } from './statistics.ts'
import type { TargetParts } from './steps.ts'
import { passTarget } from './target-pass.ts'
import { createTracker } from './tracker.ts'

export const shopKey = 'acme/config:shop@web-1'
const siteServer = { image: 'caddy:2', command: ['serve', '{root}'] }

/** A Service of one container, with a volume for each name. */
export function shopService(over: Partial<ServiceSpec> = {}, volumes: string[] = []): ServiceSpec {
  return {
    kind: 'Service',
    name: 'shop',
    hosts: ['web-1'],
    dependsOn: [],
    paused: null,
    ports: [],
    healthcheck: null,
    restart: { name: 'unless-stopped', maxRetries: 0 },
    cpus: null,
    memoryBytes: null,
    monitorMs: 0,
    progressDeadlineMs: 300_000,
    keepReleases: 2,
    recreateVolumes: false,
    labels: {},
    image: 'shop:1',
    pullPolicy: 'missing',
    entrypoint: null,
    command: null,
    environment: {},
    user: null,
    workingDir: null,
    mounts: volumes.map(
      (source): SpecMount => ({ type: 'volume', source, target: `/${source}`, readOnly: false }),
    ),
    replicas: 1,
    order: 'stop-first',
    stopSignal: null,
    stopGraceMs: 1_000,
    ...over,
  }
}

/** The Site `shop`, of a folder of the config repo. */
export function shopSite(files: string): SiteSpec {
  const { kind: _kind, image: _image, ...rest } = shopService()
  return { ...rest, kind: 'Site', source: { files }, root: '.' }
}

/** The target `shop` on a modelled host, and what the config repo wants of it. Needs fake timers. */
export function targetScene(store: Store = memoryStore()) {
  const changed: string[] = []
  const docker: ModelHost = modelHost({ volume: volumeName(store.owner) })
  const log = recordLog()
  const statistics = createStatistics()
  const parts: TargetParts = {
    store,
    hosts: new Map([[docker.host.name, docker.host]]),
    tracker: createTracker({ pollMs: 1_000, watch: { subscribe: () => () => {} } }),
    files: modelFiles,
    siteServer,
    hostStatus: alwaysKnown,
    progressDeadlineMs: 300_000,
    healing: { limit: 5, windowMs: 300_000 },
    onChange: (key) => void changed.push(key),
    statistics,
    log,
  }
  let count = 0

  const scene = {
    store,
    docker,
    log,
    parts,
    statistics,
    /** Keys of the targets that were told to have changed. */
    changed,
    /** The repo wants this now; a deployment is queued for it. Returns its id. */
    async wish(spec: Spec, over: Partial<Deployment> = {}): Promise<string> {
      count += 1
      const id = `d-${count}`
      const specHash = hashSpec({ hash: JSON.stringify(spec), filesOid: null, spec, siteServer })
      const located = { spec, path: 'apps/shop.yaml', line: 1, hash: JSON.stringify(spec) }
      const now = new Date().toISOString()
      const deadlineAt = new Date(Date.now() + 1_800_000).toISOString()
      await store.updateTarget(shopKey, (stored) => ({
        ...(stored ?? newTarget(shopKey, target('shop'))),
        desired: { commit: `c${count}`, specHash, spec: located },
        removal: null,
        deployments: [
          ...(stored?.deployments ?? []),
          { ...queued('shop', { id, commit: `c${count}`, specHash, now, deadlineAt }), ...over },
        ],
        reports: { ...stored?.reports, [id]: newReport },
      }))
      return id
    },
    /** The spec is deleted; the target is to be removed in `delayMs`, or keeps running where that is null. */
    async leave({ delayMs = 0, volumes = false }: { delayMs?: number | null; volumes?: boolean } = {}) {
      const removeAfter = delayMs === null ? null : new Date(Date.now() + delayMs).toISOString()
      const since = new Date().toISOString()
      await scene.change({
        desired: null,
        removal: removeAfter === null ? null : { since, removeAfter, commit: 'c9', volumes },
      })
    },
    /** GitHub was told all. */
    async tell() {
      const { reports } = await scene.record()
      const told = Object.entries(reports).map(([id, report]) => [id, { ...report, done: true }])
      await scene.change({ reports: Object.fromEntries(told) })
    },
    async change(change: Partial<TargetRecord>) {
      await store.updateTarget(shopKey, (stored) => ({
        ...(stored ?? newTarget(shopKey, target('shop'))),
        ...change,
      }))
    },
    /** One pass, all its waits included. */
    async pass(signal = new AbortController().signal) {
      const passing = passTarget(parts, shopKey, { holder: 'worker', signal })
      passing.catch(() => {})
      for (let turn = 0; turn < 40; turn += 1) await vi.advanceTimersByTimeAsync(1_000)
      return passing
    },
    async record(): Promise<TargetRecord> {
      return (await store.readTarget(shopKey)) ?? newTarget(shopKey, target('shop'))
    },
    async result(id: string) {
      return (await scene.record()).deployments.find((deployment) => deployment.id === id)?.result
    },
    /** The last parts of the names of the volumes on the host. */
    volumes: () => Object.keys(docker.model().volumeLabels).map((name) => name.split('-').at(-1)),
    containers: () => docker.model().containers.map(({ image }) => image.split('@')[0]),
    releases: () => Object.values(docker.model().sites).flatMap(({ releases }) => releases),
  }
  return scene
}
