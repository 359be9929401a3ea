import type { TreeEntry } from '../engine/ports.ts'
import { TowlineError } from '../rollout/error.ts'
import { type TreeLine, treeMode } from './git-object.ts'

type ReadTree = (oid: string) => Promise<TreeLine[]>

/** The id of the tree at a path below a root tree, `.` for the root itself; null where there is no such folder. */
export async function findTree(
  root: string,
  { path, readTree }: { path: string; readTree: ReadTree },
): Promise<string | null> {
  let oid = root
  for (const name of pathNames(path)) {
    const line = (await readTree(oid)).find((candidate) => candidate.name === name)
    if (line?.mode !== treeMode) return null
    oid = line.oid
  }
  return oid
}

/**
 * All files, links and submodules below a tree, sorted by path. `path` is where the tree stands.
 *
 * @throws TowlineError `input` beyond `maxEntries`, folders counted too: a few trees that name each other many times
 * would else unfold without end.
 */
export async function listTree(
  root: string,
  options: { path: string; readTree: ReadTree; repo: string; maxEntries: number; signal: AbortSignal },
): Promise<TreeEntry[]> {
  const entries: TreeEntry[] = []
  const folders = [
    {
      prefix: pathNames(options.path)
        .map((name) => `${name}/`)
        .join(''),
      oid: root,
    },
  ]
  let count = 0
  let treeCount = 0
  for (let folder = folders.pop(); folder !== undefined; folder = folders.pop()) {
    options.signal.throwIfAborted()
    if (++treeCount % treesPerTurn === 0) await new Promise(setImmediate)
    const lines = await options.readTree(folder.oid)
    count += lines.length
    if (count > options.maxEntries) throw tooMany(options)
    for (const { mode, name, oid } of lines) {
      const path = folder.prefix + name
      if (mode === treeMode) folders.push({ prefix: `${path}/`, oid })
      else entries.push({ path, oid, kind: kinds[mode] ?? 'file' })
    }
  }
  return entries.sort((a, b) => comparePaths(a.path, b.path))
}

/** By code unit, the same on every machine. */
export function comparePaths(a: string, b: string): number {
  if (a === b) return 0
  return a < b ? -1 : 1
}

/** The names along a relative path. `.` and empty names say nothing and are dropped. */
export function pathNames(path: string): string[] {
  return path.split('/').filter((name) => name !== '' && name !== '.')
}

/** Reading a tree takes some 20 µs: the event loop gets its turn about every 10 ms. */
const treesPerTurn = 500

/** Git also knows 100664, from its early days; it means 100644. */
const kinds: Record<string, TreeEntry['kind']> = {
  '100644': 'file',
  '100664': 'file',
  '100755': 'executable',
  '120000': 'link',
  '160000': 'submodule',
}

function tooMany({
  repo,
  path,
  maxEntries,
}: {
  repo: string
  path: string
  maxEntries: number
}): TowlineError {
  return new TowlineError(`${repo} has more than ${maxEntries} files and folders below ${path}`, {
    fault: 'input',
    hint: 'Keep the config repo to specs and small sites; move the rest elsewhere.',
  })
}
