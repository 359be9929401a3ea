import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Logger } from 'pino'
import { loadPrivateKey, openMirrors } from '../config-repos.ts'
import type { Store } from '../engine/ports.ts'
import { type RebuildReport, type RebuiltTarget, rebuildStore } from '../engine/rebuild.ts'
import { dueHosts, holdHosts } from '../engine/rebuild-due.ts'
import { createSpecReader } from '../engine/spec-reader.ts'
import type { Environment } from '../environment.ts'
import { createAccess } from '../github/access.ts'
import { createApp, gitHubAddress } from '../github/app.ts'
import { loadServerConfig, openHosts } from '../operator-config.ts'
import { TowlineError } from '../rollout/error.ts'
import { installationOwner } from '../rollout/target.ts'
import type { ServerConfig } from '../spec/server.ts'
import { openEmbeddedStore } from '../store/embedded.ts'
import type { Print } from './print.ts'

export type RebuildOptions = {
  environment: Environment
  /** Id of the installation whose things are looked for; null takes the data folder's, or the App's. */
  owner: string | null
  print: Print
  signal: AbortSignal
  log: Logger
}

/**
 * `towline doctor --rebuild`: what a start with a lost data folder does, and nothing else. Changes nothing on a host.
 * Exits 0 where all that was found is known again, 1 where something is left or there was nothing to rebuild.
 */
export async function doctorRebuild(options: RebuildOptions): Promise<number> {
  const { environment, print, signal, log } = options
  const config = await loadServerConfig(environment)
  const address = gitHubAddress({ host: environment.gheHost, protocol: environment.gheProtocol })
  const privateKey = await loadPrivateKey(environment)
  const { appId, webhookSecret } = environment
  const app = createApp({ appId, privateKey, webhookSecret, address, accept: refuseDelivery, log })
  const access = createAccess(app.probot, { configured: config.repos })
  const store = await openStore(options, address.apiUrl)
  const mirrors = openMirrors({ environment, gitUrl: address.gitUrl, token: access.token, store })
  try {
    const hosts = await openHosts(config, store.owner)
    await holdHosts(store, await hostsWithoutRecords(store, hosts.keys()))
    if ((await dueHosts(store, hosts.keys())).length === 0) throw nothingLost(environment.dataFolder)
    const report = await rebuildStore(
      {
        ...{ store, hosts, github: access, mirror: mirrors.open, log },
        specs: createSpecReader(readerSettings(config)),
        siteServer: config.images.site,
        deadlineMs: config.limits.deadlineMs,
      },
      { signal },
    )
    return show(print, { owner: store.owner, report })
  } finally {
    await mirrors.close()
    await store.close()
  }
}

/** @throws TowlineError `operator` where a server works on the folder. */
async function openStore({ environment, owner, print }: RebuildOptions, apiUrl: string): Promise<Store> {
  if (owner !== null && !ownerPattern.test(owner)) {
    throw new TowlineError(`"${owner}" is no owner id`, { fault: 'operator', hint: ownerHint })
  }
  await mkdir(environment.dataFolder, { recursive: true })
  return openEmbeddedStore({
    folder: join(environment.dataFolder, 'store'),
    proposedOwner: installationOwner({ apiUrl, appId: environment.appId }),
    ...(owner !== null && { owner }),
    onDamage: ({ file, movedTo, reason }) => {
      print.error(`${file} is damaged (${reason}) and was set aside as ${movedTo}`)
    },
  })
}

/** Hosts whose records may have been lost: where one is known of, the folder is not what is wrong. */
async function hostsWithoutRecords(store: Store, names: Iterable<string>): Promise<string[]> {
  const records = await store.listTargets()
  return [...names].filter((name) => !records.some(({ target }) => target.host === name))
}

function nothingLost(dataFolder: string): TowlineError {
  return new TowlineError(`${dataFolder} has records of every host already; nothing was changed`, {
    fault: 'operator',
    hint: 'To rebuild all of them, move the folder away first, or name another one with --data.',
  })
}

function readerSettings({ hosts, bindMounts }: ServerConfig) {
  return { hosts: hosts.map(({ name }) => name), bindMounts }
}

async function refuseDelivery(): Promise<never> {
  throw new TowlineError('no webhook is taken here', { fault: 'bug' })
}

function show(print: Print, { owner, report }: { owner: string; report: RebuildReport | null }): number {
  const { hosts = [], targets = [], problems = [] } = report ?? {}
  print.value({ owner, hosts, targets, problems })
  for (const { host, containerCount, error } of hosts) {
    print.line(
      `${print.style('bold', host)} ${error ?? `${containerCount} containers of installation ${owner}`}`,
    )
  }
  const rows = targets.map(describe)
  const width = Math.max(0, ...rows.map(([target]) => target.length))
  for (const [target, release, how] of rows) {
    print.line(`${print.style('bold', target.padEnd(width))} ${release.padEnd(releaseWidth)} ${how}`)
  }
  for (const { target, surplus } of targets) {
    for (const { name, reason } of surplus) print.line(`${target}: ${name} is not part of it: ${reason}`)
  }
  for (const { subject, reason, hint } of problems) {
    print.line(`${print.style('red', subject)} is not rebuilt yet: ${reason}`)
    if (hint) print.line(`  ${hint}`)
  }
  if (targets.length === 0 && problems.length === 0) print.line(`Nothing was found. ${ownerHint}`)
  const known = targets.filter(({ releaseId }) => releaseId !== null)
  print.line(`${known.length} of ${targets.length} targets are known again. Nothing was changed on a host.`)
  return problems.length === 0 && targets.length > 0 ? 0 : 1
}

const froms: Record<RebuiltTarget['from'], string> = {
  head: 'as the head says',
  'older commit': 'as the commit said it was deployed from',
  'host alone': 'as it stands; no commit tells of it',
}

function describe({ target, releaseId, from, wanted }: RebuiltTarget): [string, string, string] {
  if (releaseId === null) return [target, '-', 'never proven: deployed anew if the repo wants it']
  return [target, releaseId, froms[from] + (wanted ? '' : '; not wanted by the repo any more')]
}

const ownerPattern = /^[A-Za-z0-9-]{8,64}$/
const ownerHint =
  'The label towline.owner of its containers has it: docker ps -a --filter label=towline.owner --format \'{{.Label "towline.owner"}}\''
/** Twelve digits and the number of a re-run. */
const releaseWidth = 15
