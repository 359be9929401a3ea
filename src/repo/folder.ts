import { createHash } from 'node:crypto'
import fs, { createReadStream } from 'node:fs'
import { access, lstat, readdir, readFile, readlink } from 'node:fs/promises'
import { join, relative, resolve } from 'node:path'
import git from 'isomorphic-git'
import type { FileTree, TreeEntry } from '../engine/ports.ts'
import { TowlineError } from '../rollout/error.ts'
import { cancelledError } from './failure.ts'
import { objectId, renderTree, type TreeLine, treeMode } from './git-object.ts'
import { comparePaths, pathNames } from './tree-walk.ts'

/**
 * A plain folder as a `FileTree`, read and hashed once, now: what changes on disk later is an error, never a mix of
 * old and new. Ids are git's own, so they equal those of a mirror with the same content. Links are listed, never
 * followed; `.git` and `node_modules` are left out; a folder with a `.git` of its own is a submodule.
 *
 * `commit` is the commit of the checkout the folder is in (`<commit>-dirty` where the files differ from it, ignored
 * files included), or `local` where there is none.
 *
 * @throws TowlineError `input` where the folder cannot be read, has an entry git could not store, or has too many
 */
export async function openFolder({
  dir,
  signal = new AbortController().signal,
  maxEntries = 100_000,
}: {
  dir: string
  signal?: AbortSignal
  maxEntries?: number
}): Promise<FileTree & { commit: string }> {
  const root = resolve(dir)
  const snapshot: Snapshot = {
    root,
    signal,
    maxEntries,
    count: 0,
    entries: [],
    trees: new Map(),
    files: new Map(),
  }
  try {
    await readFolder(snapshot, '')
  } catch (error) {
    throw translate(error, { path: root, signal })
  }
  snapshot.entries.sort((a, b) => comparePaths(a.path, b.path))
  const commit = await findCommit(root, snapshot.trees.get('') ?? null)

  function check(asked: string, callSignal: AbortSignal): void {
    if (callSignal.aborted) throw cancelledError(root, callSignal)
    if (asked === commit) return
    throw new TowlineError(`${root} is at ${commit}; it holds nothing of ${asked}`, { fault: 'bug' })
  }

  return {
    commit,
    async list(asked, { under = '.', signal: callSignal }) {
      check(asked, callSignal)
      const prefix = pathNames(under)
        .map((name) => `${name}/`)
        .join('')
      return snapshot.entries.filter(({ path }) => path.startsWith(prefix))
    },
    async treeOid(asked, path, { signal: callSignal }) {
      check(asked, callSignal)
      return snapshot.trees.get(pathNames(path).join('/')) ?? null
    },
    async read(oid, { maxBytes, signal: callSignal }) {
      const path = snapshot.files.get(oid)
      if (path === undefined) throw new TowlineError(`${root} has no file with id ${oid}`, { fault: 'bug' })
      return await readEntry(join(root, path), { oid, maxBytes, signal: callSignal })
    },
  }
}

type Snapshot = {
  root: string
  signal: AbortSignal
  maxEntries: number
  /** Files and folders so far. */
  count: number
  entries: TreeEntry[]
  /** Folder → id of its tree. Folders without a file are absent, as in git. */
  trees: Map<string, string>
  /** Id → one of the paths with that content. */
  files: Map<string, string>
}

/** Reads one folder and all below it; returns the id of its tree, or null where no file is in it. */
async function readFolder(snapshot: Snapshot, path: string): Promise<string | null> {
  snapshot.signal.throwIfAborted()
  const lines: TreeLine[] = []
  for (const name of await readdir(join(snapshot.root, path))) {
    if (ignoredNames.has(name)) continue
    if (++snapshot.count > snapshot.maxEntries) throw tooMany(snapshot)
    const line = await readLine(snapshot, { path: path === '' ? name : `${path}/${name}`, name })
    if (line !== null) lines.push(line)
  }
  if (lines.length === 0) return null
  const oid = objectId('tree', renderTree(lines))
  snapshot.trees.set(path, oid)
  return oid
}

