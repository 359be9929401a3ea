import { createHash } from 'node:crypto'
import type { Manifest } from './release.ts'

/**
 * What the release directory must hold. Files are sorted by path; `filesSha256` is of their list as JSON, so that
 * two releases have the same hash where, and only where, paths, modes and bytes are the same.
 */
export function buildManifest(
  releaseId: string,
  files: readonly { path: string; mode: number; content: Uint8Array }[],
): Manifest {
  const listed = files
    .map(({ path, mode, content }) => ({ path, size: content.byteLength, mode, sha256: sha256(content) }))
    .sort((a, b) => (a.path < b.path ? -1 : 1))
  return {
    releaseId,
    fileCount: listed.length,
    byteCount: listed.reduce((sum, { size }) => sum + size, 0),
    filesSha256: sha256(JSON.stringify(listed)),
    files: listed,
  }
}

function sha256(content: string | Uint8Array): string {
  return createHash('sha256').update(content).digest('hex')
}
