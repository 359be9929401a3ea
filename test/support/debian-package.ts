import { execFile } from 'node:child_process'
import { mkdir, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** Long enough to fetch 10 MB over a slow line. */
const timeoutMs = 300_000

/**
 * The path of a server program: the one on the PATH, else out of its Debian package, unpacked below `folder`. It is not
 * installed: an installed server starts by itself.
 */
export async function findProgram(
  name: string,
  options: { package: string; folder: string },
): Promise<string> {
  const found = await run('which', [name], { timeout: timeoutMs }).catch(() => null)
  if (found) return found.stdout.trim()
  const folder = join(options.folder, options.package)
  await mkdir(folder, { recursive: true })
  const download = () => run('apt-get', ['download', options.package], { cwd: folder, timeout: timeoutMs })
  await download().catch(async () => {
    // A fresh machine has no lists of packages yet.
    await run('apt-get', ['update'], { timeout: timeoutMs })
    await download()
  })
  const archive = (await readdir(folder)).find((file) => file.endsWith('.deb')) ?? ''
  await run('dpkg-deb', ['--extract', join(folder, archive), folder], { timeout: timeoutMs })
  return join(folder, 'usr/bin', name)
}