async function readLine(
  snapshot: Snapshot,
  { path, name }: { path: string; name: string },
): Promise<TreeLine | null> {
  const full = join(snapshot.root, path)
  const stat = await lstat(full)
  if (stat.isDirectory()) {
    if (await exists(join(full, '.git'))) {
      const oid = await headOf(full)
      snapshot.entries.push({ path, oid, kind: 'submodule' })
      return { mode: '160000', name, oid }
    }
    const oid = await readFolder(snapshot, path)
    return oid === null ? null : { mode: treeMode, name, oid }
  }
  if (stat.isSymbolicLink()) {
    const oid = objectId('blob', await readlink(full, { encoding: 'buffer' }))
    snapshot.entries.push({ path, oid, kind: 'link' })
    snapshot.files.set(oid, path)
    return { mode: '120000', name, oid }
  }
  if (!stat.isFile()) return null // Sockets, pipes and devices: git does not store them either.
  const isExecutable = (stat.mode & 0o100) !== 0
  const oid = await hashFile(full, { sizeBytes: stat.size, signal: snapshot.signal })
  snapshot.entries.push({ path, oid, kind: isExecutable ? 'executable' : 'file' })
  snapshot.files.set(oid, path)
  return { mode: isExecutable ? '100755' : '100644', name, oid }
}

const ignoredNames = new Set(['.git', 'node_modules'])

/** Piece by piece: a folder may hold files far larger than anything Towline would deploy. */
async function hashFile(
  path: string,
  { sizeBytes, signal }: { sizeBytes: number; signal: AbortSignal },
): Promise<string> {
  const hash = createHash('sha1').update(`blob ${sizeBytes}\0`)
  for await (const chunk of createReadStream(path, { signal })) hash.update(chunk)
  return hash.digest('hex')
}

async function readEntry(
  path: string,
  { oid, maxBytes, signal }: { oid: string; maxBytes: number; signal: AbortSignal },
): Promise<Uint8Array> {
  let content: Buffer
  try {
    const stat = await lstat(path)
    if (stat.size > maxBytes) {
      throw new TowlineError(`${path} has ${stat.size} bytes; at most ${maxBytes} are read`, {
        fault: 'input',
        hint: 'Make the file smaller, or move its content into an image.',
      })
    }
    content = stat.isSymbolicLink()
      ? await readlink(path, { encoding: 'buffer' })
      : await readFile(path, { signal })
  } catch (error) {
    throw translate(error, { path, signal })
  }
  if (objectId('blob', content) === oid) return content
  throw new TowlineError(`${path} changed while it was read`, {
    fault: 'input',
    hint: 'Run the command again when nothing writes to the folder.',
  })
}

/** The commit a checkout is at. The folder may stand anywhere inside it. */
async function findCommit(root: string, treeOid: string | null): Promise<string> {
  try {
    const dir = await git.findRoot({ fs, filepath: root })
    const commit = await git.resolveRef({ fs, dir, ref: 'HEAD' })
    const filepath = relative(dir, root)
    const { oid } = await git.readTree({ fs, dir, oid: commit, ...(filepath === '' ? {} : { filepath }) })
    return oid === treeOid ? commit : `${commit}-dirty`
  } catch {
    return 'local' // No checkout, or one without a commit or without this folder.
  }
}

async function headOf(dir: string): Promise<string> {
  return await git.resolveRef({ fs, dir, ref: 'HEAD' }).catch(() => noCommit)
}

const noCommit = '0'.repeat(40)

async function exists(path: string): Promise<boolean> {
  return await access(path).then(
    () => true,
    () => false,
  )
}

function translate(error: unknown, { path, signal }: { path: string; signal: AbortSignal }): TowlineError {
  if (signal.aborted) return cancelledError(path, signal)
  if (error instanceof TowlineError) return error
  return new TowlineError(`${path} cannot be read: ${error instanceof Error ? error.message : error}`, {
    fault: 'input',
    hint: 'Name a folder that exists and that this user may read.',
    cause: error,
  })
}

function tooMany({ root, maxEntries }: Snapshot): TowlineError {
  return new TowlineError(`${root} has more than ${maxEntries} files and folders`, {
    fault: 'input',
    hint: 'Name the folder of the config repo itself.',
  })
}
