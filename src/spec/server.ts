import { defaults } from '../../schemas/defaults.ts'
import type { Server } from '../../schemas/server.ts'
import { parseDuration } from './duration.ts'
import { type Address, parseEndpoint } from './endpoint.ts'
import { type Finding, inOrder } from './finding.ts'
import { readOneDocument, type SourceDocument } from './source-document.ts'
import type { Problem } from './spec.ts'
import { validate } from './validate.ts'

/** Paths of PEM files. */
type TlsFiles = { caFile: string; certFile: string; keyFile: string }

type Endpoint =
  | Extract<Address, { kind: 'unix' }>
  | (Extract<Address, { kind: 'tcp' }> & { tls: TlsFiles | null })

export type HostConfig = { name: string; endpoint: Endpoint }

/** What the operator decides, with every default filled in. */
export type ServerConfig = {
  /** null is every repository the App is installed on; a null branch is the default branch. */
  repos: { repo: string; branch: string | null }[] | null
  hosts: HostConfig[]
  images: {
    helper: string
    /** `{root}` in an argument stands for the folder to serve. */
    site: { image: string; command: string[] }
  }
  /** `sweep` and `stuck` are cron, in UTC; `reposMs` null is no polling of GitHub. */
  schedule: { sweep: string; stuck: string; pollMs: number; reposMs: number | null }
  limits: {
    perHost: number
    total: number
    progressDeadlineMs: number
    deadlineMs: number
    orphanGraceMs: number
    healing: { limit: number; windowMs: number }
    githubWriteIntervalMs: number
  }
  orphans: { remove: boolean; volumes: boolean }
  bindMounts: string[]
}

/**
 * The settings where there is no `server.yaml`: one host, `local`, on DOCKER_HOST or the default socket.
 * @throws TowlineError `operator` where DOCKER_HOST is no endpoint.
 */
export function defaultServerConfig({ dockerHost }: { dockerHost: string | null }): ServerConfig {
  return readConfig({ apiVersion: 'towline/v1', kind: 'Server' }, dockerHost)
}

/**
 * What `server.yaml` says, or everything that is wrong with it. `dockerHost` serves where it names no hosts.
 * @throws TowlineError `operator` where that is used and is no endpoint.
 */
export function parseServerConfig({
  path,
  text,
  dockerHost,
}: {
  path: string
  text: string
  dockerHost: string | null
}): { config: ServerConfig; problems: [] } | { config: null; problems: Problem[] } {
  const { first, problems } = readOneDocument({ path, text })
  if (!first && problems.length === 0) {
    problems.push({
      path,
      line: 1,
      column: 1,
      endLine: 1,
      endColumn: 1,
      message: 'the file is empty',
      hint: 'Start with `apiVersion: towline/v1` and `kind: Server`, or remove it',
    })
  }
  const document = first ? checkDocument(first, problems) : null
  if (!document || problems.length > 0) return { config: null, problems: inOrder(problems) }
  return { config: readConfig(document, dockerHost), problems: [] }
}

function checkDocument(source: SourceDocument, problems: Problem[]): Server | null {
  if (!source.value) return null
  const { document, findings } = validate('Server', source.value)
  problems.push(...(findings ?? checkServer(document)).map(source.problemOf))
  return document
}

function checkServer({ hosts, images }: Server): Finding[] {
  const findings: Finding[] = []
  for (const [name, { endpoint, tls }] of Object.entries(hosts ?? {})) {
    if (tls && parseEndpoint(endpoint).kind !== 'tcp') {
      findings.push({
        at: ['hosts', name],
        key: 'tls',
        message: '`tls` stands beside an endpoint that is not tcp',
        hint: 'Remove it, or write a tcp:// endpoint',
      })
    }
  }
  const command = typeof images?.site === 'object' ? images.site.command : undefined
  if (command && !command.some((argument) => argument.includes('{root}'))) {
    findings.push({
      at: ['images', 'site', 'command'],
      message: 'no argument holds `{root}`, the folder to serve',
      hint: `Write such as ${JSON.stringify(defaults.images.site.command)}`,
    })
  }
  return findings
}

function readConfig(document: Server, dockerHost: string | null): ServerConfig {
  const { repos, hosts, images, schedule, limits, orphans, policy } = document
  const site = typeof images?.site === 'string' ? { image: images.site } : images?.site
  return {
    repos: repos ? repos.map(({ repo, branch }) => ({ repo, branch: branch ?? null })) : null,
    hosts: hosts ? Object.entries(hosts).map(readHost) : [localHost(dockerHost)],
    images: {
      helper: images?.helper ?? defaults.images.helper,
      site: {
        image: site?.image ?? defaults.images.site.image,
        command: site?.command ?? [...defaults.images.site.command],
      },
    },
    schedule: {
      sweep: schedule?.sweep ?? defaults.schedule.sweep,
      stuck: schedule?.stuck ?? defaults.schedule.stuck,
      pollMs: parseDuration(schedule?.poll ?? defaults.schedule.poll),
      reposMs: schedule?.repos === undefined ? null : parseDuration(schedule.repos),
    },
    limits: {
      perHost: limits?.perHost ?? defaults.limits.perHost,
      total: limits?.total ?? defaults.limits.total,
      progressDeadlineMs: parseDuration(limits?.progressDeadline ?? defaults.limits.progressDeadline),
      deadlineMs: parseDuration(limits?.deadline ?? defaults.limits.deadline),
      orphanGraceMs: parseDuration(limits?.orphanGrace ?? defaults.limits.orphanGrace),
      healing: {
        limit: limits?.healings ?? defaults.limits.healings,
        windowMs: parseDuration(limits?.healingWindow ?? defaults.limits.healingWindow),
      },
      githubWriteIntervalMs: parseDuration(
        limits?.githubWriteInterval ?? defaults.limits.githubWriteInterval,
      ),
    },
    orphans: {
      remove: orphans?.remove ?? defaults.orphans.remove,
      volumes: orphans?.volumes ?? defaults.orphans.volumes,
    },
    bindMounts: policy?.bindMounts ?? [],
  }
}

type HostText = NonNullable<Server['hosts']>[string]

function readHost([name, { endpoint, tls }]: [string, HostText]): HostConfig {
  const address = parseEndpoint(endpoint)
  if (address.kind === 'unix') return { name, endpoint: address }
  const files = tls && { caFile: tls.ca.file, certFile: tls.cert.file, keyFile: tls.key.file }
  return { name, endpoint: { ...address, tls: files ?? null } }
}

function localHost(dockerHost: string | null): HostConfig {
  return readHost(['local', { endpoint: dockerHost ?? 'unix:///var/run/docker.sock' }])
}
