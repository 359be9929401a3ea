import { defaults } from '../../schemas/defaults.ts'
import type { Service } from '../../schemas/service.ts'
import type { Site } from '../../schemas/site.ts'
import type { ServiceDraft } from './draft.ts'
import { parseDuration } from './duration.ts'
import { parseTime } from './formats.ts'
import { parseMemory } from './memory.ts'
import { parsePort } from './port.ts'
import type { Paused } from './spec.ts'

type SharedDraft = Pick<
  ServiceDraft,
  | 'name'
  | 'hosts'
  | 'dependsOn'
  | 'paused'
  | 'ports'
  | 'cpus'
  | 'memoryBytes'
  | 'progressDeadlineMs'
  | 'keepReleases'
  | 'recreateVolumes'
  | 'labels'
>

/** What a Service and a Site have in common, from a checked document. */
export function readApp(document: Service | Site): SharedDraft {
  const limits = document.deploy?.resources?.limits
  return {
    name: document.name,
    hosts: document.hosts ?? null,
    dependsOn: document.dependsOn ?? [],
    paused: readPaused(document.paused),
    ports: (document.ports ?? []).map(parsePort),
    cpus: readCpus(limits?.cpus ?? 0),
    memoryBytes: limits?.memory === undefined ? null : parseMemory(limits.memory),
    progressDeadlineMs:
      document.rollout?.progressDeadline === undefined
        ? null
        : parseDuration(document.rollout.progressDeadline),
    keepReleases: document.rollout?.keepReleases ?? defaults.keepReleases,
    recreateVolumes: document.rollout?.recreateVolumes ?? defaults.recreateVolumes,
    labels: readTexts(document.labels ?? {}),
  }
}

/** Values as the text a container sees. */
export function readTexts(values: Record<string, string | number | boolean>): Record<string, string> {
  return Object.fromEntries(Object.entries(values).map(([key, value]) => [key, String(value)]))
}

/** Docker counts billionths of a CPU, and 0 is no limit: anything finer would read back as another value. */
function readCpus(cpus: string | number): number | null {
  return Math.round(Number(cpus) * 1e9) / 1e9 || null
}

function readPaused(paused: Service['paused']): Paused | null {
  if (!paused) return null
  if (paused === true) return { reason: 'paused in the spec', until: null }
  return { reason: paused.reason, until: paused.until === undefined ? null : parseTime(paused.until) }
}
