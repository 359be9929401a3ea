import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { type Logger, pino } from 'pino'
import packageJson from '../package.json' with { type: 'json' }
import { loadPrivateKey, openMirrors } from './config-repos.ts'
import { createEngine, type Engine } from './engine/engine.ts'
import { createSpecReader } from './engine/spec-reader.ts'
import { checkNodeVersion, type Environment, readEnvironment } from './environment.ts'
import { createAccess } from './github/access.ts'
import { createApp, gitHubAddress } from './github/app.ts'
import { createChecks } from './github/checks.ts'
import { createDeliveries } from './github/deliveries.ts'
import { watchReachability } from './github/reachability.ts'
import { logOutput } from './log-output.ts'
import { createServer } from './monitor/server.ts'
import { loadServerConfig, openHosts } from './operator-config.ts'
import { explain, TowlineError } from './rollout/error.ts'
import { installationOwner } from './rollout/target.ts'
import { readSourceFiles } from './source/files.ts'
import { openEmbeddedStore } from './store/embedded.ts'

/** A running server. */
export type Towline = {
  /** Where it listens, e.g. `http://127.0.0.1:3000`. */
  url: string
  engine: Engine
  /** Ends waits, finishes acts on hosts, stores what is open, closes. */
  stop(): Promise<void>
}

/** Wires all parts and starts them. @throws TowlineError `operator` for settings that cannot work. */
export async function startTowline(environment: Environment, log: Logger): Promise<Towline> {
  const config = await loadServerConfig(environment)
  const address = gitHubAddress({ host: environment.gheHost, protocol: environment.gheProtocol })
  const privateKey = await loadPrivateKey(environment)
  await mkdir(environment.dataFolder, { recursive: true })
  const store = await openEmbeddedStore({
    folder: join(environment.dataFolder, 'store'),
    proposedOwner: installationOwner({ apiUrl: address.apiUrl, appId: environment.appId }),
    onDamage: (damage) => log.error(damage, 'a damaged file was set aside; what it held may be older now'),
  })
  const hosts = await openHosts(config, store.owner)
  const app = createApp({
    appId: environment.appId,
    privateKey,
    webhookSecret: environment.webhookSecret,
    address,
    accept: (delivery) => engine.intake.accept(delivery),
    // At its own levels Probot logs whole payloads and bodies.
    log: log.child({ name: 'probot' }, { level: 'warn' }),
  })
  const access = createAccess(app.probot, { configured: config.repos })
  const mirrors = openMirrors({ environment, gitUrl: address.gitUrl, token: access.token, store })
  const watched = watchReachability(
    { ...createChecks(access), ...createDeliveries(app.probot), repos: access.repos },
    { listsRepos: config.repos === null || config.repos.some(({ branch }) => branch === null) },
  )
  const engine = createEngine({
    store,
    hosts,
    github: watched.github,
    mirror: mirrors.open,
    specs: createSpecReader({ hosts: config.hosts.map(({ name }) => name), bindMounts: config.bindMounts }),
    files: {
      treeOid: async (repo, commit, path, signal) =>
        (await mirrors.known(repo)).treeOid(commit, path, { signal }),
      read: async (repo, source, signal) =>
        readSourceFiles(source, { tree: await mirrors.known(repo), signal }),
    },
    siteServer: config.images.site,
    limits: config.limits,
    orphans: config.orphans,
    schedule: config.schedule,
    log,
  })
  let stopping = false
  const server = createServer({
    webhook: app.receive,
    notReady: () => (stopping ? 'stopping' : null),
    status: engine.status,
    stuck: engine.stuck,
    catchUp: engine.catchUp,
    github: watched.read,
    targets: () => store.listTargets(),
    target: (key) => store.readTarget(key),
    sweep: engine.sweep,
    reconcile: engine.reconcile,
    cancel: engine.cancel,
    retry: engine.retry,
    version: packageJson.version,
    nowMs: () => Date.now(),
    token: environment.apiToken,
    log,
  })
  const url = await server.listen({ host: environment.host, port: environment.port }).catch(refuseAddress)
  log.info({ url, hosts: [...hosts.keys()], owner: store.owner }, 'Towline listens')
  const started = engine.start().catch((error: unknown) => {
    log.error({ err: error, ...explain(error) }, 'the first sweep failed; the next one tries again')
  })

  return {
    url,
    engine,
    async stop() {
      stopping = true
      await server.close()
      await engine.stop()
      await started
      await mirrors.close()
      await store.close()
    },
  }
}

function refuseAddress(error: unknown): never {
  throw new TowlineError(explain(error).reason, {
    fault: 'operator',
    hint: 'Set PORT and HOST to an address of this machine that nothing else listens on.',
    cause: error,
  })
}

function createLog({ logLevel, logFormat }: Environment): Logger {
  const redact = { paths: ['*.token', '*.authorization', 'err.request.headers', 'err.cause'], remove: true }
  if (logFormat === 'json') return pino({ level: logLevel, redact }, logOutput(process.stdout.fd))
  return pino({ level: logLevel, redact, transport: { target: 'pino-pretty' } })
}

/** Docker waits 10 s after SIGTERM; what is not done by then is resumed by the next start. */
const stopTimeoutMs = 9_000

async function main(): Promise<void> {
  checkNodeVersion(process.versions.node)
  const environment = readEnvironment(process.env)
  const log = createLog(environment)
  const towline = await startTowline(environment, log)
  for (const name of ['SIGTERM', 'SIGINT'] as const) {
    process.once(name, () => {
      log.info({ signal: name }, 'stopping')
      setTimeout(() => process.exit(0), stopTimeoutMs).unref()
      towline.stop().then(
        () => process.exit(0),
        (error: unknown) => {
          log.error({ err: error }, 'stopping failed')
          process.exit(1)
        },
      )
    })
  }
}

if (import.meta.main) {
  main().catch((error: unknown) => {
    const { reason, hint } = explain(error)
    process.stderr.write(`${reason}\n${hint && `${hint}\n`}`)
    process.exit(1)
  })
}
