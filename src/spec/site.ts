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

/** A name cannot be a file and a folder at once. */
function checkInline(files: Record<string, string>): Finding[] {
  const paths = Object.keys(files)
  return paths
    .filter((path) => path === '.' || paths.some((other) => other.startsWith(`${path}/`)))
    .map((path) => ({
      at: ['source', 'inline'],
      key: path,
      message: `"${path}" is a folder here, so it cannot be a file`,
      hint: 'Rename one of the two',
    }))
}

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
