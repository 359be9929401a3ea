import fs from 'node:fs'
import git, { type HttpClient } from 'isomorphic-git'
import { type Fault, TowlineError } from '../rollout/error.ts'
import { type Deadline, startDeadline } from '../time/deadline.ts'
import { cancelledError, storageError, systemCode } from './failure.ts'
import { gitHttp, type TransferFailure } from './git-http.ts'

/** One branch of a repository at its server. Every call has a deadline; none leaves a token behind. */
export type Remote = {
  /** The branch's head, or null where there is no such branch. Downloads nothing. */
  head(options: { signal: AbortSignal }): Promise<string | null>
  /** Fetches the branch's newest commit alone into a new git directory. Returns it, or null where the branch is gone. */
  clone(gitdir: string, options: { signal: AbortSignal }): Promise<string | null>
  /** Fetches what is new since the local branch, which it does not move. Returns the head, or null. */
  fetchBranch(gitdir: string, options: { signal: AbortSignal }): Promise<string | null>
  /** Fetches one commit by id, without its history. False where the server will not give it. */
  fetchCommit(gitdir: string, commit: string, options: { signal: AbortSignal }): Promise<boolean>
}

export type RemoteOptions = {
  /** `owner/name`, for messages. */
  repo: string
  url: string
  branch: string
  token: (options: { signal: AbortSignal; renew?: boolean }) => Promise<string>
  timeoutMs: number
  maxPackBytes: number
}

export function connectRemote(options: RemoteOptions): Remote {
  const { url, branch } = options
  const remoteRef = `refs/heads/${branch}`
  const fetchRef = (gitdir: string, { http, ref, depth }: { http: HttpClient; ref: string; depth?: 1 }) =>
    git.fetch({
      ...{ fs, http, gitdir, url, ref: branch, remote: 'origin', remoteRef: ref },
      ...{ singleBranch: true, tags: false },
      ...(depth === undefined ? {} : { depth }),
    })

  return {
    head: ({ signal }) =>
      call(options, signal, async (http) => {
        // Protocol 2 filters at the server: a repository may have thousands of pull request refs.
        const refs = await git.listServerRefs({ http, url, prefix: remoteRef, protocolVersion: 2 })
        return refs.find(({ ref }) => ref === remoteRef)?.oid ?? null
      }),
    clone: (gitdir, { signal }) =>
      call(options, signal, async (http) => {
        await git.init({ fs, gitdir, bare: true, defaultBranch: branch })
        await git.addRemote({ fs, gitdir, remote: 'origin', url })
        const fetched = await ifPresent(fetchRef(gitdir, { http, ref: remoteRef, depth: 1 }))
        return fetched?.fetchHead ?? null
      }),
    fetchBranch: (gitdir, { signal }) =>
      call(options, signal, async (http) => {
        // No depth: with one, isomorphic-git downloads the whole snapshot again for each commit.
        const fetched = await ifPresent(fetchRef(gitdir, { http, ref: remoteRef }))
        return fetched?.fetchHead ?? null
      }),
    async fetchCommit(gitdir, commit, { signal }) {
      try {
        // Depth 1: a commit older than the clone would else bring all of its history.
        await call(options, signal, (http) => fetchRef(gitdir, { http, ref: commit, depth: 1 }))
        return true
      } catch (error) {
        if (error instanceof RefusedError) return false
        throw error
      }
    },
  }
}

/** The server understood, and said no. */
class RefusedError extends TowlineError {}

/** Where the server has no such ref (or no refs at all), isomorphic-git throws `NotFoundError`. */
async function ifPresent<T>(fetching: Promise<T>): Promise<T | null> {
  try {
    return await fetching
  } catch (error) {
    if (error instanceof git.Errors.NotFoundError) return null
    throw error
  }
}

async function call<T>(
  options: RemoteOptions,
  callerSignal: AbortSignal,
  work: (http: HttpClient) => Promise<T>,
): Promise<T> {
  using deadline = startDeadline({ signal: callerSignal, ms: options.timeoutMs })
  const { signal } = deadline
  const situation = { repo: options.repo, timeoutMs: options.timeoutMs, callerSignal, deadline }
  try {
    signal.throwIfAborted()
    const token = await options.token({ signal })
    const renewToken = () => options.token({ signal, renew: true })
    const client = gitHttp({ repo: options.repo, token, renewToken, signal, maxBytes: options.maxPackBytes })
    const outcome = await settle(work(client.http))
    const failure = client.failure()
    if (failure !== null) throw transferError(failure, situation)
    if ('error' in outcome) throw outcome.error
    return outcome.value
  } catch (error) {
    throw translate(error, situation)
  }
}

