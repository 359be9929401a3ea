import { applyToModel, type HostModel } from '../rollout/host-model.fixture.ts'
import type { ContainerSpec } from '../rollout/release.ts'
import { dockerHost, probe } from './host.fixture.ts'
import type { DockerHost, Probe } from './ports.ts'
import type { TargetParts } from './steps.ts'

export type ModelHost = {
  host: DockerHost
  /** What stands on it now. */
  model: () => HostModel
  /** Somebody changes something behind our back. */
  change: (change: (model: HostModel) => HostModel) => void
  /** Acts so far, e.g. `startContainer shop-1`. */
  acts: string[]
  /** Asked before each act; what it throws the act fails with. */
  refuse: (refusal: (act: string) => void) => void
  /** How containers answer from now on. */
  answer: (over: (name: string) => Partial<Probe>) => void
}

/**
 * A Docker host whose state is a plain value, for tests. `volume` is the installation's own, which is made for any Site.
 * It lies: acts take no time and containers never die.
 */
export function modelHost({ name = 'web-1', volume }: { name?: string; volume: string }): ModelHost {
  let model: HostModel = {
    host: name,
    at: '2026-11-21T10:00:00.000Z',
    deep: true,
    containers: [],
    sites: {},
    names: [volume],
    volumeLabels: {},
    networks: null,
    volumes: null,
  }
  let refuse: (act: string) => void = () => {}
  let answer: (name: string) => Partial<Probe> = () => ({})
  const acts: string[] = []
  const created = new Map<string, ContainerSpec>()
  const host = dockerHost({
    name,
    observe: async () => model,
    inventory: async () => ({
      host: name,
      engineId: 'engine-1',
      at: model.at,
      things: Object.entries(model.volumeLabels).map(([id, labels]) => ({
        kind: 'volume',
        id,
        name: id,
        labels,
        createdAt: null,
        userCount: null,
      })),
    }),
    survey: async () =>
      model.containers.flatMap(({ name: container, state, createdAt }) => {
        const spec = created.get(container)
        return spec ? [{ spec, state, createdAt }] : []
      }),
    async apply(step, { files }) {
      const act = `${step.do} ${'name' in step ? step.name : step.do === 'createContainer' ? step.container.name : ''}`
      refuse(act.trim())
      await files?.()
      if (step.do === 'createContainer') created.set(step.container.name, step.container)
      model = applyToModel(model, { ...step, reason: '' }).at(-1) ?? model
      acts.push(act.trim())
    },
    async probe(container) {
      const found = model.containers.find((each) => each.name === container)
      return probe({ state: found?.state ?? 'missing', startedAt: longAgo, ...answer(container) })
    },
    logs: async (container) => [`last words of ${container}`],
  })
  return {
    host,
    acts,
    model: () => model,
    change: (change) => {
      model = change(model)
    },
    refuse: (next) => {
      refuse = next
    },
    answer: (next) => {
      answer = next
    },
  }
}

/** What runs here has settled. */
const longAgo = '2020-01-01T00:00:00.000Z'

/** What a site's files are read from, for tests. */
export const modelFiles: TargetParts['files'] = {
  treeOid: async (_repo, _commit, path) => (path === 'missing' ? null : `tree-of-${path}`),
  read: async () => [{ path: 'index.html', mode: 0o644, content: Buffer.from('hello') }],
}
