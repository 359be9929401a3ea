import { createHash } from 'node:crypto'
import { TowlineError } from '../rollout/error.ts'
import type { Mirror, TreeEntry } from './ports.ts'

/** A config repo in memory, with the mirror of its branch, for tests. */
export type ConfigRepo = {
  mirror: Mirror
  /** Changes files (null removes one) and returns the new head. */
  commit(files: Record<string, string | null>): string
  /** Moves the branch, as a force-push does; null deletes it. */
  reset(head: string | null): void
  /** Paths whose content was read, oldest first. */
  reads: string[]
  fetchCount(): number
}

export function configRepo(files: Record<string, string> = {}): ConfigRepo {
  const commits = new Map<string, Map<string, string>>()
  const pathsByOid = new Map<string, string>()
  const contents = new Map<string, string>()
  const reads: string[] = []
  let head: string | null = null
  let fetchCount = 0

  function entriesOf(commit: string): TreeEntry[] {
    const tree = commits.get(commit)
    if (!tree) throw new TowlineError(`there is no commit ${commit}`, { fault: 'bug' })
    return [...tree]
      .map(([path, text]): TreeEntry => {
        const oid = hash(text)
        contents.set(oid, text)
        pathsByOid.set(oid, path)
        return { path, oid, kind: 'file' }
      })
      .sort((a, b) => (a.path < b.path ? -1 : 1))
  }

  function below(commit: string, folder: string): TreeEntry[] {
    return entriesOf(commit).filter(({ path }) => folder === '.' || path.startsWith(`${folder}/`))
  }

  function commit(changes: Record<string, string | null>): string {
    const tree = new Map(head === null ? [] : commits.get(head))
    for (const [path, text] of Object.entries(changes)) {
      if (text === null) tree.delete(path)
      else tree.set(path, text)
    }
    head = hash(JSON.stringify([head, commits.size, ...tree]))
    commits.set(head, tree)
    return head
  }
  commit(files)

  return {
    commit,
    reset: (to) => {
      head = to
    },
    reads,
    fetchCount: () => fetchCount,
    mirror: {
      probe: async () => head,
      fetch: async () => {
        fetchCount += 1
        return head
      },
      list: async (at, { under = '.' }) => below(at, under),
      treeOid: async (at, path) => {
        const found = below(at, path)
        return found.length === 0 ? null : hash(JSON.stringify(found))
      },
      read: async (oid, { maxBytes }) => {
        reads.push(pathsByOid.get(oid) ?? oid)
        const bytes = new TextEncoder().encode(contents.get(oid))
        if (bytes.length <= maxBytes) return bytes
        throw new TowlineError(`the file has more than ${maxBytes} bytes`, {
          fault: 'input',
          hint: 'Split it',
        })
      },
    },
  }
}

/** The text of a Service's spec, with more lines of YAML where given. */
export function serviceYaml(name: string, image: string, more = ''): string {
  return `apiVersion: towline/v1\nkind: Service\nname: ${name}\nimage: ${image}\n${more}`
}

/** The text of the spec of a Site whose files are a folder of the config repo. */
export function siteYaml(name: string, files: string): string {
  return `apiVersion: towline/v1\nkind: Site\nname: ${name}\nsource: { files: ${files} }\nports: ["80"]\n`
}

function hash(text: string): string {
  return createHash('sha1').update(text).digest('hex')
}
