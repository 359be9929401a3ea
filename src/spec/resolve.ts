import type { Place } from './finding.ts'
import type { ParsedDocument, ParsedFile } from './parse-file.ts'
import { isBelow } from './paths.ts'
import { settingsPath } from './settings.ts'
import type { LocatedSpec, Problem, RepoSettings } from './spec.ts'

/** What a config repo must know of the server to be judged. */
type ServerFacts = { hosts: readonly string[]; bindMounts: readonly string[] }

/** A spec on its way, marked where something is wrong with it. */
type Candidate = ParsedDocument & { path: string; hosts: string[]; isBroken: boolean }

type Report = (candidate: Candidate, place: Place, words: { message: string; hint: string }) => void

/**
 * Brings the files of a config repo together: gives each spec its hosts and finds what is wrong between specs and
 * against the server's settings. A spec with a problem is left out. A spec that depends on a left-out one stays, so
 * `dependsOn` may name a spec that is not among `specs`. Both results follow the order of `files`.
 */
export function resolveSpecs({
  files,
  settings,
  server,
}: {
  files: readonly ParsedFile[]
  settings: RepoSettings
  server: ServerFacts
}): { specs: LocatedSpec[]; problems: Problem[] } {
  const problems = files.flatMap((file) => file.problems)
  const candidates = files.flatMap(({ path, documents }) =>
    documents.map((document): Candidate => ({ ...document, path, hosts: [], isBroken: false })),
  )
  const report: Report = (candidate, place, words) => {
    candidate.isBroken = true
    problems.push({ path: candidate.path, ...place, ...words })
  }
  const standard = defaultHosts(settings, server)
  problems.push(...standard.problems)
  for (const candidate of candidates) {
    giveHosts(candidate, { server, standard: standard.hosts, report })
    checkBinds(candidate, { server, report })
  }
  checkNames(candidates, report)
  checkDependencies(candidates, {
    report,
    brokenNames: new Set(files.flatMap(({ brokenNames }) => brokenNames)),
  })
  checkPorts(candidates, report)
  return { specs: candidates.filter(({ isBroken }) => !isBroken).map(toSpec), problems }
}

function toSpec({ draft, hosts, path, hash, places }: Candidate): LocatedSpec {
  return { spec: { ...draft, hosts }, path, line: places.document.line, hash }
}

/** The hosts of specs that name none; null where that cannot be said. */
function defaultHosts(
  { defaults }: RepoSettings,
  { hosts }: ServerFacts,
): { hosts: string[] | null; problems: Problem[] } {
  if (defaults.hosts === null) return { hosts: hosts.length === 1 ? [...hosts] : null, problems: [] }
  const problems = defaults.hosts
    .filter((host) => !hosts.includes(host))
    .map((host) => ({
      path: settingsPath,
      line: 1,
      column: 1,
      endLine: 1,
      endColumn: 1,
      ...unknownHost(host, hosts, '/defaults/hosts'),
    }))
  return { hosts: defaults.hosts, problems }
}

function giveHosts(
  candidate: Candidate,
  { server, standard, report }: { server: ServerFacts; standard: string[] | null; report: Report },
): void {
  const { draft, places } = candidate
  if (draft.hosts !== null) {
    candidate.hosts = draft.hosts
    for (const [index, host] of draft.hosts.entries()) {
      if (server.hosts.includes(host)) continue
      report(
        candidate,
        places.hosts[index] ?? places.document,
        unknownHost(host, server.hosts, `/hosts/${index}`),
      )
    }
  } else if (standard === null) {
    report(candidate, places.name, {
      message: `\`hosts\` is missing, and the server has ${server.hosts.length} hosts to choose from`,
      hint: `Add \`hosts\`, or \`defaults: {hosts: […]}\` in ${settingsPath}; known: ${server.hosts.join(', ')}`,
    })
  } else {
    candidate.hosts = standard
    // Reported once, in towline.yaml, and not again for each spec.
    if (standard.some((host) => !server.hosts.includes(host))) candidate.isBroken = true
  }
}

function unknownHost(
  host: string,
  known: readonly string[],
  pointer: string,
): { message: string; hint: string } {
  return { message: `${pointer}: there is no host "${host}"`, hint: `Known hosts: ${known.join(', ')}` }
}

function checkBinds(candidate: Candidate, { server, report }: { server: ServerFacts; report: Report }): void {
  const { draft, places } = candidate
  if (draft.kind !== 'Service') return
  for (const [index, { type, source }] of draft.mounts.entries()) {
    if (type !== 'bind' || server.bindMounts.some((folder) => isBelow(source, folder))) continue
    report(candidate, places.mounts[index] ?? places.document, {
      message: `/volumes/${index}: the server does not allow bind mounts of ${source}`,
      hint:
        server.bindMounts.length === 0
          ? 'Use a named volume, or ask the operator to allow it under `policy.bindMounts` of server.yaml'
          : `Use a named volume, or a path below ${server.bindMounts.join(', ')}`,
    })
  }
}

