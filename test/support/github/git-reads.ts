import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import type { Repo } from './state.ts'

const run = promisify(execFile)

/** A local read takes milliseconds; a hung disk must not hang a test for longer. */
const gitTimeoutMs = 10_000

type Person = { name: string; email: string; date: string }

export type Commit = {
  sha: string
  treeSha: string
  parents: string[]
  author: Person
  committer: Person
  message: string
}

export type PushedCommit = Commit & { added: string[]; removed: string[]; modified: string[] }

/** The commit a ref, tag or SHA names, or null. */
export async function resolveCommit(repo: Repo, ref: string): Promise<string | null> {
  if (ref === '' || ref.startsWith('-')) return null
  try {
    return (
      await git(repo, ['rev-parse', '--verify', '--quiet', '--end-of-options', `${ref}^{commit}`])
    ).trim()
  } catch {
    return null
  }
}

export function branchHead(repo: Repo, branch: string): Promise<string | null> {
  return resolveCommit(repo, `refs/heads/${branch}`)
}

export async function readCommit(repo: Repo, sha: string): Promise<Commit> {
  const text = await git(repo, ['show', '--no-patch', `--format=${commitFormat}`, sha])
  return parseCommit(text.replace(/\n$/, ''))
}

/** GitHub puts at most 2,048 commits into a push webhook. */
const pushedCommitLimit = 2_048

/** Commits a push brought, oldest first, each with the files it touched. */
export async function readPushedCommits(
  repo: Repo,
  { before, after }: { before: string | null; after: string },
): Promise<PushedCommit[]> {
  const range =
    before === null ? [after, '--max-count=1'] : [`${before}..${after}`, `--max-count=${pushedCommitLimit}`]
  const text = await git(repo, [
    'log',
    '--name-status',
    '--no-renames',
    `--format=%x1e${commitFormat}%x1d`,
    ...range,
  ])
  return text
    .split('\x1e')
    .slice(1)
    .map((entry) => {
      const [head = '', files = ''] = entry.split('\x1d')
      return { ...parseCommit(head), ...parseFiles(files) }
    })
    .reverse()
}

/** Whether a push moved a branch to a commit that does not contain the one before. */
export async function isForced(
  repo: Repo,
  { before, after }: { before: string; after: string },
): Promise<boolean> {
  try {
    await git(repo, ['merge-base', '--is-ancestor', before, after])
    return false
  } catch {
    return true
  }
}

const commitFormat = ['%H', '%T', '%P', '%an', '%ae', '%aI', '%cn', '%ce', '%cI', '%B'].join('%x1f')

function parseCommit(text: string): Commit {
  const [
    sha = '',
    treeSha = '',
    parents = '',
    an = '',
    ae = '',
    aI = '',
    cn = '',
    ce = '',
    cI = '',
    message = '',
  ] = text.split('\x1f')
  return {
    sha,
    treeSha,
    parents: parents === '' ? [] : parents.split(' '),
    author: { name: an, email: ae, date: aI },
    committer: { name: cn, email: ce, date: cI },
    message: message.trimEnd(),
  }
}

function parseFiles(text: string): { added: string[]; removed: string[]; modified: string[] } {
  const files = { added: [] as string[], removed: [] as string[], modified: [] as string[] }
  for (const line of text.split('\n')) {
    const [letter, path] = line.split('\t')
    if (!path) continue
    if (letter === 'A') files.added.push(path)
    else if (letter === 'D') files.removed.push(path)
    else files.modified.push(path)
  }
  return files
}

async function git(repo: Repo, args: string[]): Promise<string> {
  const { stdout } = await run('git', ['--git-dir', repo.gitFolder, '-c', 'core.quotePath=false', ...args], {
    timeout: gitTimeoutMs,
    maxBuffer: 32 * 1024 * 1024,
  })
  return stdout
}
