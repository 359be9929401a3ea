import { spawn } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import Docker from 'dockerode'
import { findProgram } from './debian-package.ts'
import { eventually, freePort } from './town.ts'

/** A real image registry on loopback, which Docker speaks to without TLS. */
export type Registry = AsyncDisposable & {
  /** `127.0.0.1:<port>`, the first part of an image's name. */
  host: string
  /** Puts a local image into the registry under a new name, removes that name here, and returns its digest. */
  publish(localImage: string, name: string): Promise<string>
}

export async function startRegistry(dockerSocket: string): Promise<Registry> {
  const folder = await mkdtemp(join(tmpdir(), 'towline-registry-'))
  const program = await findProgram('docker-registry', { package: 'docker-registry', folder })
  const host = `127.0.0.1:${await freePort()}`
  const config = {
    version: '0.1',
    log: { level: 'warn' },
    storage: { filesystem: { rootdirectory: join(folder, 'images') } },
    http: { addr: host },
  }
  // JSON is YAML too.
  await writeFile(join(folder, 'config.yml'), JSON.stringify(config))
  const child = spawn(program, ['serve', join(folder, 'config.yml')], { stdio: 'ignore' })
  await eventually('the registry to answer', () => fetch(`http://${host}/v2/`).catch(() => null))
  const docker = new Docker({ socketPath: dockerSocket })

  return {
    host,
    async publish(localImage, name) {
      const [repository = '', tag = 'latest'] = name.split(':')
      const reference = `${host}/${repository}:${tag}`
      await docker.getImage(localImage).tag({ repo: `${host}/${repository}`, tag })
      const output = await text(await docker.getImage(reference).push({ authconfig: {} }))
      const digest = /"Digest":"(?<digest>sha256:[0-9a-f]{64})"/.exec(output)?.groups?.digest
      if (!digest) throw new Error(`the registry did not take ${reference}: ${output}`)
      await docker.getImage(reference).remove()
      return digest
    },
    async [Symbol.asyncDispose]() {
      child.kill()
      await rm(folder, { recursive: true, force: true })
    },
  }
}
