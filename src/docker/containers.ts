/** A container in our words and in the Engine API's, both ways. Pure. */

import type { ContainerCreateOptions, ContainerInfo, ContainerInspectInfo } from 'dockerode'
import type { Probe } from '../engine/ports.ts'
import type { ContainerState, Health, InspectedSettings, ObservedContainer } from '../rollout/observed.ts'
import type { ContainerSpec, Healthcheck, Mount, PortBinding } from '../rollout/release.ts'
import { lastLines } from './text.ts'

const nanosecondsPerMs = 1_000_000
const nanoCpus = 1_000_000_000

/**
 * The body of `POST /containers/create`. `Init` gives the program a parent that passes signals on: without it a
 * program that handles no SIGTERM takes the whole grace time to stop (measured: 3.1 s against 0.1 s).
 */
export function createPayload(spec: ContainerSpec): ContainerCreateOptions {
  return {
    name: spec.name,
    Image: spec.image,
    ...(spec.entrypoint === null ? {} : { Entrypoint: spec.entrypoint }),
    ...(spec.command === null ? {} : { Cmd: spec.command }),
    Env: Object.entries(spec.environment).map(([name, value]) => `${name}=${value}`),
    ...(spec.user === null ? {} : { User: spec.user }),
    ...(spec.workingDir === null ? {} : { WorkingDir: spec.workingDir }),
    Labels: spec.labels,
    ExposedPorts: Object.fromEntries(spec.ports.map((port) => [portKey(port), {}])),
    ...(spec.healthcheck === null ? {} : { Healthcheck: healthcheckPayload(spec.healthcheck) }),
    ...(spec.stopSignal === null ? {} : { StopSignal: spec.stopSignal }),
    StopTimeout: Math.ceil(spec.stopGraceMs / 1000),
    NetworkingConfig: { EndpointsConfig: { [spec.network]: { Aliases: spec.aliases } } },
    HostConfig: {
      NetworkMode: spec.network,
      Init: true,
      PortBindings: portBindings(spec.ports),
      Mounts: spec.mounts.map(mountPayload),
      // The Engine refuses a retry count with any other policy.
      RestartPolicy:
        spec.restart.name === 'on-failure'
          ? { Name: 'on-failure', MaximumRetryCount: spec.restart.maxRetries }
          : { Name: spec.restart.name },
      ...(spec.cpus === null ? {} : { NanoCpus: Math.round(spec.cpus * nanoCpus) }),
      ...(spec.memoryBytes === null ? {} : { Memory: spec.memoryBytes }),
      LogConfig: {
        Type: 'json-file',
        Config: { 'max-size': spec.logMaxSize, 'max-file': String(spec.logMaxFiles) },
      },
    },
  }
}

/**
 * What a list says of a container. `ports` are those published right now, with the port Docker chose; a container
 * that does not run publishes none.
 */
