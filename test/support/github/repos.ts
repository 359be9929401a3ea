import { type Answer, Refusal } from './answer.ts'
import { requireAccess } from './callers.ts'
import { branchHead, readCommit, resolveCommit } from './git-reads.ts'
import { renderCommit, renderRepo, repoUrl } from './render.ts'
import { type Call, param, type Route, repoParam, route } from './route.ts'

/** Repositories, their branches and commits, read from the real git repositories. */
export const repoRoutes: Route[] = [
  route('GET', '/meta', () => ({
    status: 200,
    body: { verifiable_password_authentication: false, installed_version: '3.17.0' },
  })),
  route('GET', '/repos/:owner/:repo', getRepo),
  route('GET', '/repos/:owner/:repo/branches/:branch(.+)', getBranch),
  // Not `…/commits/{ref}/check-runs` and its like, which have routes of their own.
  route('GET', '/repos/:owner/:repo/commits/:ref((?!.*\\/check-(?:runs|suites)$).+)', getCommit),
]

function getRepo(call: Call): Answer {
  const fullName = repoParam(call)
  const repo = requireAccess(call.state, call.caller, { fullName, permission: 'metadata', level: 'read' })
  return { status: 200, body: renderRepo(call.state, repo) }
}

async function getBranch(call: Call): Promise<Answer> {
  const name = param(call, 'branch')
  const repo = readableRepo(call)
  const head = await branchHead(repo, name)
  if (head === null) throw new Refusal(404, 'Branch not found')
  const commit = await readCommit(repo, head)
  const url = `${repoUrl(call.state, repo)}/branches/${name}`
  const body = {
    name,
    commit: renderCommit(call.state, repo, commit),
    _links: { self: url, html: `${call.state.baseUrl}/${repo.fullName}/tree/${name}` },
    protected: false,
    protection: { enabled: false },
    protection_url: `${url}/protection`,
  }
  return { status: 200, body }
}

async function getCommit(call: Call): Promise<Answer> {
  const ref = param(call, 'ref')
  const repo = readableRepo(call)
  const sha = await resolveCommit(repo, ref)
  if (sha === null) throw new Refusal(422, `No commit found for SHA: ${ref}`)
  return { status: 200, body: renderCommit(call.state, repo, await readCommit(repo, sha)) }
}

function readableRepo(call: Call) {
  const access = { fullName: repoParam(call), permission: 'contents', level: 'read' } as const
  return requireAccess(call.state, call.caller, access)
}
