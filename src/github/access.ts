import type { Probot } from 'probot'
import type { RepoAccess } from '../engine/ports.ts'
import { TowlineError } from '../rollout/error.ts'
import { callGitHub, statusOf } from './error.ts'

export type Octokit = Awaited<ReturnType<Probot['auth']>>

/** Who may do what: installations of the App, and tokens for them. */
export type Access = {
  /** A client that acts as the installation on this repo. */
  octokit(repo: string, options: { signal: AbortSignal }): Promise<Octokit>
  /**
   * A token that may read this repo, for git. Cached by the App's auth until shortly before it expires; `renew` asks for
   * a new one, where the cached one was refused.
   */
  token(repo: string, options: { signal: AbortSignal; renew?: boolean }): Promise<string>
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
    const client = clients.get(installationId) ?? probot.auth(installationId).then(renewRefusedToken)
    clients.set(installationId, client)
    client.catch(() => clients.delete(installationId))
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
    async token(repo, { signal, renew = false }) {
      const client = await octokit(repo, { signal })
      const auth = await callGitHub(`give a token for ${repo}`, signal, () =>
        client.auth({ type: 'installation', refresh: renew }),
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

/**
 * A token can end before its hour: revoked, or by a clock that is wrong. GitHub has done nothing where it answers 401,
 * so the request is sent once more with a new token.
 */
function renewRefusedToken(client: Octokit): Octokit {
  client.hook.wrap('request', async (request, options) => {
    try {
      return await request(options)
    } catch (error) {
      // Requests for a token carry the App's own signature; a new token is no remedy there.
      if (statusOf(error) !== 401 || options.url.startsWith('/app/')) throw error
      await client.auth({ type: 'installation', refresh: true })
      return request(options)
    }
  })
  return client
}

export function split(repo: string): { owner: string; repo: string } {
  const [owner = '', name = ''] = repo.split('/')
  return { owner, repo: name }
}
