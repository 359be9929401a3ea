/** What the helper says of a release directory, in our words. Pure; the scripts are in `site-scripts.ts`. */

import { createHash } from 'node:crypto'
import { type FoundEntry, parseManifest } from '../rollout/manifest.ts'
import type { Manifest } from '../rollout/release.ts'

/** `path` is the site's in the helper; `manifest` is null where it is not what was written. */
export type ReleaseListing = {
  path: string
  releaseId: string
  manifest: Manifest | null
  found: FoundEntry[]
}

/** Five columns a release, then names no line can hold, up to an empty column, as the script writes them. */
export function parseListings(output: string): ReleaseListing[] {
  const columns = output.split('\0')
  const listings: ReleaseListing[] = []
  let at = 0
  while (at + 5 < columns.length) {
    const [path = '', releaseId = '', manifest = '', entries = '', hashes = ''] = columns.slice(at, at + 5)
    const end = columns.indexOf('', at + 5)
    if (end < 0) break
    const strange = columns.slice(at + 5, end).map(strangeEntry)
    listings.push({
      path,
      releaseId,
      manifest: parseManifest(manifest, releaseId),
      found: [...parseEntries(entries, hashes), ...strange],
    })
    at = end + 1
  }
  return listings
}

/**
 * The hash the helper makes of the files of a release: a line for each file (mode with kind in hex, size, path) and
 * one more (hash, path), in the order of their bytes.
 */
export function releaseDigest(manifest: Manifest): string {
  const lines = manifest.files.flatMap(({ path, size, mode, sha256 }) => [
    Buffer.from(`${(regularFile | (mode & 0o777)).toString(16)} ${size} ./${path}\n`),
    Buffer.from(`${sha256}  ./${path}\n`),
  ])
  return sha256Of(Buffer.concat(lines.sort(Buffer.compare)))
}

export function manifestDigest(manifestText: string): string {
  return sha256Of(manifestText)
}

/** File kinds in a mode. Source: inode(7). */
const kindMask = 0o170000
const regularFile = 0o100000
const kinds = new Map<number, FoundEntry['kind']>([
  [regularFile, 'file'],
  [0o040000, 'folder'],
  [0o120000, 'link'],
])

function parseEntries(entries: string, hashes: string): FoundEntry[] {
  const hashOf = new Map(
    // GNU marks a file read as binary with an asterisk.
    parseLines(hashes, /^([0-9a-f]{64}) [ *](.*)$/s).map(([hash = '', path = '']) => [path, hash]),
  )
  return parseLines(entries, /^([0-9a-f]+) (\d+) (.*)$/s).map(([hex = '', size = '', path = '']) => {
    const mode = Number.parseInt(hex, 16)
    return {
      path: path.replace(/^\.\//, ''),
      kind: kinds.get(mode & kindMask) ?? 'other',
      size: Number(size),
      mode: mode & 0o7777,
      sha256: hashOf.get(path) ?? null,
    }
  })
}

/** The groups of each line that has the form. A name may hold what JavaScript takes for a line end, but no `\n`. */
function parseLines(text: string, form: RegExp): string[][] {
  return text.split('\n').flatMap((line) => {
    const match = form.exec(line)
    return match ? [match.slice(1)] : []
  })
}

function strangeEntry(path: string): FoundEntry {
  return { path: path.replace(/^\.\//, ''), kind: 'other', size: 0, mode: 0, sha256: null }
}

function sha256Of(content: string | Buffer): string {
  return createHash('sha256').update(content).digest('hex')
}
