import type { ObservedContainer } from './observed.ts'
import type { ContainerSpec } from './release.ts'

/** What a host shows of a container that was created from the spec and runs, for tests. */
export function observedContainer(
  spec: ContainerSpec,
  over: Partial<ObservedContainer> = {},
): ObservedContainer {
  return {
    id: `id-${spec.name}`,
    name: spec.name,
    image: spec.image,
    state: 'running',
    health: 'none',
    labels: spec.labels,
    ports: spec.ports.map((port) => ({ ...port, hostIp: '0.0.0.0', hostPort: port.hostPort ?? 32_768 })),
    mounts: spec.mounts,
    networks: [spec.network],
    createdAt: '2026-11-21T10:00:00.000Z',
    settings: {
      restart: spec.restart,
      cpus: spec.cpus,
      memoryBytes: spec.memoryBytes,
      environment: spec.environment,
    },
    ...over,
  }
}
