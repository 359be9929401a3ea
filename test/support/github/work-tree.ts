import { openWorkTree, type WorkTree } from '../git-server.ts'
import type { GitHubStandIn } from './server.ts'

/**
 * A work tree whose `push` goes to the stand-in over HTTP as a person's push does, and so sends webhooks. The token
 * lies in the work tree's own configuration, never in a URL.
 */
export async function openGitHubWorkTree(
  github: GitHubStandIn,
  fullName: string,
  { branch = 'main', login = 'dev' }: { branch?: string; login?: string } = {},
): Promise<WorkTree> {
  const tree = await openWorkTree({ remote: github.gitFolder(fullName), branch })
  const setting = github.pushArgs(login)[1] ?? ''
  const split = setting.indexOf('=')
  await tree.git(['config', setting.slice(0, split), setting.slice(split + 1)])
  await tree.git(['remote', 'set-url', 'origin', github.gitUrl(fullName)])
  return tree
}
