import { defaults } from '../../schemas/defaults.ts'
import type { Site } from '../../schemas/site.ts'
import { readApp } from './app.ts'
import type { SiteDraft } from './draft.ts'
import { parseDuration } from './duration.ts'
import type { Finding } from './finding.ts'
import { checkHealthcheck, readHealthcheck } from './healthcheck.ts'

/** A Site from a document its schema has checked, with every default filled in. */
export function readSite(document: Site): SiteDraft {
  const { source } = document
  return {
    kind: 'Site',
    ...readApp(document),
    source: source.files === undefined ? { inline: source.inline ?? {} } : { files: source.files },
    root: document.root ?? defaults.root,
    healthcheck: readHealthcheck(document.healthcheck ?? {}, defaults.siteHealthcheck),
    restart: { name: defaults.restart, maxRetries: 0 },
    monitorMs: parseDuration(document.deploy?.update_config?.monitor ?? defaults.siteMonitor),
  }
}

/** What is wrong with a Site that a schema cannot say. */
export function checkSite(document: Site): Finding[] {
  return [
    ...checkHealthcheck(document.healthcheck, { testIsOptional: true }),
    ...checkInline(document.source.inline ?? {}),
    ...checkRoot(document),
  ]
}

function checkInline(files: Record<string, string>): Finding[] {
  const at = ['source', 'inline']
  const bytes = Object.values(files).reduce((sum, text) => sum + Buffer.byteLength(text), 0)
  if (bytes > maxInlineBytes) {
    const message = `the inline files have ${bytes} bytes, more than ${maxInlineBytes}`
    return [{ at, message, hint: 'Keep them in a folder of this repo (`source: {files: …}`)' }]
  }
  // A name cannot be a file and a folder at once.
  const folders = new Set(['.', ...Object.keys(files).flatMap(foldersOf)])
  return Object.keys(files)
    .filter((path) => folders.has(path))
    .map((path) => ({
      at,
      key: path,
      message: `"${path}" is a folder here, so it cannot be a file`,
      hint: 'Rename one of the two',
    }))
}

/** `a/b/c` lies in `a` and in `a/b`. */
function foldersOf(path: string): string[] {
  const segments = path.split('/').slice(0, -1)
  return segments.map((_, index) => segments.slice(0, index + 1).join('/'))
}

/** Inline files are kept with every deployment of their history, unlike a folder, of which only the hash is. */
const maxInlineBytes = 64 * 1024

function checkRoot({ root = defaults.root, source }: Site): Finding[] {
  if (root === defaults.root || source.inline === undefined) return []
  if (Object.keys(source.inline).some((path) => path.startsWith(`${root}/`))) return []
  return [
    {
      at: ['root'],
      message: `none of the inline files is in "${root}"`,
      hint: 'Name a folder that the files are in, or remove `root`',
    },
  ]
}
