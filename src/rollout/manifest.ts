import { createHash } from 'node:crypto'
import type { Manifest, ManifestFile } from './release.ts'

/**
 * What stands at a path below a release directory. `mode` is its permission bits; `sha256` is null where nobody could
 * read it, and of what is no file.
 */
export type FoundEntry = {
  path: string
  kind: 'file' | 'folder' | 'link' | 'other'
  size: number
  mode: number
  sha256: string | null
}

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

/** The manifest a host gave back, or null where it is not, word for word, one that was written for this release. */
export function parseManifest(text: string, releaseId: string): Manifest | null {
  try {
    const found = JSON.parse(text) as Manifest
    const files = found.files.map(
      ({ path, size, mode, sha256 }): ManifestFile => ({ path, size, mode, sha256 }),
    )
    const manifest: Manifest = {
      releaseId,
      fileCount: files.length,
      byteCount: files.reduce((sum, { size }) => sum + size, 0),
      filesSha256: sha256(JSON.stringify(files)),
      files,
    }
    return JSON.stringify(manifest) === text.trimEnd() ? manifest : null
  } catch {
    return null
  }
}

/**
 * What of a release directory is not as its manifest has it, in short sentences by path: at most 20, and how many
 * more. Empty where all is. Every file counts, with its bytes and mode, and every folder files are in; whatever else
 * is there should not be.
 */
export function compareWithManifest(manifest: Manifest, found: readonly FoundEntry[]): string[] {
  const missing = new Map(manifest.files.map((file) => [file.path, file]))
  const folders = new Set(['.', ...manifest.files.flatMap(({ path }) => foldersOf(path))])
  const damage: { path: string; what: string }[] = []
  for (const entry of found) {
    const file = missing.get(entry.path)
    missing.delete(entry.path)
    const differences = file ? fileDamage(file, entry) : otherDamage(entry, folders)
    damage.push(...differences.map((what) => ({ path: entry.path, what })))
  }
  damage.push(...[...missing.keys()].map((path) => ({ path, what: 'missing' })))
  const sentences = damage
    .sort((a, b) => (a.path < b.path ? -1 : Number(a.path > b.path)))
    .map(({ path, what }) => `${printablePath(path)}: ${what}`)
  if (sentences.length <= sentenceLimit) return sentences
  return [...sentences.slice(0, sentenceLimit), `and ${sentences.length - sentenceLimit} more`]
}

/** Enough to see what happened; a release may have 20,000 files. */
const sentenceLimit = 20
/** Longest path shown, in characters. */
const pathLimit = 200
/** The mode of every folder in an uploaded release. */
const folderMode = 0o755

function fileDamage(file: ManifestFile, entry: FoundEntry): string[] {
  if (entry.kind !== 'file') return [`${kindNames[entry.kind]} instead of a file`]
  return [...contentDamage(file, entry), ...modeDamage(file.mode & 0o777, entry.mode)]
}

function contentDamage(file: ManifestFile, entry: FoundEntry): string[] {
  if (entry.size !== file.size) return [`${entry.size} bytes instead of ${file.size}`]
  if (entry.sha256 === null) return ['cannot be read']
  return entry.sha256 === file.sha256 ? [] : ['sha256 differs']
}

function otherDamage(entry: FoundEntry, folders: ReadonlySet<string>): string[] {
  if (!folders.has(entry.path)) return ['not in the manifest']
  if (entry.kind !== 'folder') return [`${kindNames[entry.kind]} instead of a folder`]
  return modeDamage(folderMode, entry.mode)
}

function modeDamage(expected: number, found: number): string[] {
  return expected === found ? [] : [`mode ${found.toString(8)} instead of ${expected.toString(8)}`]
}

const kindNames = {
  file: 'a file',
  folder: 'a folder',
  link: 'a link',
  other: 'a pipe, socket or device',
}

/** `a/b/c` → `a`, `a/b` */
function foldersOf(path: string): string[] {
  const names = path.split('/')
  return names.slice(1).map((_, at) => names.slice(0, at + 1).join('/'))
}

function printablePath(path: string): string {
  const visible = path.replace(/\p{C}/gu, '?')
  return visible.length > pathLimit ? `${visible.slice(0, pathLimit)}…` : visible
}

function sha256(content: string | Uint8Array): string {
  return createHash('sha256').update(content).digest('hex')
}
