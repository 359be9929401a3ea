import { execFile } from 'node:child_process'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { text } from 'node:stream/consumers'
import { promisify } from 'node:util'
import Docker from 'dockerode'
import { pack } from 'tar-stream'

const run = promisify(execFile)

/** Long enough to fetch 10 MB over a slow line. */
const timeoutMs = 300_000

/**
 * An image with the real Caddy, for the command Sites are served with by default. Caddy is the one on the PATH, else
 * Debian's package, unpacked and not installed: installed it would start a web server of its own.
 */
export async function buildCaddyImage(socketPath: string): Promise<string> {
  const tag = 'towline-demo/caddy:1'
  const docker = new Docker({ socketPath })
  const known = await docker
    .getImage(tag)
    .inspect()
    .catch(() => null)
  if (known) return tag
  const folder = await mkdtemp(join(tmpdir(), 'towline-caddy-'))
  try {
    const caddy = await findCaddy(folder)
    const context = pack()
    const copies: string[] = []
    for (const path of [caddy, ...(await librariesOf(caddy))]) {
      const target = path === caddy ? '/bin/caddy' : path
      context.entry({ name: basename(target), mode: 0o755 }, await readFile(path))
      copies.push(`COPY ${basename(target)} ${target}`)
    }
    context.entry(
      { name: 'Dockerfile' },
      ['FROM towline-demo/busybox:1', ...copies, 'ENV HOME=/tmp'].join('\n'),
    )
    context.finalize()
    const output = await text(await docker.buildImage(context, { t: tag, forcerm: true }))
    if (output.includes('"error"')) throw new Error(`the Engine did not build the Caddy image: ${output}`)
    return tag
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

async function findCaddy(folder: string): Promise<string> {
  const found = await run('which', ['caddy'], { timeout: timeoutMs }).catch(() => null)
  if (found) return found.stdout.trim()
  const download = () => run('apt-get', ['download', 'caddy'], { cwd: folder, timeout: timeoutMs })
  await download().catch(async () => {
    // A fresh machine has no lists of packages yet.
    await run('apt-get', ['update'], { timeout: timeoutMs })
    await download()
  })
  const [archive = ''] = await readdir(folder)
  await run('dpkg-deb', ['--extract', join(folder, archive), folder], { timeout: timeoutMs })
  return join(folder, 'usr/bin/caddy')
}

/** The shared libraries a program is linked with, and its loader; none for a static one. */
async function librariesOf(program: string): Promise<string[]> {
  const { stdout } = await run('ldd', [program], { timeout: timeoutMs }).catch(() => ({ stdout: '' }))
  return [...stdout.matchAll(/(?:=> )?(?<path>\/\S+) \(0x/g)].map((match) => match.groups?.path ?? '')
}
