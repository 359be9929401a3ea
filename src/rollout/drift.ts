import type { Drift, ObservedContainer } from './observed.ts'
import type { ContainerSpec, Mount, PortBinding } from './release.ts'

/**
 * What of a container differs from its spec, apart from whether it runs. Each entry means "create it anew":
 * Docker cannot change these in place, or somebody changed them behind our back.
 *
 * Compared from the list call: labels, network, mounts, and published ports while it runs. Where the host was
 * observed deeply also image, restart policy, limits and environment. Not compared: what Docker fills in itself (addresses,
 * mac, driver options), labels and environment the image adds.
 */
export function containerDrift(spec: ContainerSpec, found: ObservedContainer): Drift[] {
  const subject = `container ${spec.name}`
  const differs: Drift[] = []
  const compare = (field: string, expected: string, actual: string) => {
    if (expected !== actual) differs.push({ subject, field, expected, found: actual })
  }
  for (const [key, value] of Object.entries(spec.labels)) {
    if (provenanceLabels.has(key)) continue
    compare(`label ${key}`, value, found.labels[key] ?? 'missing')
  }
  if (!found.networks.includes(spec.network)) {
    compare('network', spec.network, found.networks.join(', ') || 'none')
  }
  compare('mounts', renderAll(spec.mounts, renderMount), renderAll(found.mounts, renderMount))
  if (found.state === 'running') {
    compare('ports', renderAll(spec.ports, renderPort), renderAll(publishedAsAsked(spec, found), renderPort))
  }
  if (found.settings) {
    // A list shows an image id once the tag moved; only an inspect goes on naming what the container was created from.
    compare('image', spec.image, found.image)
    compare('restart policy', renderRestart(spec.restart), renderRestart(found.settings.restart))
    compare('cpus', String(spec.cpus ?? 'unlimited'), String(found.settings.cpus ?? 'unlimited'))
    compare(
      'memory',
      String(spec.memoryBytes ?? 'unlimited'),
      String(found.settings.memoryBytes ?? 'unlimited'),
    )
    for (const [key, value] of Object.entries(spec.environment)) {
      // Values may be private: say which variable differs, never what it holds.
      if (found.settings.environment[key] !== value) {
        differs.push({
          subject,
          field: `environment ${key}`,
          expected: 'the value of the spec',
          found: 'another value',
        })
      }
    }
  }
  return differs
}

/** Who made a container and when: true of its birth, and no reason to replace it when the same input is wanted again. */
const provenanceLabels = new Set(['towline.deployment', 'towline.commit', 'towline.epoch'])

/** A host port Docker chose counts as the free choice the spec asked for. One the spec names stays that one. */
function publishedAsAsked(spec: ContainerSpec, found: ObservedContainer): PortBinding[] {
  const asked = new Set(spec.ports.map(renderPort))
  return found.ports.map((port) => {
    if (asked.has(renderPort(port))) return port
    const free = spec.ports.some(
      ({ hostPort, containerPort, protocol }) =>
        hostPort === null && containerPort === port.containerPort && protocol === port.protocol,
    )
    return free ? { ...port, hostPort: null } : port
  })
}

function renderAll<T>(items: T[], render: (item: T) => string): string {
  return [...new Set(items.map(render))].sort().join(', ') || 'none'
}

function renderMount(mount: Mount): string {
  return `${mount.source}:${mount.target}${mount.readOnly ? ':ro' : ''}`
}

/** Docker reports "every address" as 0.0.0.0 and once more as ::; both mean the same binding. */
function renderPort(port: PortBinding): string {
  const everywhere =
    port.hostIp === null || port.hostIp === '' || port.hostIp === '0.0.0.0' || port.hostIp === '::'
  const address = everywhere ? '' : `${port.hostIp}:`
  return `${address}${port.hostPort ?? 'any'}:${port.containerPort}/${port.protocol}`
}

function renderRestart(restart: { name: string; maxRetries: number }): string {
  return restart.maxRetries > 0 ? `${restart.name}:${restart.maxRetries}` : restart.name
}
