import type { TreeLine } from './git-object.ts'

/** Trees already read, by id. A tree never changes, so listing a new commit reads only the trees that changed. */
export type TreeCache = {
  get(commit: string, oid: string): TreeLine[] | undefined
  set(commit: string, oid: string, tree: TreeLine[]): void
}

/**
 * Keeps the trees of the commits used last and forgets those only older commits reach. Three commits: the head, the
 * one before it, and one that a resumed deployment is pinned to.
 */
export function createTreeCache({ maxCommits = 3 }: { maxCommits?: number } = {}): TreeCache {
  const commits = new Map<string, Map<string, TreeLine[]>>()

  const treesOf = (commit: string): Map<string, TreeLine[]> => {
    const trees = commits.get(commit) ?? new Map<string, TreeLine[]>()
    commits.delete(commit)
    commits.set(commit, trees)
    const [oldest] = commits.keys()
    if (commits.size > maxCommits && oldest !== undefined) commits.delete(oldest)
    return trees
  }

  return {
    get(commit, oid) {
      const trees = treesOf(commit)
      for (const known of commits.values()) {
        const tree = known.get(oid)
        if (tree === undefined) continue
        trees.set(oid, tree)
        return tree
      }
      return undefined
    },
    set(commit, oid, tree) {
      treesOf(commit).set(oid, tree)
    },
  }
}
