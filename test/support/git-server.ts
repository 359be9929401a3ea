/**
 * Real git over smart HTTP: `git http-backend` behind `node:http`. What it does not have of GitHub: rate limits,
 * redirects of renamed repositories, and a size limit on blobs. Two pushes to one repository at the same moment may
 * each report the other's refs.
 */

import { execFile, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { chmod, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'

const noCommit = '0'.repeat(40)

export type GitRequest = {
  /** `owner/name` */
  repo: string
  service: 'upload-pack' | 'receive-pack'
  user: string | null
  password: string | null
}

export type GitVerdict = 'ok' | 'unauthorized' | 'forbidden' | 'not-found'

/** A ref that a push changed. A commit of forty zeros stands for "there was none" or "it is gone". */
export type GitPush = { repo: string; ref: string; before: string; after: string }

/**
 * Answers `/<owner>/<name>.git/…` from the bare repositories below `root`, protocol versions 0 to 2. Returns false,
 * without touching the response, for any other path. `onPush` is called once per changed ref, just before
 * the answer ends, so a client that has pushed can rely on it.
 */
export function gitHttpHandler(options: {
  root: string
  authorize: (request: GitRequest) => GitVerdict
  onPush?: (push: GitPush) => void
}): (req: IncomingMessage, res: ServerResponse) => boolean {
  return (req, res) => {
    const url = new URL(req.url ?? '/', 'http://localhost')
    const match = repoPath.exec(url.pathname)
    const repo = match?.[1]
    if (repo === undefined) return false
    const service = requestedService(match?.[2] ?? '', url.searchParams)
    if (service === null) {
      answer(res, 404, 'not found\n')
      return true
    }
    const verdict = options.authorize({ repo, service, ...credentials(req) })
    if (verdict === 'ok' && existsSync(repoFolder(options.root, repo))) {
      serve(req, res, { ...options, repo, service, url }).catch((error: unknown) =>
        res.destroy(asError(error)),
      )
    } else if (verdict === 'unauthorized') {
      res.setHeader('www-authenticate', 'Basic realm="git"')
      answer(res, 401, 'authentication required\n')
    } else if (verdict === 'forbidden') {
      answer(res, 403, 'forbidden\n')
    } else {
      answer(res, 404, 'repository not found\n')
    }
    return true
  }
}

/** Makes an empty bare repository that can be pushed to, and whose commits can be fetched by id as on GitHub. */
export async function createBareRepo(
  root: string,
  repo: string,
  { defaultBranch = 'main' }: { defaultBranch?: string } = {},
): Promise<string> {
  const folder = repoFolder(root, repo)
  await mkdir(folder, { recursive: true })
  await git(['init', '--quiet', '--bare', '-b', defaultBranch, folder], { cwd: root })
  await git(['config', 'http.receivepack', 'true'], { cwd: folder })
  await git(['config', 'uploadpack.allowAnySHA1InWant', 'true'], { cwd: folder })
  return folder
}

export type GitServer = AsyncDisposable & {
  root: string
  port: number
  /** Method and path of every request so far, oldest first. */
  requests: string[]
  url(repo: string): string
  close(): Promise<void>
}

/** A git server on loopback that lets in `x-access-token` with the given token, as GitHub does for an App. */
export async function startGitServer({ root, token }: { root?: string; token: string }): Promise<GitServer> {
  const folder = root ?? (await mkdtemp(join(tmpdir(), 'towline-git-')))
  const requests: string[] = []
  const handle = gitHttpHandler({
    root: folder,
    authorize: ({ user, password }) =>
      user === 'x-access-token' && password === token ? 'ok' : 'unauthorized',
  })
  const server = createServer((req, res) => {
    requests.push(`${req.method} ${req.url}`)
    if (!handle(req, res)) answer(res, 404, 'not found\n')
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('the git server has no port')
  const close = async () => {
    const closed = new Promise<void>((resolve) => server.close(() => resolve()))
    server.closeAllConnections()
    await closed
    if (root === undefined) await rm(folder, { recursive: true, force: true })
  }
  return {
    root: folder,
    port: address.port,
    requests,
    url: (repo) => `http://127.0.0.1:${address.port}/${repo}.git`,
    close,
    [Symbol.asyncDispose]: close,
  }
}

/** What one commit changes. `links` is path → target, `submodules` is path → commit. */
export type Changes = {
  write?: Record<string, string | Uint8Array>
  executable?: string[]
  links?: Record<string, string>
  submodules?: Record<string, string>
  remove?: string[]
  message?: string
}

export type WorkTree = AsyncDisposable & {
  dir: string
  /** Commits the changes and returns the commit. Nothing is pushed. */
  commit(changes: Changes): Promise<string>
  /** Moves the branch and the files back to a commit. */
  reset(commit: string): Promise<void>
  /** Starts a history of its own with no files. */
  startOver(): Promise<void>
  push(options?: { force?: boolean; branch?: string }): Promise<void>
  deleteRemoteBranch(branch: string): Promise<void>
  git(args: string[]): Promise<string>
}

/** A work tree of the real git that pushes to `remote`: the URL (or the folder) of a repository. */
export async function openWorkTree({
  remote,
  branch = 'main',
}: {
  remote: string
  branch?: string
}): Promise<WorkTree> {
  const dir = await mkdtemp(join(tmpdir(), 'towline-work-'))
  const run = (args: string[]) => git(args, { cwd: dir })
  await run(['init', '--quiet', '-b', branch])
  await run(['remote', 'add', 'origin', remote])
  await run(['fetch', '--quiet', 'origin'])
  const known = await run(['for-each-ref', '--format=%(objectname)', `refs/remotes/origin/${branch}`])
  if (known !== '') await run(['reset', '--quiet', '--hard', known])
  return {
    dir,
    git: run,
    async commit(changes) {
      await applyChanges(dir, changes)
      await run(['add', '--all'])
      for (const [path, commit] of Object.entries(changes.submodules ?? {})) {
        await run(['update-index', '--add', '--cacheinfo', `160000,${commit},${path}`])
      }
      await run(['commit', '--quiet', '--allow-empty', '-m', changes.message ?? 'change'])
      return await run(['rev-parse', 'HEAD'])
    },
    async reset(commit) {
      await run(['reset', '--quiet', '--hard', commit])
    },
    async startOver() {
      await run(['checkout', '--quiet', '--orphan', 'towline-start-over'])
      await run(['rm', '-r', '--quiet', '--force', '--ignore-unmatch', '.'])
      await run(['branch', '--quiet', '--force', '--move', branch])
    },
    async push({ force = false, branch: to = branch } = {}) {
      await run(['push', '--quiet', ...(force ? ['--force'] : []), 'origin', `HEAD:refs/heads/${to}`])
    },
    async deleteRemoteBranch(name) {
      await run(['push', '--quiet', 'origin', '--delete', name])
    },
    async [Symbol.asyncDispose]() {
      await rm(dir, { recursive: true, force: true })
    },
  }
}

const repoPath = /^\/([A-Za-z0-9_][\w.-]*\/[A-Za-z0-9_][\w.-]*)\.git\/(.*)$/

function repoFolder(root: string, repo: string): string {
  return join(root, `${repo}.git`)
}

function requestedService(path: string, query: URLSearchParams): GitRequest['service'] | null {
  const name = path === 'info/refs' ? query.get('service') : path
  if (name === 'git-upload-pack') return 'upload-pack'
  if (name === 'git-receive-pack') return 'receive-pack'
  return null
}

function credentials(req: IncomingMessage): { user: string | null; password: string | null } {
  const [scheme, encoded] = (req.headers.authorization ?? '').split(' ')
  if (scheme?.toLowerCase() !== 'basic' || encoded === undefined) return { user: null, password: null }
  const text = Buffer.from(encoded, 'base64').toString()
  const colon = text.indexOf(':')
  return colon === -1
    ? { user: text, password: null }
    : { user: text.slice(0, colon), password: text.slice(colon + 1) }
}

type Service = {
  root: string
  repo: string
  service: GitRequest['service']
  url: URL
  onPush?: (push: GitPush) => void
}

async function serve(req: IncomingMessage, res: ServerResponse, service: Service): Promise<void> {
  const folder = repoFolder(service.root, service.repo)
  const isPush = service.service === 'receive-pack' && req.method === 'POST' && service.onPush !== undefined
  const before = isPush ? await readRefs(folder) : new Map<string, string>()
  await runBackend(req, res, service)
  const after = isPush ? await readRefs(folder) : before
  for (const ref of new Set([...before.keys(), ...after.keys()])) {
    const change = { before: before.get(ref) ?? noCommit, after: after.get(ref) ?? noCommit }
    if (change.before !== change.after) service.onPush?.({ repo: service.repo, ref, ...change })
  }
  res.end()
}

async function readRefs(folder: string): Promise<Map<string, string>> {
  const lines = await git(['for-each-ref', '--format=%(refname) %(objectname)'], { cwd: folder })
  return new Map(
    lines
      .split('\n')
      .filter((line) => line !== '')
      .map((line): [string, string] => {
        const [ref = '', commit = ''] = line.split(' ')
        return [ref, commit]
      }),
  )
}

/** Runs the CGI program. Resolves once it has ended, before the response does; kills it when the client goes away. RFC 3875, `git-http-backend(1)`. */
async function runBackend(req: IncomingMessage, res: ServerResponse, { root, url }: Service): Promise<void> {
  const child = spawn('git', ['http-backend'], {
    stdio: ['pipe', 'pipe', 'ignore'],
    env: {
      ...gitEnvironment,
      GIT_PROJECT_ROOT: root,
      GIT_HTTP_EXPORT_ALL: '1',
      REQUEST_METHOD: req.method ?? 'GET',
      PATH_INFO: decodeURIComponent(url.pathname),
      QUERY_STRING: url.search.slice(1),
      REMOTE_USER: credentials(req).user ?? '',
      REMOTE_ADDR: req.socket.remoteAddress ?? '',
      CONTENT_TYPE: req.headers['content-type'] ?? '',
      ...present('CONTENT_LENGTH', req.headers['content-length']),
      ...present('HTTP_CONTENT_ENCODING', req.headers['content-encoding']),
      ...present('GIT_PROTOCOL', req.headers['git-protocol']?.toString()),
    },
  })
  res.on('close', () => child.kill())
  child.stdin.on('error', () => {}) // The program may end before it has read all; its answer says why.
  req.pipe(child.stdin)

  let head: Buffer | null = Buffer.alloc(0)
  child.stdout.on('data', (chunk: Buffer) => {
    if (head === null) {
      if (!res.write(chunk)) {
        child.stdout.pause()
        res.once('drain', () => child.stdout.resume())
      }
      return
    }
    head = Buffer.concat([head, chunk])
    const end = head.indexOf('\r\n\r\n')
    if (end === -1) return
    writeHead(res, head.subarray(0, end).toString('latin1'))
    const rest = head.subarray(end + 4)
    if (rest.length > 0) res.write(rest)
    head = null
  })
  await new Promise<void>((resolve, reject) => {
    child.on('error', reject)
    child.on('close', () => resolve())
  })
  if (head !== null) throw new Error('git http-backend gave no answer')
}

function writeHead(res: ServerResponse, head: string): void {
  let status = 200
  for (const line of head.split('\r\n')) {
    const colon = line.indexOf(':')
    const name = line.slice(0, colon)
    const value = line.slice(colon + 1).trim()
    if (name.toLowerCase() === 'status') status = Number.parseInt(value, 10)
    else res.setHeader(name, value)
  }
  res.writeHead(status)
}

function answer(res: ServerResponse, status: number, text: string): void {
  res.writeHead(status, { 'content-type': 'text/plain' }).end(text)
}

function present(name: string, value: string | undefined): Record<string, string> {
  return value === undefined ? {} : { [name]: value }
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error))
}

async function applyChanges(dir: string, changes: Changes): Promise<void> {
  for (const path of changes.remove ?? []) await rm(join(dir, path), { recursive: true })
  for (const [path, content] of Object.entries(changes.write ?? {})) {
    await mkdir(dirname(join(dir, path)), { recursive: true })
    await writeFile(join(dir, path), content)
  }
  for (const path of changes.executable ?? []) await chmod(join(dir, path), 0o755)
  for (const [path, target] of Object.entries(changes.links ?? {})) {
    await mkdir(dirname(join(dir, path)), { recursive: true })
    await symlink(target, join(dir, path))
  }
}

/**
 * No configuration of the machine or the user, an identity of our own, and no housekeeping in the background: it
 * would still write while a test removes its folders.
 */
const gitEnvironment = {
  PATH: process.env.PATH ?? '/usr/local/bin:/usr/bin:/bin',
  HOME: tmpdir(),
  GIT_CONFIG_NOSYSTEM: '1',
  GIT_CONFIG_GLOBAL: '/dev/null',
  GIT_TERMINAL_PROMPT: '0',
  GIT_CONFIG_COUNT: '2',
  GIT_CONFIG_KEY_0: 'gc.auto',
  GIT_CONFIG_VALUE_0: '0',
  GIT_CONFIG_KEY_1: 'receive.autogc',
  GIT_CONFIG_VALUE_1: 'false',
  GIT_AUTHOR_NAME: 'Towline Test',
  GIT_AUTHOR_EMAIL: 'test@example.com',
  GIT_COMMITTER_NAME: 'Towline Test',
  GIT_COMMITTER_EMAIL: 'test@example.com',
}

/** Large enough for any repository a test makes. */
const gitTimeoutMs = 60_000
const gitMaxOutputBytes = 64 * 1024 * 1024

async function git(args: string[], { cwd }: { cwd: string }): Promise<string> {
  const { stdout } = await promisify(execFile)('git', args, {
    cwd,
    env: gitEnvironment,
    timeout: gitTimeoutMs,
    maxBuffer: gitMaxOutputBytes,
  })
  return stdout.trim()
}
