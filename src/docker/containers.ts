/** A container in our words and in the Engine API's, both ways. Pure. */

import type { ContainerCreateOptions, ContainerInfo, ContainerInspectInfo } from 'dockerode'
import type { Probe } from '../engine/ports.ts'
import type { ContainerState, Health, InspectedSettings, ObservedContainer } from '../rollout/observed.ts'
import type { ContainerSpec, Healthcheck, Mount, PortBinding } from '../rollout/release.ts'
import { roleLabel } from './labels.ts'
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
 * goes on saying `running` for up to 80 ms after the `die` event, while an inspect waits until the end is noted. So is
 * the image: a list shows an id as soon as the reference the container was created from means nothing or something
 * else on the host (measured: a digest that was untagged, a tag that was moved).
 */
export function withInspection(listed: ObservedContainer, info: ContainerInspectInfo): ObservedContainer {
  return {
    ...listed,
    image: info.Config.Image,
    state: info.State.Status as ContainerState,
    health: inspectedHealth(info),
    settings: inspectedSettings(info),
  }
}

/**
 * The spec a container could be created from again, from all an inspect says: `createPayload` the other way round. What
 * the image brought along (environment, labels, command, health check, stop signal) is not told apart from what was
 * asked for, so it is in the spec too, and stays the same.
 */
export function toSpec(info: ContainerInspectInfo): ContainerSpec {
  const { HostConfig } = info
  const Config: InspectedConfig = info.Config
  const settings = inspectedSettings(info)
  const network = networkOf(info)
  const log = HostConfig.LogConfig?.Config as Record<string, string> | null | undefined
  return {
    name: info.Name.replace(/^\//, ''),
    role: Config.Labels[roleLabel] === 'site' ? 'site' : 'app',
    image: Config.Image,
    entrypoint: words(Config.Entrypoint),
    command: words(Config.Cmd),
    environment: settings.environment,
    user: Config.User || null,
    workingDir: Config.WorkingDir || null,
    ports: askedPorts(HostConfig.PortBindings),
    mounts: info.Mounts.filter((mount) => isKept(mount)).map(observedMount),
    healthcheck: Config.Healthcheck?.Test?.length ? healthcheckOf(Config.Healthcheck) : null,
    restart: settings.restart,
    cpus: settings.cpus,
    memoryBytes: settings.memoryBytes,
    network,
    aliases: (info.NetworkSettings.Networks[network]?.Aliases ?? []).filter(
      (alias: string) => alias !== info.Id.slice(0, shortIdLength),
    ),
    stopSignal: Config.StopSignal || null,
    stopGraceMs: (Config.StopTimeout ?? defaultStopSeconds) * 1000,
    labels: Config.Labels,
    logMaxSize: log?.['max-size'] ?? defaultLog.maxSize,
    logMaxFiles: Number(log?.['max-file'] ?? defaultLog.maxFiles),
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
  return !found?.Test?.length || found.Test[0] === 'NONE' ? null : healthcheckOf(found)
}

/** A time of the host as it writes it, by our clock's format; null where it says none: Docker's zero is the year 1. */
export function hostTime(text: string | number | undefined): string | null {
  const time = new Date(typeof text === 'number' ? text * 1000 : (text ?? ''))
  return time.getTime() > 0 ? time.toISOString() : null
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

/** Docker gives each container its short id as an alias, besides those that were asked for. */
const shortIdLength = 12
/** Docker's own default. */
const defaultStopSeconds = 10
/** What Towline gives a container that says nothing. */
const defaultLog = { maxSize: '10m', maxFiles: 3 }

/** dockerode's types leave two out. Source: Engine API, `ContainerConfig`. */
type InspectedConfig = ContainerInspectInfo['Config'] & { StopSignal?: string; StopTimeout?: number | null }
type InspectedHealthcheck = NonNullable<ContainerInspectInfo['Config']['Healthcheck']>

function healthcheckOf(found: InspectedHealthcheck): Healthcheck {
  return {
    test: found.Test ?? [],
    intervalMs: (found.Interval ?? 0) / nanosecondsPerMs,
    timeoutMs: (found.Timeout ?? 0) / nanosecondsPerMs,
    retries: found.Retries ?? 0,
    startPeriodMs: (found.StartPeriod ?? 0) / nanosecondsPerMs,
  }
}

/** The network it was created in; where somebody took it out of that, one it is in. */
function networkOf({ HostConfig, NetworkSettings }: ContainerInspectInfo): string {
  const asked = HostConfig.NetworkMode ?? ''
  const names = Object.keys(NetworkSettings.Networks).sort()
  return names.includes(asked) ? asked : (names[0] ?? asked)
}

function words(found: string | string[] | null | undefined): string[] | null {
  return typeof found === 'string' ? [found] : (found ?? null)
}

/** As they were asked for, not as they are published now: the container may not run. */
function askedPorts(bindings: unknown): PortBinding[] {
  const found = (bindings ?? {}) as Record<string, { HostIp?: string; HostPort?: string }[] | null>
  return Object.entries(found).flatMap(([key, asked]) => {
    const [containerPort, protocol] = key.split('/')
    return (asked ?? []).map(
      ({ HostIp, HostPort }): PortBinding => ({
        hostIp: HostIp || null,
        hostPort: Number(HostPort) || null,
        containerPort: Number(containerPort),
        protocol: protocol === 'udp' ? 'udp' : 'tcp',
      }),
    )
  })
}

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

type AnyMount = ContainerInfo['Mounts'][number] | ContainerInspectInfo['Mounts'][number]

/** A volume nobody asked for: an image that says `VOLUME` gets one with a random name, 64 hex digits long. */
function isAnonymous(mount: AnyMount): boolean {
  return mount.Type === 'volume' && /^[0-9a-f]{64}$/.test(mount.Name ?? '')
}

/** What a spec can ask for. */
function isKept(mount: AnyMount): boolean {
  return (mount.Type === 'volume' && !isAnonymous(mount)) || mount.Type === 'bind'
}

function observedMount(mount: AnyMount): Mount {
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
