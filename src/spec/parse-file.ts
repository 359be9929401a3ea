import type { Service } from '../../schemas/service.ts'
import type { Site } from '../../schemas/site.ts'
import type { Places, SpecDraft } from './draft.ts'
import { type Finding, inOrder } from './finding.ts'
import { canonicalHash } from './hash.ts'
import { checkService, readService } from './service.ts'
import { checkSite, readSite } from './site.ts'
import { readDocuments, type SourceDocument } from './source-document.ts'
import type { Problem } from './spec.ts'
import { validate } from './validate.ts'

/** One spec of a file: all that can be known of it without the other files and the server's settings. */
export type ParsedDocument = { draft: SpecDraft; hash: string; places: Places }

/** What a file of specs says. It follows from path and text alone, so it can be kept as long as these stay. */
export type ParsedFile = {
  path: string
  documents: ParsedDocument[]
  /** Names of specs that have a problem: they exist, though nothing more is known of them. */
  brokenNames: string[]
  problems: Problem[]
}

/** Reads a file of specs and finds everything wrong with it. Never throws. */
export function parseSpecFile({ path, text }: { path: string; text: string }): ParsedFile {
  const { documents: sources, problems } = readDocuments({ path, text })
  const documents: ParsedDocument[] = []
  const brokenNames: string[] = []
  for (const source of sources) {
    const { parsed, findings } = parseDocument(source)
    problems.push(...findings.map(source.problemOf))
    if (parsed) documents.push(parsed)
    else if (source.name !== null) brokenNames.push(source.name)
  }
  return { path, documents, brokenNames, problems: inOrder(problems) }
}

type Outcome = { parsed: ParsedDocument | null; findings: Finding[] }

function parseDocument(source: SourceDocument): Outcome {
  if (source.value === null) return { parsed: null, findings: [] }
  const kind = 'kind' in source.value ? source.value.kind : undefined
  switch (kind) {
    case 'Service':
      return parseService(source, source.value)
    case 'Site':
      return parseSite(source, source.value)
    default:
      return { parsed: null, findings: [wrongKind(kind)] }
  }
}

function parseService(source: SourceDocument, value: object): Outcome {
  const { document, findings } = validate('Service', value)
  if (!document) return { parsed: null, findings }
  const draft = readService(document)
  return finish(source, { document, draft, findings: checkService(document, draft) })
}

function parseSite(source: SourceDocument, value: object): Outcome {
  const { document, findings } = validate('Site', value)
  if (!document) return { parsed: null, findings }
  return finish(source, { document, draft: readSite(document), findings: checkSite(document) })
}

function finish(
  source: SourceDocument,
  { document, draft, findings }: { document: Service | Site; draft: SpecDraft; findings: Finding[] },
): Outcome {
  if (findings.length > 0 || source.hasFaults) return { parsed: null, findings }
  return { parsed: { draft, hash: hashOf(draft), places: placesOf(source, document) }, findings }
}

/** Where it runs, when, and how long it is waited for do not change what runs. */
function hashOf(draft: SpecDraft): string {
  const { hosts, dependsOn, paused, keepReleases, progressDeadlineMs, recreateVolumes, ...runs } = draft
  return canonicalHash(runs)
}

function placesOf(source: SourceDocument, document: Service | Site): Places {
  const each = (key: string, list: readonly unknown[] | undefined) =>
    (list ?? []).map((_, index) => source.placeOf([key, String(index)]))
  return {
    document: source.place,
    name: source.placeOf(['name']),
    hosts: each('hosts', document.hosts),
    dependsOn: each('dependsOn', document.dependsOn),
    ports: each('ports', document.ports),
    mounts: each('volumes', document.kind === 'Service' ? document.volumes : undefined),
    sourceFiles:
      document.kind === 'Site' && document.source.files !== undefined
        ? source.placeOf(['source', 'files'])
        : null,
  }
}

function wrongKind(kind: unknown): Finding {
  if (kind === undefined) {
    return { at: [], message: '`kind` is missing', hint: 'Add `kind: Service` or `kind: Site`' }
  }
  const shown = typeof kind === 'string' ? JSON.stringify(kind.slice(0, 60)) : 'what stands here'
  return {
    at: ['kind'],
    message: `${shown} is not a kind of spec`,
    hint:
      kind === 'Server'
        ? 'Keep the settings of the server out of the config repo'
        : 'Write `kind: Service` (containers) or `kind: Site` (static files)',
  }
}
