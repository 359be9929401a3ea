/**
 * Makes a machine ready for `npm test`, `npm run bench` and `npm run demo`: run as a program, it installs what is missing
 * on a Debian machine where it may (as root), and elsewhere says what a person has to do.
 */

import { spawn } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { findStaticBusybox, reachableEngine } from './docker-daemon.ts'

/** A mirror that hangs must not hang a test run: the largest package needs about a minute on a slow line. */
const aptTimeoutMs = 600_000

/** Characters of apt's output kept for an error: its last screen or two. */
const outputLimit = 4_000

/** What the tests start, and the Debian package it comes from. iproute2 brings `ip`, for the daemon's own bridge. */
const requirements = [
  { command: 'dockerd', package: 'docker.io' },
  { command: 'ip', package: 'iproute2' },
  { command: 'git', package: 'git' },
  { command: 'openssl', package: 'openssl' },
]

if (import.meta.main) process.exitCode = await setUp({ dockerHost: process.env.DOCKER_HOST })

/** Returns the exit code: 0 when a test run can start. */
export async function setUp(options: { dockerHost: string | undefined }): Promise<number> {
  if (await mayInstall()) {
    await ensureDebianPackages(await missingPackages())
    return 0
  }
  const engine = await reachableEngine(options)
  const busybox = await findStaticBusybox()
  if (engine !== null && busybox !== null) return 0
  if (engine === null) {
    console.error('No Docker Engine answers. Start one, and set DOCKER_HOST=unix:///path/to/docker.sock')
    console.error('where it does not listen on /var/run/docker.sock.')
  }
  if (busybox === null) {
    console.error(
      'The test images are made from a statically linked BusyBox, and there is none on this machine.',
    )
    console.error('Install one at /bin/busybox (on Debian and Ubuntu: the package busybox-static).')
  }
  return 1
}

/**
 * Installs the Debian packages that are not installed yet. Needs root.
 * @throws Error with the end of apt's output where a package cannot be installed.
 */
export async function ensureDebianPackages(packages: readonly string[]): Promise<void> {
  const missing: string[] = []
  for (const name of packages) if (!(await isInstalled(name))) missing.push(name)
  if (missing.length === 0) return
  console.log(`Installing ${missing.join(', ')} (a minute or two, once) …`)
  const install = ['install', '-y', '--no-install-recommends', ...missing]
  try {
    await run('apt-get', install)
  } catch {
    console.log('Reading the lists of packages anew …')
    await run('apt-get', ['update'])
    await run('apt-get', install)
  }
  console.log('Installed.')
}

async function missingPackages(): Promise<string[]> {
  const missing: string[] = []
  for (const required of requirements) {
    const found = await run('which', [required.command]).catch(() => null)
    if (found === null) missing.push(required.package)
  }
  if ((await findStaticBusybox()) === null) missing.push('busybox-static')
  return missing
}

async function isInstalled(name: string): Promise<boolean> {
  const status = await run('dpkg-query', ['--status', name]).catch(() => '')
  return status.includes('Status: install ok installed')
}

async function mayInstall(): Promise<boolean> {
  if (process.getuid?.() !== 0) return false
  const release = await readFile('/etc/os-release', 'utf8').catch(() => '')
  return /^ID(_LIKE)?=.*debian/m.test(release)
}

/** Runs a program without input and returns what it printed. Rejects with the end of its output when it fails. */
function run(command: string, args: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
      timeout: aptTimeoutMs,
    })
    let output = ''
    const collect = (chunk: Buffer) => {
      output = (output + chunk.toString()).slice(-outputLimit)
    }
    child.stdout.on('data', collect)
    child.stderr.on('data', collect)
    child.on('error', reject)
    child.on('close', (code) => {
      if (code === 0) resolve(output)
      else reject(new Error(`${command} ${args.join(' ')} failed (${code ?? 'timed out'}):\n${output}`))
    })
  })
}
