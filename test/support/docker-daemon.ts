/**
 * A Docker Engine of our own for tests and the demo: everything below one folder, with its own socket, bridge and
 * containerd, so that it neither sees nor disturbs another Engine on the machine.
 *
 * It runs without iptables. A second daemon rewrites the first one's chains, and Docker's own proxy process serves
 * published ports on 127.0.0.1 without them. The price: containers do not reach the Internet.
 */

import { execFile, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { access, mkdir, open, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { networkInterfaces, tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import Docker from 'dockerode'

const execFileText = promisify(execFile)

export type DockerDaemon = {
  socketPath: string
  /** The socket as `DOCKER_HOST` has it: `unix:///…`. */
  host: string
  /** Removes all containers, stops the Engine and its bridge. The images stay for the next run. */
  stop(): Promise<void>
  /** Kills the Engine as a crash would. Its containers live on until `restart`. */
  kill(): Promise<void>
  /** Stops the Engine if it runs, and starts it with the same state. */
  restart(): Promise<void>
}

/** On the PATH of root; set-up installs it. */
const engineProgram = 'dockerd'
/** An Engine needs 1–3 s to start; a machine under load several times that. */
const startTimeoutMs = 60_000
/** The Engine gives its containers 5 s (`--shutdown-timeout`), then needs a moment of its own. */
const stopTimeoutMs = 20_000
/** Runs of one name side by side. */
const slotLimit = 8

/**
 * Starts an Engine and resolves once it answers. Leftovers of an earlier run that was killed are stopped and cleared
 * first. Without `folder` the Engine lives in `<tmp>/towline-<name>`, or, while another process uses that one, in
 * `<tmp>/towline-<name>-2` and so on.
 *
 * @throws Error with the end of the Engine's log where it does not come up. Needs root and Linux.
 */
export async function startDockerDaemon(options: { name: string; folder?: string }): Promise<DockerDaemon> {
  const folder = await claimFolder(options)
  const bridge = `tl-${createHash('sha256').update(folder).digest('hex').slice(0, 8)}`
  const socketPath = join(folder, 'docker.sock')
  const launch = () => launchEngine({ folder, bridge, socketPath })
  try {
    await launch()
    await removeEverything(socketPath)
  } catch (error) {
    await stopEngine(folder)
    await releaseFolder(folder, bridge)
    throw error
  }
  return {
    socketPath,
    host: `unix://${socketPath}`,
    async stop() {
      if (!(await answers(socketPath))) await launch()
      await removeEverything(socketPath)
      await stopEngine(folder)
      await releaseFolder(folder, bridge)
    },
    kill: () => killEngine(folder),
    restart: launch,
  }
}

/** The Engine a run uses: `DOCKER_HOST`'s; else, as root on Linux, one of our own; else the machine's. */
export async function testEngine(options: {
  name: string
  dockerHost: string | undefined
}): Promise<{ socketPath: string; host: string; stop(): Promise<void> }> {
  const own = process.platform === 'linux' && process.getuid?.() === 0
  if (options.dockerHost === undefined && own) return startDockerDaemon(options)
  const reachable = await reachableEngine(options)
  if (reachable === null) {
    throw new Error(
      `No Docker Engine answers on ${options.dockerHost ?? defaultHost}. Start it, or run as root on Debian.`,
    )
  }
  return { ...reachable, stop: async () => {} }
}

/** The Engine of `DOCKER_HOST`, or of the default socket where that is not set; null where none answers. */
export async function reachableEngine(options: {
  dockerHost: string | undefined
}): Promise<{ socketPath: string; host: string } | null> {
  const host = options.dockerHost ?? defaultHost
  if (!host.startsWith('unix://')) return null
  const socketPath = host.slice('unix://'.length)
  return (await answers(socketPath)) ? { socketPath, host } : null
}

const defaultHost = 'unix:///var/run/docker.sock'

/** Path of a BusyBox that runs without any library of the machine, which the test images are made from. */
export async function findStaticBusybox(): Promise<string | null> {
  for (const path of ['/bin/busybox', '/usr/bin/busybox']) {
    const bytes = await readFile(path).catch(() => null)
    // A dynamically linked ELF file names its loader, e.g. /lib64/ld-linux-x86-64.so.2 or /lib/ld-musl-x86_64.so.1.
    if (bytes !== null && !bytes.subarray(0, 8_192).includes('/ld-')) return path
  }
  return null
}

async function claimFolder(options: { name: string; folder?: string }): Promise<string> {
  const base = options.folder ?? join(tmpdir(), `towline-${options.name}`)
  const slots = options.folder === undefined ? slotLimit : 1
  for (let slot = 1; slot <= slots; slot += 1) {
    const folder = slot === 1 ? base : `${base}-${slot}`
    await mkdir(folder, { recursive: true })
    if (await claim(join(folder, 'holder'))) return folder
  }
  throw new Error(`${base} is in use by another run that is still alive`)
}

async function claim(holderPath: string): Promise<boolean> {
  if (!(await holderLives(holderPath))) await rm(holderPath, { force: true })
  const identity = await processIdentity(process.pid)
  return writeFile(holderPath, identity, { flag: 'wx' }).then(
    () => true,
    () => false,
  )
}

async function releaseFolder(folder: string, bridge: string): Promise<void> {
  await ip(['link', 'delete', bridge]).catch(ignore)
  // The Engine mounts its data folder onto itself, and leaves it so.
  await execFileText('umount', [join(folder, 'data')], { timeout: 10_000 }).catch(ignore)
  await rm(join(folder, 'holder'), { force: true })
}

async function holderLives(holderPath: string): Promise<boolean> {
  const holder = await readFile(holderPath, 'utf8').catch(() => '')
  const pid = Number(holder.split(' ')[0])
  if (!(pid > 0)) return false
  return (await processIdentity(pid).catch(() => null)) === holder
}

/** Process id and start time: a number that was given to a new process is not the old one. */
async function processIdentity(pid: number): Promise<string> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8')
  // proc(5): field 22 is the start time; field 2, the name, is in brackets and may contain spaces.
  const startTime = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]
  return `${pid} ${startTime}`
}

/** Starts the Engine of a folder. One that runs there is stopped first. */
async function launchEngine(options: { folder: string; bridge: string; socketPath: string }): Promise<void> {
  const { folder, bridge, socketPath } = options
  await stopEngine(folder)
  const network = freeNetwork(folder, bridge)
  await ip(['link', 'delete', bridge]).catch(ignore)
  await ip(['link', 'add', bridge, 'type', 'bridge'])
  await ip(['address', 'add', `${network}.0.1/24`, 'dev', bridge])
  await ip(['link', 'set', bridge, 'up'])
  // A process that ended and that nobody waited for still has its number: an Engine would take it for a living one.
  await rm(join(folder, 'docker.pid'), { force: true })
  await rm(join(folder, 'exec', 'containerd', 'containerd.pid'), { force: true })
  await rm(socketPath, { force: true })
  // An empty one: without it the Engine would read the machine's own /etc/docker/daemon.json.
  const configPath = join(folder, 'daemon.json')
  await writeFile(configPath, '{}')
  const logPath = join(folder, 'docker.log')
  await using log = await open(logPath, 'w')
  const engine = spawn(
    engineProgram,
    [
      ['--host', `unix://${socketPath}`],
      ['--data-root', join(folder, 'data')],
      ['--exec-root', join(folder, 'exec')],
      ['--pidfile', join(folder, 'docker.pid')],
      ['--bridge', bridge],
      ['--default-address-pool', `base=${network}.128.0/17,size=24`],
      ['--iptables=false', '--ip6tables=false', '--ip-masq=false'],
      ['--shutdown-timeout', '5'],
      ['--config-file', configPath],
    ].flat(),
    // A process group of its own: Ctrl-C in a terminal reaches the test run first, which then stops the Engine.
    { detached: true, stdio: ['ignore', log.fd, log.fd] },
  )
  let ended: string | null = null
  engine.on('error', (error) => {
    ended = error.message
  })
  engine.on('exit', (code, signal) => {
    ended = `it ended with ${code ?? signal}`
  })
  engine.unref()
  const deadline = Date.now() + startTimeoutMs
  while (!(await answers(socketPath))) {
    if (ended === null && Date.now() < deadline) {
      await sleep(50)
      continue
    }
    const lines = (await readFile(logPath, 'utf8')).trimEnd().split('\n').slice(-20)
    throw new Error(
      `The Docker Engine in ${folder} did not start: ${ended ?? `no answer in ${startTimeoutMs} ms`}\n${lines.join('\n')}`,
    )
  }
}

/** First two bytes of a /16 that no other interface of the machine is in: 10.100 to 10.199, from the folder's name on. */
function freeNetwork(folder: string, bridge: string): string {
  const taken = Object.entries(networkInterfaces())
    .filter(([name]) => name !== bridge)
    .flatMap(([, addresses]) => addresses ?? [])
    .map((address) => address.address)
  const start = createHash('sha256').update(folder).digest().readUInt16BE() % 100
  for (let step = 0; step < 100; step += 1) {
    const prefix = `10.${100 + ((start + step) % 100)}`
    if (!taken.some((address) => address.startsWith(`${prefix}.`))) return prefix
  }
  throw new Error('No free network between 10.100.0.0/16 and 10.199.0.0/16 for the bridge of a Docker Engine')
}

/** Stops the Engine of a folder, whoever started it. Containers it could not stop await the next Engine. */
async function stopEngine(folder: string): Promise<void> {
  const { dockerd } = await enginePids(folder)
  for (const pid of dockerd) signalProcess(pid, 'SIGTERM')
  const deadline = Date.now() + stopTimeoutMs
  while ((await enginePids(folder)).dockerd.length > 0 && Date.now() < deadline) await sleep(50)
  await killEngine(folder)
}

/**
 * containerd dies with its Engine, but not at once: an Engine that starts meanwhile takes it for a living one and
 * waits for it in vain. So it is killed too, and both are waited for.
 */
async function killEngine(folder: string): Promise<void> {
  const deadline = Date.now() + stopTimeoutMs
  for (;;) {
    const { dockerd, containerd } = await enginePids(folder)
    if (dockerd.length + containerd.length === 0) return
    if (Date.now() > deadline) throw new Error(`The Docker Engine in ${folder} cannot be killed`)
    for (const pid of [...dockerd, ...containerd]) signalProcess(pid, 'SIGKILL')
    await sleep(50)
  }
}

/** Processes that run on this folder, found by their arguments: a pid file may be stale. */
async function enginePids(folder: string): Promise<{ dockerd: number[]; containerd: number[] }> {
  const pids = { dockerd: [] as number[], containerd: [] as number[] }
  for (const entry of await readdir('/proc')) {
    if (!/^\d+$/.test(entry)) continue
    const args = (await readFile(`/proc/${entry}/cmdline`, 'utf8').catch(() => '')).split('\0')
    const program = basename(args[0] ?? '')
    if (program !== engineProgram && program !== 'containerd') continue
    if (args.some((argument) => argument.startsWith(`${folder}/`))) pids[program].push(Number(entry))
  }
  return pids
}

function signalProcess(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch {
    // It ended in the meantime.
  }
}

/** All containers, networks and volumes of an Engine that is ours alone. */
async function removeEverything(socketPath: string): Promise<void> {
  const docker = new Docker({ socketPath })
  const containers = await docker.listContainers({ all: true })
  await Promise.all(containers.map(({ Id }) => docker.getContainer(Id).remove({ force: true, v: true })))
  await docker.pruneNetworks()
  const { Volumes } = await docker.listVolumes()
  await Promise.all((Volumes ?? []).map(({ Name }) => docker.getVolume(Name).remove({ force: true })))
}

async function answers(socketPath: string): Promise<boolean> {
  if (
    !(await access(socketPath).then(
      () => true,
      () => false,
    ))
  )
    return false
  try {
    await new Docker({ socketPath, timeout: 2_000 }).ping()
    return true
  } catch {
    return false
  }
}

async function ip(args: readonly string[]): Promise<void> {
  await execFileText('ip', args, { timeout: 10_000 })
}

function ignore(): void {}
