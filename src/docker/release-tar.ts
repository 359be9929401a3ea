import { posix } from 'node:path'
import { Readable } from 'node:stream'
import { type Pack, pack } from 'tar-stream'
import type { ReleaseFile } from '../engine/ports.ts'
import { TowlineError } from '../rollout/error.ts'

/**
 * An uncompressed tar of the files and of every folder they are in: a folder the Engine has to make up for itself is
 * open to everybody. `onProgress` gets 0–1 as the bytes are taken.
 *
 * @throws TowlineError `bug` where a path leads out of the release.
 */
export function packRelease(
  files: readonly ReleaseFile[],
  options: { writtenAt: Date; onProgress?: (fraction: number) => void },
): Readable {
  const archive = pack()
  const mtime = options.writtenAt
  for (const name of foldersOf(files)) archive.entry({ name, type: 'directory', mode: 0o755, mtime })
  for (const { path, mode, content } of files) {
    const bytes = Buffer.from(content.buffer, content.byteOffset, content.byteLength)
    archive.entry({ name: path, mode: mode & 0o777, mtime }, bytes)
  }
  archive.finalize()
  const totalBytes = files.reduce((sum, { content }) => sum + content.byteLength, 0)
  return Readable.from(
    counted(archive, (bytes) => options.onProgress?.(Math.min(1, bytes / (totalBytes || 1)))),
  )
}

/** One file as a tar. */
export function packFile(name: string, content: string): Readable {
  const archive = pack()
  archive.entry({ name, mode: 0o644, mtime: new Date() }, content)
  archive.finalize()
  return Readable.from(archive)
}

async function* counted(archive: Pack, onBytes: (bytes: number) => void): AsyncGenerator<Buffer> {
  let bytes = 0
  for await (const chunk of archive) {
    const taken = chunk as Buffer
    yield taken
    bytes += taken.length
    onBytes(bytes)
  }
}

function foldersOf(files: readonly ReleaseFile[]): string[] {
  const folders = new Set<string>()
  for (const { path } of files) {
    if (
      posix.isAbsolute(path) ||
      posix.normalize(path) !== path ||
      path.startsWith('../') ||
      path.includes('\0')
    ) {
      throw new TowlineError(`A release cannot hold the file ${JSON.stringify(path)}`, { fault: 'bug' })
    }
    for (let folder = posix.dirname(path); folder !== '.'; folder = posix.dirname(folder)) folders.add(folder)
  }
  return [...folders].sort()
}
