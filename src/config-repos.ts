import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Mirror, RepoAccess, Store } from './engine/ports.ts'
import type { Environment } from './environment.ts'
import { openMirror } from './repo/mirror.ts'
import { TowlineError } from './rollout/error.ts'

/** The App's private key, as PEM text. @throws TowlineError `operator` where its file cannot be read. */
export async function loadPrivateKey({ privateKey }: Environment): Promise<string> {
  if ('text' in privateKey) return privateKey.text
  return readFile(privateKey.path, 'utf8').catch((error: unknown) => {
    throw new TowlineError(`the private key could not be read from ${privateKey.path}`, {
      fault: 'operator',
      hint: 'Correct PRIVATE_KEY_PATH, or put the key into PRIVATE_KEY.',
      cause: error,
    })
  })
}

/** One mirror for each repo and branch, opened when first needed. */
export function openMirrors(parts: {
  environment: Environment
  gitUrl: string
  token: (repo: string, options: { signal: AbortSignal; renew?: boolean }) => Promise<string>
  store: Store
}) {
  type Open = Mirror & { close(): Promise<void> }
  const mirrors = new Map<string, { branch: string; mirror: Promise<Open> }>()

  async function open({ repo, branch }: RepoAccess): Promise<Mirror> {
    const known = mirrors.get(repo)
    if (known?.branch === branch) return known.mirror
    await (await known?.mirror)?.close()
    const mirror = openMirror({
      folder: join(parts.environment.dataFolder, 'mirrors', repo.replace('/', '+')),
      repo,
      url: `${parts.gitUrl}/${repo}.git`,
      branch,
      token: (options) => parts.token(repo, options),
    })
    mirrors.set(repo, { branch, mirror })
    mirror.catch(() => mirrors.delete(repo))
    return mirror
  }

  return {
    open,
    /** The mirror as it lies on disk: what was deployed before is readable though GitHub is away. */
    async known(repo: string): Promise<Mirror> {
      const found = mirrors.get(repo)
      if (found) return found.mirror
      const record = await parts.store.readRepo(repo)
      if (record) return open({ repo, branch: record.branch })
      throw new TowlineError(`nothing is known of ${repo}`, { fault: 'bug' })
    },
    async close() {
      await Promise.all(
        [...mirrors.values()].map(async ({ mirror }) => (await mirror.catch(() => null))?.close()),
      )
    },
  }
}
