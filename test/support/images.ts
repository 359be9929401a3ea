/**
 * The images tests and the demo deploy. All share one layer with a statically linked BusyBox, are loaded from a tar
 * made here, and so need no registry:
 *
 * - `towline-demo/busybox:1`      a shell and all of BusyBox; serves as Towline's helper and as a site's server
 * - `towline-demo/hello:1`, `:2`  a page on 8080 with `$GREETING` and the version; `/healthz`
 * - `towline-demo/crash:1`        writes a line and exits with 1
 * - `towline-demo/unhealthy:1`    runs, and its health check always fails
 * - `towline-demo/slow:1`         answers on 8080, and is healthy, after three seconds
 *
 * BusyBox's statically linked `wget` may crash on names in Docker's own networks: health checks use 127.0.0.1.
 */

import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { Readable } from 'node:stream'
import { buffer, text } from 'node:stream/consumers'
import { promisify } from 'node:util'
import Docker from 'dockerode'
import { pack } from 'tar-stream'
import { findStaticBusybox } from './docker-daemon.ts'

type TestImage = { tag: string; command: string[]; environment?: string[]; healthcheck?: Healthcheck }
type Healthcheck = { Test: string[]; Interval: number; Timeout: number; Retries: number }

const second = 1_000_000_000
const healthcheck: Healthcheck = {
  Test: ['CMD', 'wget', '-q', '-O', '/dev/null', 'http://127.0.0.1:8080/healthz'],
  Interval: second,
  Timeout: 2 * second,
  Retries: 2,
}

const images: TestImage[] = [
  { tag: 'towline-demo/busybox:1', command: ['sh'] },
  { tag: 'towline-demo/hello:1', command: ['/bin/serve'], environment: ['VERSION=1', 'GREETING=Hello'] },
  { tag: 'towline-demo/hello:2', command: ['/bin/serve'], environment: ['VERSION=2', 'GREETING=Hello'] },
  { tag: 'towline-demo/crash:1', command: ['sh', '-c', 'echo "cannot open the database"; exit 1'] },
  {
    tag: 'towline-demo/unhealthy:1',
    command: ['sh', '-c', 'trap "exit 0" TERM; echo "listening on nothing"; sleep 2147483647 & wait'],
    healthcheck,
  },
  {
    tag: 'towline-demo/slow:1',
    command: ['/bin/serve'],
    environment: ['VERSION=slow', 'GREETING=Hello', 'DELAY=3'],
    healthcheck: { ...healthcheck, Retries: 10 },
  },
]

/** As process 1 the shell gets no default action for SIGTERM, so it traps it, and stops at once. */
const serveScript = `#!/bin/sh
trap 'kill $! 2>/dev/null; exit 0' TERM INT
mkdir -p /tmp/www
echo "<!doctype html><title>hello</title><h1>$GREETING</h1><p>version $VERSION" > /tmp/www/index.html
echo ok > /tmp/www/healthz
echo "starting version $VERSION"
sleep "\${DELAY:-0}" & wait $!
echo "listening on 8080"
httpd -f -p 8080 -h /tmp/www & wait $!
`

/** Loads the images into the Engine, unless exactly these are there already. */
export async function buildTestImages(socketPath: string): Promise<void> {
  const docker = new Docker({ socketPath })
  const layer = await makeLayer()
  const configs = images.map((image) => ({ image, config: imageConfig(image, layer) }))
  const present = await Promise.all(
    configs.map(async ({ image, config }) => {
      const found = await docker
        .getImage(image.tag)
        .inspect()
        .catch(() => null)
      return found?.Config.Labels?.[digestLabel] === config.digest
    }),
  )
  if (present.every(Boolean)) return
  const archive = pack()
  archive.entry({ name: 'layer.tar', mtime: epoch }, layer)
  for (const { config } of configs)
    archive.entry({ name: `${config.digest}.json`, mtime: epoch }, config.json)
  const manifest = configs.map(({ image, config }) => ({
    Config: `${config.digest}.json`,
    RepoTags: [image.tag],
    Layers: ['layer.tar'],
  }))
  archive.entry({ name: 'manifest.json', mtime: epoch }, JSON.stringify(manifest))
  archive.finalize()
  const output = await text(await docker.loadImage(Readable.from(archive)))
  if (/"error"/.test(output)) throw new Error(`The Engine did not take the test images: ${output}`)
}

const digestLabel = 'towline-demo.digest'
/** Fixed times make the same bytes, and so the same image ids, on every run. */
const epoch = new Date(0)

function imageConfig(image: TestImage, layer: Buffer): { digest: string; json: string } {
  const digest = sha256(Buffer.concat([layer, Buffer.from(JSON.stringify(image))]))
  const json = JSON.stringify({
    architecture: process.arch === 'x64' ? 'amd64' : process.arch,
    os: 'linux',
    created: epoch.toISOString(),
    config: {
      Env: ['PATH=/bin', ...(image.environment ?? [])],
      Cmd: image.command,
      Labels: { [digestLabel]: digest },
      ...(image.healthcheck === undefined ? {} : { Healthcheck: image.healthcheck }),
    },
    rootfs: { type: 'layers', diff_ids: [`sha256:${sha256(layer)}`] },
    history: [{ created: epoch.toISOString(), created_by: 'towline tests' }],
  })
  return { digest, json }
}

async function makeLayer(): Promise<Buffer> {
  const busybox = await findStaticBusybox()
  if (busybox === null)
    throw new Error('There is no statically linked BusyBox at /bin/busybox to make images of')
  const { stdout } = await promisify(execFile)(busybox, ['--list'], { timeout: 10_000 })
  const layer = pack()
  for (const name of ['bin', 'etc', 'root', 'srv', 'var', 'var/log']) {
    layer.entry({ name, type: 'directory', mode: 0o755, mtime: epoch })
  }
  layer.entry({ name: 'tmp', type: 'directory', mode: 0o1777, mtime: epoch })
  layer.entry(
    { name: 'etc/passwd', mode: 0o644, mtime: epoch },
    'root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n',
  )
  layer.entry({ name: 'etc/group', mode: 0o644, mtime: epoch }, 'root:x:0:\nnogroup:x:65534:\n')
  layer.entry({ name: 'bin/serve', mode: 0o755, mtime: epoch }, serveScript)
  layer.entry({ name: 'bin/busybox', mode: 0o755, mtime: epoch }, await readFile(busybox))
  for (const applet of stdout
    .trim()
    .split('\n')
    .filter((name) => name !== 'busybox')) {
    layer.entry({ name: `bin/${applet}`, type: 'symlink', linkname: 'busybox', mtime: epoch })
  }
  layer.finalize()
  return buffer(Readable.from(layer))
}

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex')
}
