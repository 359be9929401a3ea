import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { promisify } from 'node:util'
import Docker from 'dockerode'
import { pack } from 'tar-stream'
import { findProgram } from './debian-package.ts'

const run = promisify(execFile)

/**
 * An image with the real Caddy, for the command Sites are served with by default.
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
    const caddy = await findProgram('caddy', { package: 'caddy', folder })
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
    const output = await text(await docker.buildImage(Readable.from(context), { t: tag, forcerm: true }))
    if (output.includes('"error"')) throw new Error(`the Engine did not build the Caddy image: ${output}`)
    return tag
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

/** The shared libraries a program is linked with, and its loader; none for a static one. */
async function librariesOf(program: string): Promise<string[]> {
  const { stdout } = await run('ldd', [program], { timeout: 10_000 }).catch(() => ({ stdout: '' }))
  return [...stdout.matchAll(/(?:=> )?(?<path>\/\S+) \(0x/g)].map((match) => match.groups?.path ?? '')
}