/** Which of two specs of one name is meant nobody can say: neither is deployed, and each names the other. */
function checkNames(candidates: readonly Candidate[], report: Report): void {
  for (const [name, same] of groupBy(candidates, ({ draft }) => draft.name)) {
    if (same.length < 2) continue
    for (const candidate of same) {
      const other = same[0] === candidate ? same[1] : same[0]
      report(candidate, candidate.places.name, {
        message: `/name: "${name}" is also the name of the spec at ${other?.path}:${other?.places.name.line}`,
        hint: 'Give each spec a name of its own',
      })
    }
  }
}

function checkDependencies(
  candidates: readonly Candidate[],
  { report, brokenNames }: { report: Report; brokenNames: ReadonlySet<string> },
): void {
  const byName = new Map(candidates.map((candidate) => [candidate.draft.name, candidate]))
  for (const candidate of candidates) {
    for (const [index, name] of candidate.draft.dependsOn.entries()) {
      if (byName.has(name) || brokenNames.has(name)) continue
      report(candidate, candidate.places.dependsOn[index] ?? candidate.places.document, {
        message: `/dependsOn/${index}: there is no spec "${name}"`,
        hint: 'Name a spec of this repo, or remove the entry',
      })
    }
  }
  for (const cycle of findCycles(byName)) {
    const [first, second = first] = cycle
    if (!first || !second) continue
    const index = first.draft.dependsOn.indexOf(second.draft.name)
    const names = [...cycle, first].map(({ draft }) => draft.name)
    report(first, first.places.dependsOn[index] ?? first.places.document, {
      message: `/dependsOn/${index}: these specs wait for one another: ${names.join(' → ')}`,
      hint: 'Remove one of these dependencies',
    })
    for (const candidate of cycle) candidate.isBroken = true
  }
}

/** Cycles that share no spec. Removing their specs leaves no cycle. */
function findCycles(byName: ReadonlyMap<string, Candidate>): Candidate[][] {
  const left = new Map(byName)
  const dependents = new Map<string, string[]>()
  const waits = new Map<string, number>()
  for (const [name, { draft }] of byName) {
    const known = draft.dependsOn.filter((other) => byName.has(other))
    waits.set(name, known.length)
    for (const other of known) append(dependents, other, name)
  }
  const cycles: Candidate[][] = []
  let ready = [...byName.keys()].filter((name) => waits.get(name) === 0)
  while (left.size > 0) {
    while (ready.length > 0) {
      const name = ready.pop() ?? ''
      if (!left.delete(name)) continue
      for (const dependent of dependents.get(name) ?? []) {
        const count = (waits.get(dependent) ?? 0) - 1
        waits.set(dependent, count)
        if (count === 0) ready.push(dependent)
      }
    }
    const cycle = walkCycle(left)
    cycles.push(...(cycle.length > 0 ? [cycle] : []))
    ready = cycle.map(({ draft }) => draft.name)
  }
  return cycles
}

/** Every spec left waits for another one left, so following them must come round. */
function walkCycle(left: ReadonlyMap<string, Candidate>): Candidate[] {
  const seen = new Map<string, number>()
  const walk: Candidate[] = []
  let current = left.values().next().value
  while (current) {
    const turn = seen.get(current.draft.name)
    if (turn !== undefined) return walk.slice(turn)
    seen.set(current.draft.name, walk.length)
    walk.push(current)
    const next = current.draft.dependsOn.find((name) => left.has(name))
    current = next === undefined ? undefined : left.get(next)
  }
  return []
}

type Claim = { candidate: Candidate; index: number; ip: string | null }

/** A fixed port of a host belongs to one spec; an address that stands for all of them meets every other. */
function checkPorts(candidates: readonly Candidate[], report: Report): void {
  const claims = new Map<string, Claim[]>()
  for (const candidate of candidates) {
    for (const [index, { hostIp, hostPort, protocol }] of candidate.draft.ports.entries()) {
      if (hostPort === null) continue
      const ip = hostIp === '0.0.0.0' || hostIp === '::' ? null : hostIp
      for (const host of candidate.hosts) {
        const key = `${hostPort}/${protocol} of ${host}`
        const others = claims.get(key) ?? []
        const other = others.find((claim) => claim.ip === null || ip === null || claim.ip === ip)
        if (other) reportPort({ candidate, index, ip }, other, { key, report })
        append(claims, key, { candidate, index, ip })
      }
    }
  }
}

function reportPort(claim: Claim, other: Claim, { key, report }: { key: string; report: Report }): void {
  const { candidate, index } = claim
  const place = candidate.places.ports[index] ?? candidate.places.document
  const { path, draft, places } = other.candidate
  report(candidate, place, {
    message: `/ports/${index}: port ${key} is taken by "${draft.name}" (${path}:${places.ports[other.index]?.line})`,
    hint: 'Choose another host port, or let Docker choose one by leaving it out',
  })
}

function groupBy<T>(values: readonly T[], keyOf: (value: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>()
  for (const value of values) append(groups, keyOf(value), value)
  return groups
}

function append<T>(groups: Map<string, T[]>, key: string, value: T): void {
  const group = groups.get(key)
  if (group) group.push(value)
  else groups.set(key, [value])
}
