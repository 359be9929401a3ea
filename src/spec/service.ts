import { defaults } from '../../schemas/defaults.ts'
import type { Service } from '../../schemas/service.ts'
import type { RestartPolicy } from '../rollout/release.ts'
import { readApp, readTexts } from './app.ts'
import type { ServiceDraft } from './draft.ts'
import { parseDuration } from './duration.ts'
import type { Finding } from './finding.ts'
import { checkHealthcheck, readHealthcheck } from './healthcheck.ts'
import type { PullPolicy } from './spec.ts'
import { parseVolume } from './volume.ts'

/** A Service from a document its schema has checked, with every default filled in. */
export function readService(document: Service): ServiceDraft {
  const { deploy, healthcheck } = document
  const app = readApp(document)
  const mounts = (document.volumes ?? []).map(parseVolume)
  const needsStopFirst =
    app.ports.some(({ hostPort }) => hostPort !== null) || mounts.some(({ readOnly }) => !readOnly)
  return {
    kind: 'Service',
    ...app,
    image: document.image,
    pullPolicy: readPullPolicy(document.pull_policy ?? defaults.pullPolicy),
    entrypoint: document.entrypoint ?? null,
    command: document.command ?? null,
    environment: readEnvironment(document.environment ?? {}),
    user: document.user === undefined ? null : String(document.user),
    workingDir: document.working_dir ?? null,
    mounts,
    healthcheck: healthcheck ? readHealthcheck(healthcheck, defaults.healthcheck) : null,
    restart: readRestart(document.restart ?? defaults.restart),
    replicas: deploy?.replicas ?? defaults.replicas,
    order: deploy?.update_config?.order ?? (needsStopFirst ? 'stop-first' : 'start-first'),
    monitorMs: parseDuration(deploy?.update_config?.monitor ?? defaults.serviceMonitor),
    stopSignal: document.stop_signal ?? null,
    stopGraceMs: parseDuration(document.stop_grace_period ?? defaults.stopGracePeriod),
  }
}

/** What is wrong with a Service that a schema cannot say. */
export function checkService(document: Service, draft: ServiceDraft): Finding[] {
  return [
    ...checkHealthcheck(document.healthcheck, { testIsOptional: false }),
    ...checkFixedPorts(document, draft),
    ...checkMounts(draft),
    ...checkEnvironment(document),
  ]
}

function checkFixedPorts({ deploy }: Service, { ports, replicas }: ServiceDraft): Finding[] {
  const index = ports.findIndex(({ hostPort }) => hostPort !== null)
  const port = ports[index]
  if (!port) return []
  const findings: Finding[] = []
  if (replicas > 1) {
    findings.push({
      at: ['deploy', 'replicas'],
      message: `${replicas} replicas cannot share the fixed host port ${port.hostPort}`,
      hint: `Set replicas to 1, or let Docker choose the host port with "${port.containerPort}"`,
    })
  }
  if (deploy?.update_config?.order === 'start-first') {
    findings.push({
      at: ['deploy', 'update_config', 'order'],
      message: `start-first cannot work with the fixed host port ${port.hostPort}: the old container still holds it`,
      hint: `Remove the order, or let Docker choose the host port with "${port.containerPort}"`,
    })
  }
  return findings
}

function checkMounts({ mounts }: ServiceDraft): Finding[] {
  return mounts.flatMap(({ target }, index) => {
    const first = mounts.findIndex((mount) => mount.target === target)
    if (first === index) return []
    return [
      {
        at: ['volumes', String(index)],
        message: `${target} is mounted already by /volumes/${first}`,
        hint: 'Mount it once',
      },
    ]
  })
}

function checkEnvironment({ environment }: Service): Finding[] {
  if (!Array.isArray(environment)) return []
  const keys = environment.map(keyOf)
  return keys.flatMap((key, index) => {
    const first = keys.indexOf(key)
    if (first === index) return []
    return [
      {
        at: ['environment', String(index)],
        message: `${key} is set already by /environment/${first}`,
        hint: 'Set it once',
      },
    ]
  })
}

function readEnvironment(environment: NonNullable<Service['environment']>): Record<string, string> {
  if (!Array.isArray(environment)) return readTexts(environment)
  return Object.fromEntries(environment.map((entry) => [keyOf(entry), entry.slice(keyOf(entry).length + 1)]))
}

function keyOf(entry: string): string {
  return entry.slice(0, entry.indexOf('='))
}

function readPullPolicy(policy: NonNullable<Service['pull_policy']>): PullPolicy {
  return policy === 'if_not_present' ? 'missing' : policy
}

function readRestart(text: string): RestartPolicy {
  const [name, maxRetries] = text.split(':')
  if (name === 'on-failure') return { name, maxRetries: Number(maxRetries ?? 0) }
  return { name: name === 'no' || name === 'always' ? name : 'unless-stopped', maxRetries: 0 }
}