async function settle<T>(work: Promise<T>): Promise<{ value: T } | { error: unknown }> {
  try {
    return { value: await work }
  } catch (error) {
    return { error }
  }
}

type Situation = { repo: string; timeoutMs: number; callerSignal: AbortSignal; deadline: Deadline }

function transferError(failure: TransferFailure, { repo }: Situation): unknown {
  switch (failure.kind) {
    case 'tooLarge':
      return failure.error
    case 'network':
      return failure.cause
    case 'cut':
      return new TowlineError(
        `The answer of the git server for ${repo} ended early, after ${failure.sentBytes} bytes`,
        {
          fault: 'temporary',
          hint: tryAgain,
        },
      )
    case 'refused':
      return new RefusedError(`The git server refused a request for ${repo}: ${failure.message}`, {
        fault: 'temporary',
        hint: tryAgain,
      })
    default:
      return failure satisfies never
  }
}

/** Aborts first: whatever broke because of one says nothing of its own. */
function translate(error: unknown, { repo, timeoutMs, callerSignal, deadline }: Situation): TowlineError {
  if (callerSignal.aborted) return cancelledError(repo, callerSignal)
  if (error instanceof TowlineError) return error
  if (deadline.passed) {
    return new TowlineError(
      `The git server did not finish its answer for ${repo} within ${timeoutMs / 1000} s`,
      {
        fault: 'temporary',
        hint: tryAgain,
        cause: error,
      },
    )
  }
  // No cause for an HTTP status: the error carries the body of the answer, which may repeat the request.
  if (error instanceof git.Errors.HttpError) return statusError(repo, error.data.statusCode)
  if (error instanceof git.Errors.SmartHttpError) {
    return new TowlineError(`The address of ${repo} answered, but not as a git server`, {
      fault: 'operator',
      hint: 'Check GHE_HOST and GHE_PROTOCOL, and any proxy in between.',
    })
  }
  const code = systemCode(error)
  if (diskCodes.has(code)) return storageError(repo, error)
  return new TowlineError(`Fetching ${repo} failed: ${code || describe(error)}`, {
    fault: 'temporary',
    hint: tryAgain,
    cause: error,
  })
}

const tryAgain = 'Towline tries again by itself; look at the network and the git server if it stays.'

function statusError(repo: string, status: number): TowlineError {
  const known = statusErrors.find(({ matches }) => matches(status))
  const { says, fault, hint } = known ?? unknownStatus
  return new TowlineError(`${says(repo)} (HTTP ${status})`, { fault, hint })
}

type StatusMeaning = {
  matches: (status: number) => boolean
  says: (repo: string) => string
  fault: Fault
  hint: string
}

const unknownStatus: Omit<StatusMeaning, 'matches'> = {
  says: (repo) => `The git server would not serve ${repo}`,
  fault: 'operator',
  hint: 'Check the repository and the settings of the App.',
}

const statusErrors: StatusMeaning[] = [
  {
    matches: (status) => status === 401 || status === 403,
    says: (repo) => `The App's installation token was refused for ${repo}`,
    fault: 'operator',
    hint: 'Give the App read access to the contents of the repository, and approve it in the installation.',
  },
  {
    matches: (status) => status === 404 || status === 410,
    says: (repo) => `${repo} was not found`,
    fault: 'operator',
    hint: 'The repository is gone, or the App is not installed on it.',
  },
  {
    matches: (status) => status >= 300 && status < 400,
    says: (repo) => `${repo} has moved`,
    fault: 'operator',
    hint: 'Use the new name of the repository.',
  },
  {
    matches: (status) => status === 408 || status === 429 || status >= 500,
    says: (repo) => `The git server could not serve ${repo} now`,
    fault: 'temporary',
    hint: tryAgain,
  },
]

const diskCodes = new Set(['ENOSPC', 'EDQUOT', 'EACCES', 'EPERM', 'EROFS'])

function describe(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
