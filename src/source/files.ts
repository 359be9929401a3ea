import type { FileTree, ReleaseFile, TreeEntry } from '../engine/ports.ts'
import { TowlineError } from '../rollout/error.ts'
import type { FileSource } from '../rollout/release.ts'

export type SourceLimits = { files: number; bytes: number }

/**
 * The files of a Site's release, sorted by path, with modes 0644 and 0755.
 *
 * @throws TowlineError `input` for a link, a submodule, a path that leaves the folder, an empty or missing folder,
 * and beyond the limits; `operator` where the source is not known any more
 */
export async function readSourceFiles(
  source: FileSource,
  options: { tree: FileTree; signal: AbortSignal; limits?: Partial<SourceLimits> },
): Promise<ReleaseFile[]> {
  const limits = { ...defaultLimits, ...options.limits }
  switch (source.kind) {
    case 'folder':
      return await readFolder(source, { ...options, limits })
    case 'inline':
      return readInline(source.files, limits)
    case 'unknown':
      throw new TowlineError('Where the files of this release came from was lost with the data folder', {
        fault: 'operator',
        hint: 'Push a change of the app, or revert to what it was: its files are then written anew.',
      })
    default:
      return source satisfies never
  }
}

/** All files of a release are in memory at once while they are written to a host. */
const defaultLimits: SourceLimits = { files: 20_000, bytes: 512 * 1024 * 1024 }

async function readFolder(
  source: FileSource & { kind: 'folder' },
  { tree, signal, limits }: { tree: FileTree; signal: AbortSignal; limits: SourceLimits },
): Promise<ReleaseFile[]> {
  const folder = checkPath(source.path)
  const where = folder === '.' ? 'The root of the config repo' : `Folder ${folder} of the config repo`
  const treeOid = await tree.treeOid(source.commit, folder, { signal })
  if (treeOid === null) {
    throw new TowlineError(`${where} is missing or empty at ${source.commit}`, {
      fault: 'input',
      hint: 'Add the folder with at least one file, or correct `source.files`.',
    })
  }
  if (treeOid !== source.treeOid) {
    throw new TowlineError(
      `${where} holds other files than were planned: ${treeOid}, not ${source.treeOid}`,
      {
        fault: 'input',
        hint: 'Plan again; nothing was written.',
      },
    )
  }
  const entries = await tree.list(source.commit, { under: folder, signal })
  checkCount(entries.length, { where, limits })
  const prefixLength = folder === '.' ? 0 : folder.length + 1
  const files: ReleaseFile[] = []
  let byteCount = 0
  for (const entry of entries) {
    const mode = fileMode(entry)
    const path = checkPath(entry.path.slice(prefixLength))
    const content = await tree.read(entry.oid, { maxBytes: limits.bytes, signal })
    byteCount += content.byteLength
    checkBytes(byteCount, { where, limits })
    files.push({ path, mode, content })
  }
  return files.sort(byPath)
}

function readInline(texts: Record<string, string>, limits: SourceLimits): ReleaseFile[] {
  const where = '`source.inline`'
  const paths = Object.keys(texts)
  if (paths.length === 0) {
    throw new TowlineError(`${where} has no files`, { fault: 'input', hint: 'Write at least one file.' })
  }
  checkCount(paths.length, { where, limits })
  const files: ReleaseFile[] = []
  let byteCount = 0
  for (const [name, text] of Object.entries(texts)) {
    const content = Buffer.from(text)
    byteCount += content.byteLength
    checkBytes(byteCount, { where, limits })
    files.push({ path: checkPath(name), mode: plainMode, content })
  }
  checkDistinct(files)
  return files.sort(byPath)
}

const plainMode = 0o644
const executableMode = 0o755

function fileMode({ path, kind }: TreeEntry): number {
  switch (kind) {
    case 'file':
      return plainMode
    case 'executable':
      return executableMode
    case 'link':
      throw new TowlineError(`${path} is a symbolic link`, {
        fault: 'input',
        hint: 'Put the file itself there: a link could point at anything on the host.',
      })
    case 'submodule':
      throw new TowlineError(`${path} is a submodule`, {
        fault: 'input',
        hint: 'Put the files themselves into the config repo.',
      })
    default:
      return kind satisfies never
  }
}

/**
 * The path in its plain form. Refused is what could lead out of a folder, or would not be one name in an archive or
 * on a host.
 */
function checkPath(path: string): string {
  const names = path.split('/').filter((name, at) => name !== '.' && !(name === '' && at > 0))
  const isSafe = names.every((name) => name !== '' && name !== '..' && !unsafeCharacters.test(name))
  if (isSafe) return names.length === 0 ? '.' : names.join('/')
  throw new TowlineError(`${JSON.stringify(path)} is no path inside the folder`, {
    fault: 'input',
    hint: 'Use a relative path with forward slashes, without `..` and without control characters.',
  })
}

const unsafeCharacters = /[\p{Cc}\\]/u

/** Two names of one file, or a file where another needs a folder, would overwrite each other. */
function checkDistinct(files: ReleaseFile[]): void {
  const paths = new Set(files.map(({ path }) => path))
  const folders = new Set(files.flatMap(({ path }) => parents(path)))
  const clash = files.find(({ path }) => path === '.' || folders.has(path))?.path
  if (paths.size === files.length && clash === undefined) return
  const what = clash === undefined ? 'one path twice' : `${JSON.stringify(clash)} as a file and as a folder`
  throw new TowlineError(`\`source.inline\` names ${what}`, {
    fault: 'input',
    hint: 'Give each file a path of its own.',
  })
}

/** `a/b/c` → `a`, `a/b` */
function parents(path: string): string[] {
  const names = path.split('/')
  return names.slice(1).map((_, at) => names.slice(0, at + 1).join('/'))
}

function checkCount(count: number, { where, limits }: { where: string; limits: SourceLimits }): void {
  if (count <= limits.files) return
  throw new TowlineError(`${where} has ${count} files; a release has at most ${limits.files}`, {
    fault: 'input',
    hint: 'Split the site, or put its files into an image.',
  })
}

function checkBytes(byteCount: number, { where, limits }: { where: string; limits: SourceLimits }): void {
  if (byteCount <= limits.bytes) return
  throw new TowlineError(`${where} has more than ${limits.bytes} bytes; ${byteCount} were read so far`, {
    fault: 'input',
    hint: 'Split the site, or put its files into an image.',
  })
}

/** By code unit, the same on every machine. */
function byPath(a: ReleaseFile, b: ReleaseFile): number {
  return a.path < b.path ? -1 : 1
}