export function fromList(info: ContainerInfo): ObservedContainer {
  return {
    id: info.Id,
    name: info.Names[0]?.replace(/^\//, '') ?? '',
    image: info.Image,
    state: info.State as ContainerState,
    health: healthOf(info.Status),
    labels: info.Labels,
    ports: publishedPorts(info.Ports),
    mounts: info.Mounts.filter((mount) => !isAnonymous(mount)).map(observedMount),
    networks: Object.keys(info.NetworkSettings.Networks).sort(),
    createdAt: new Date(info.Created * 1000).toISOString(),
    settings: null,
  }
}

/**
 * What a list said, made exact by an inspect. State and health are the inspect's: measured on Engine 20.10, the list
 * goes on saying `running` for up to 80 ms after the `die` event, while an inspect waits until the end is noted.
 */
export function withInspection(listed: ObservedContainer, info: ContainerInspectInfo): ObservedContainer {
  return {
    ...listed,
    state: info.State.Status as ContainerState,
    health: inspectedHealth(info),
    settings: inspectedSettings(info),
  }
}

/** The settings only an inspect knows. The environment includes what the image sets. */
function inspectedSettings(info: ContainerInspectInfo): InspectedSettings {
  const { RestartPolicy, NanoCpus, Memory } = info.HostConfig
  return {
    restart: {
      name: (RestartPolicy?.Name || 'no') as InspectedSettings['restart']['name'],
      maxRetries: RestartPolicy?.MaximumRetryCount ?? 0,
    },
    cpus: NanoCpus ? NanoCpus / nanoCpus : null,
    memoryBytes: Memory || null,
    environment: Object.fromEntries((info.Config.Env ?? []).map(splitVariable)),
  }
}

/** The health check a container runs with, its own or its image's. null where it has none. */
export function inspectedHealthcheck(info: ContainerInspectInfo): Healthcheck | null {
  const found = info.Config.Healthcheck
  if (!found?.Test?.length || found.Test[0] === 'NONE') return null
  return {
    test: found.Test,
    intervalMs: (found.Interval ?? 0) / nanosecondsPerMs,
    timeoutMs: (found.Timeout ?? 0) / nanosecondsPerMs,
    retries: found.Retries ?? 0,
    startPeriodMs: (found.StartPeriod ?? 0) / nanosecondsPerMs,
  }
}

export function toProbe(info: ContainerInspectInfo): Probe {
  const { State } = info
  // Docker calls a container running, too, that waits for its next restart; it tells the exit code of the last end.
  const ended = State.Restarting || (!State.Running && State.Status !== 'created')
  return {
    state: State.Status as ContainerState,
    health: inspectedHealth(info),
    restartCount: info.RestartCount,
    startedAt: State.StartedAt,
    exitCode: ended ? State.ExitCode : null,
    healthLog: (State.Health?.Log ?? [])
      .filter(({ ExitCode }) => ExitCode !== 0)
      .flatMap(({ Output }) => lastLines(Output, healthLogLines)),
  }
}

export const missingProbe: Probe = {
  state: 'missing',
  health: 'none',
  restartCount: 0,
  startedAt: '',
  exitCode: null,
  healthLog: [],
}

const healthStates = ['starting', 'healthy', 'unhealthy'] as const
/** Lines kept of one failed check. Docker itself keeps five checks of up to 4 KiB. */
const healthLogLines = 5

function healthcheckPayload(healthcheck: Healthcheck) {
  return {
    Test: healthcheck.test,
    Interval: healthcheck.intervalMs * nanosecondsPerMs,
    Timeout: healthcheck.timeoutMs * nanosecondsPerMs,
    Retries: healthcheck.retries,
    StartPeriod: healthcheck.startPeriodMs * nanosecondsPerMs,
  }
}

function portKey(port: PortBinding): string {
  return `${port.containerPort}/${port.protocol}`
}

function portBindings(ports: readonly PortBinding[]): Record<string, { HostIp: string; HostPort: string }[]> {
  const bindings: Record<string, { HostIp: string; HostPort: string }[]> = {}
  for (const port of ports) {
    const ofPort = bindings[portKey(port)] ?? []
    ofPort.push({ HostIp: port.hostIp ?? '', HostPort: port.hostPort === null ? '' : String(port.hostPort) })
    bindings[portKey(port)] = ofPort
  }
  return bindings
}

function mountPayload(mount: Mount) {
  return { Type: mount.type, Source: mount.source, Target: mount.target, ReadOnly: mount.readOnly }
}

/** A volume nobody asked for: an image that says `VOLUME` gets one with a random name, 64 hex digits long. */
function isAnonymous(mount: ContainerInfo['Mounts'][number]): boolean {
  return mount.Type === 'volume' && /^[0-9a-f]{64}$/.test(mount.Name ?? '')
}

function observedMount(mount: ContainerInfo['Mounts'][number]): Mount {
  const isBind = mount.Type === 'bind'
  return {
    type: isBind ? 'bind' : 'volume',
    source: isBind ? mount.Source : (mount.Name ?? mount.Source),
    target: mount.Destination,
    readOnly: !mount.RW,
  }
}

/** Docker lists a port that is open on every address twice, for IPv4 and for IPv6. */
function publishedPorts(ports: ContainerInfo['Ports']): PortBinding[] {
  const published = new Map<string, PortBinding>()
  for (const { IP, PrivatePort, PublicPort, Type } of ports) {
    if (!PublicPort) continue
    const hostIp = IP === '0.0.0.0' || IP === '::' || !IP ? null : IP
    const protocol = Type === 'udp' ? 'udp' : 'tcp'
    const port: PortBinding = { hostIp, hostPort: PublicPort, containerPort: PrivatePort, protocol }
    published.set(JSON.stringify(port), port)
  }
  return [...published.values()].sort(
    (a, b) => a.containerPort - b.containerPort || (a.hostPort ?? 0) - (b.hostPort ?? 0),
  )
}

/** A list tells the health only in its text for people, e.g. `Up 5 seconds (health: starting)`. */
function healthOf(status: string): Health {
  const found = /\((?:health: )?(starting|healthy|unhealthy)\)/.exec(status)?.[1]
  return healthStates.find((health) => health === found) ?? 'none'
}

function inspectedHealth({ State }: ContainerInspectInfo): Health {
  return healthStates.find((health) => health === State.Health?.Status) ?? 'none'
}

function splitVariable(variable: string): [string, string] {
  const at = variable.indexOf('=')
  return at < 0 ? [variable, ''] : [variable.slice(0, at), variable.slice(at + 1)]
}
