import { explain, faultOf } from '../rollout/error.ts'
import { type ParsedFile, parseSpecFile } from '../spec/parse-file.ts'
import { isSpecFile } from '../spec/paths.ts'
import { resolveSpecs } from '../spec/resolve.ts'
import { parseRepoSettings, settingsPath } from '../spec/settings.ts'
import { decodeFile, maxFileBytes } from '../spec/source-document.ts'
import type { LocatedSpec, Problem, RepoSettings } from '../spec/spec.ts'
import type { FileTree, TreeEntry } from './ports.ts'

/** A spec, and git's id of the folder behind `source.files` (null where it has none). */
export type WishedSpec = { located: LocatedSpec; filesOid: string | null }

/** What a config repo says at one commit. A spec with a problem is not among `specs`. */
export type ReadSpecs = {
  specs: WishedSpec[]
  problems: Problem[]
  fileCount: number
  settings: RepoSettings
}

export type SpecReader = {
  read(input: { repo: string; commit: string; tree: FileTree; signal: AbortSignal }): Promise<ReadSpecs>
}

/**
 * Reads the specs of config repos. What a file says follows from its path and content, so a file that did not change
 * since the last read of its repo is not parsed again: the cost grows with what changed.
 */
export function createSpecReader(server: {
  hosts: readonly string[]
  bindMounts: readonly string[]
}): SpecReader {
  const parsedByRepo = new Map<string, Map<string, ParsedFile>>()

  return {
    async read({ repo, commit, tree, signal }) {
      const entries = await tree.list(commit, { signal })
      const { settings, problems } = await readSettings(tree, entries, signal)
      const before = parsedByRepo.get(repo) ?? new Map<string, ParsedFile>()
      const after = new Map<string, ParsedFile>()
      for (const entry of entries) {
        if (!isSpecFile(entry.path, settings.specs)) continue
        const cacheKey = `${entry.kind} ${entry.oid} ${entry.path}`
        after.set(cacheKey, before.get(cacheKey) ?? (await readSpecFile(tree, entry, signal)))
      }
      parsedByRepo.set(repo, after)
      const files = [...after.values()]
      const resolved = resolveSpecs({ files, settings, server })
      const specs: WishedSpec[] = []
      for (const located of resolved.specs) {
        const filesOid = await findFolder(tree, { commit, located, signal })
        if (filesOid === 'missing') problems.push(missingFolder(located, files))
        else specs.push({ located, filesOid })
      }
      // Settings nobody can read could mean anything: then no spec counts.
      const usable = problems.some(({ path }) => path === settingsPath) ? [] : specs
      return {
        specs: usable,
        problems: [...problems, ...resolved.problems],
        fileCount: files.length,
        settings,
      }
    },
  }
}

async function readSettings(
  tree: FileTree,
  entries: readonly TreeEntry[],
  signal: AbortSignal,
): Promise<{ settings: RepoSettings; problems: Problem[] }> {
  const entry = entries.find(({ path }) => path === settingsPath)
  if (!entry) return parseRepoSettings(null)
  const text = await readText(tree, entry, signal)
  if (typeof text === 'string') return parseRepoSettings({ path: settingsPath, text })
  return { settings: parseRepoSettings(null).settings, problems: [text] }
}

async function readSpecFile(tree: FileTree, entry: TreeEntry, signal: AbortSignal): Promise<ParsedFile> {
  const text = await readText(tree, entry, signal)
  if (typeof text === 'string') return parseSpecFile({ path: entry.path, text })
  return { path: entry.path, documents: [], brokenNames: [], problems: [text] }
}

/** The text of a file, or the reason why there is none to read. */
async function readText(tree: FileTree, entry: TreeEntry, signal: AbortSignal): Promise<string | Problem> {
  if (entry.kind === 'link' || entry.kind === 'submodule') {
    const kind = entry.kind === 'link' ? 'a symbolic link' : 'a submodule'
    return fileProblem(entry.path, `${kind} stands where a file is expected`, 'Put the file itself here')
  }
  try {
    const bytes = await tree.read(entry.oid, { maxBytes: maxFileBytes, signal })
    const { text, problem } = decodeFile(entry.path, bytes)
    return text ?? problem
  } catch (error) {
    if (faultOf(error) !== 'input') throw error
    const { reason, hint } = explain(error)
    return fileProblem(entry.path, reason, hint)
  }
}

/** The folder of a Site's files: git's id of it, `missing`, or null where the spec has none. */
async function findFolder(
  tree: FileTree,
  { commit, located, signal }: { commit: string; located: LocatedSpec; signal: AbortSignal },
): Promise<string | null> {
  const { spec } = located
  if (spec.kind !== 'Site' || 'inline' in spec.source) return null
  try {
    return (await tree.treeOid(commit, spec.source.files, { signal })) ?? 'missing'
  } catch (error) {
    if (faultOf(error) === 'input') return 'missing'
    throw error
  }
}

function missingFolder({ spec, path, line }: LocatedSpec, files: ParsedFile[]): Problem {
  const document = files
    .find((file) => file.path === path)
    ?.documents.find(({ draft }) => draft.name === spec.name)
  const place = document?.places.sourceFiles ?? { line, column: 1, endLine: line, endColumn: 1 }
  const folder = spec.kind === 'Site' && 'files' in spec.source ? spec.source.files : ''
  return {
    path,
    ...place,
    message: `/source/files: there is no folder "${folder}" in the config repo`,
    hint: 'Name a folder of this repo, from its root, such as sites/docs',
  }
}

function fileProblem(path: string, message: string, hint: string): Problem {
  return { path, line: 1, column: 1, endLine: 1, endColumn: 1, message, hint }
}
