import type { Probot } from 'probot'
import type { RepoAccess } from '../engine/ports.ts'
import { TowlineError } from '../rollout/error.ts'
import { callGitHub } from './error.ts'

export type Octokit = Awaited<ReturnType<Probot['auth']>>

/** Who may do what: installations of the App, and tokens for them. */
export type Access = {
  /** A client that acts as the installation on this repo. */
  octokit(repo: string, options: { signal: AbortSignal }): Promise<Octokit>
  /** A token that may read this repo, for git. Cached by the App's auth until shortly before it expires. */
  token(repo: string, options: { signal: AbortSignal }): Promise<string>
  repos(options: { signal: AbortSignal }): Promise<RepoAccess[]>
}

/** `configured` is what server.yaml names; null stands for every repo the App is installed on. */
export function createAccess(
  probot: Probot,
  { configured }: { configured: { repo: string; branch: string | null }[] | null },
): Access {
  const installations = new Map<string, number>()
  const clients = new Map<number, Promise<Octokit>>()

  /** One client for each installation, because making one costs more than a request. It renews its token itself. */
  function clientOf(installationId: number): Promise<Octokit> {
    const client = clients.get(installationId) ?? probot.auth(installationId)
    clients.set(installationId, client)
    return client
  }

  async function installationOf(repo: string, signal: AbortSignal): Promise<number> {
    const known = installations.get(repo)
    if (known !== undefined) return known
    const app = await probot.auth()
    const { data } = await callGitHub(`find the App's installation on ${repo}`, signal, (request) =>
      app.rest.apps.getRepoInstallation({ ...split(repo), request }),
    )
    installations.set(repo, data.id)
    return data.id
  }

  async function octokit(repo: string, { signal }: { signal: AbortSignal }): Promise<Octokit> {
    return clientOf(await installationOf(repo, signal))
  }

  async function configuredRepo(
    { repo, branch }: { repo: string; branch: string | null },
    signal: AbortSignal,
  ) {
    if (branch !== null) return { repo, branch }
    const client = await octokit(repo, { signal })
    const { data } = await callGitHub(`describe ${repo}`, signal, (request) =>
      client.rest.repos.get({ ...split(repo), request }),
    )
    return { repo, branch: data.default_branch }
  }

  async function installedRepos(signal: AbortSignal): Promise<RepoAccess[]> {
    const app = await probot.auth()
    const list = await callGitHub("list the App's installations", signal, (request) =>
      app.paginate(app.rest.apps.listInstallations, { per_page: 100, request }),
    )
    const found: RepoAccess[] = []
    for (const installation of list.filter(({ suspended_at: suspendedAt }) => !suspendedAt)) {
      const client = await clientOf(installation.id)
      const repos = await callGitHub('list the repositories of an installation', signal, (request) =>
        client.paginate(client.rest.apps.listReposAccessibleToInstallation, { per_page: 100, request }),
      )
      for (const repo of repos) {
        installations.set(repo.full_name, installation.id)
        found.push({ repo: repo.full_name, branch: repo.default_branch })
      }
    }
    return found
  }

  return {
    octokit,
    async token(repo, { signal }) {
      const client = await octokit(repo, { signal })
      const auth = await callGitHub(`give a token for ${repo}`, signal, () =>
        client.auth({ type: 'installation' }),
      )
      if (typeof auth === 'object' && auth !== null && 'token' in auth && typeof auth.token === 'string')
        return auth.token
      throw new TowlineError(`GitHub gave no token for ${repo}`, { fault: 'bug' })
    },
    async repos({ signal }) {
      if (!configured) return installedRepos(signal)
      return Promise.all(configured.map((each) => configuredRepo(each, signal)))
    },
  }
}

export function split(repo: string): { owner: string; repo: string } {
  const [owner = '', name = ''] = repo.split('/')
  return { owner, repo: name }
}
