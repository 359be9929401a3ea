import { createHash } from 'node:crypto'
import { TowlineError } from '../rollout/error.ts'

/** One line of a tree. `mode` is git's, in octal without leading zeros. */
export type TreeLine = { mode: string; name: string; oid: string }

export type ObjectType = 'commit' | 'tree' | 'blob' | 'tag'

/** Git's id of an object: SHA-1 over its type, its size and its bytes. */
export function objectId(type: ObjectType, content: Uint8Array): string {
  return createHash('sha1').update(`${type} ${content.byteLength}\0`).update(content).digest('hex')
}

/** The tree and the parents of a commit. */
export function parseCommit(content: Buffer): { tree: string; parents: string[] } {
  const head = content.toString('latin1').split('\n\n', 1)[0] ?? ''
  const lines = head.split('\n').map((line) => line.split(' '))
  return {
    tree: lines.find(([key]) => key === 'tree')?.[1] ?? '',
    parents: lines.filter(([key]) => key === 'parent').map(([, oid]) => oid ?? ''),
  }
}

/**
 * The lines of a tree, in git's order.
 *
 * @throws TowlineError `input` for a name no file can safely have. Git's own clients refuse the same names
 * (`verify_path`), but nothing stops a server from storing them.
 */
export function parseTree(content: Buffer): TreeLine[] {
  const lines: TreeLine[] = []
  let start = 0
  while (start < content.length) {
    const space = content.indexOf(0x20, start)
    const nul = content.indexOf(0, space)
    const name = content.toString('utf8', space + 1, nul)
    if (unsafeName.test(name)) {
      throw new TowlineError(`A folder of the repository holds an entry named ${JSON.stringify(name)}`, {
        fault: 'input',
        hint: 'Remove the entry: no file can safely have this name.',
      })
    }
    const mode = content.toString('latin1', start, space)
    lines.push({ mode, name, oid: content.toString('hex', nul + 1, nul + 1 + oidBytes) })
    start = nul + 1 + oidBytes
  }
  return lines
}

/** The bytes of a tree. Lines are sorted as git does: a folder as if its name ended with a slash. */
export function renderTree(lines: TreeLine[]): Buffer {
  const sorted = lines
    .map((line) => ({ ...line, key: Buffer.from(line.mode === treeMode ? `${line.name}/` : line.name) }))
    .sort((a, b) => Buffer.compare(a.key, b.key))
  return Buffer.concat(
    sorted.flatMap(({ mode, name, oid }) => [Buffer.from(`${mode} ${name}\0`), Buffer.from(oid, 'hex')]),
  )
}

export const treeMode = '40000'

const oidBytes = 20

const unsafeName = /^$|^\.{1,2}$|^\.git$|[/\\]/i
