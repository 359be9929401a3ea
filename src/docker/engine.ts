import Docker from 'dockerode'
import { TowlineError } from '../rollout/error.ts'
import { startDeadline } from '../time/deadline.ts'

/** Where a Docker Engine listens. */
export type Endpoint =
  | { kind: 'unix'; socketPath: string }
  | { kind: 'tcp'; host: string; port: number; tls: { ca: string; cert: string; key: string } | null }

export type CallOptions = { signal: AbortSignal; timeoutMs?: number }

/** The connection to one Engine. Every call goes through `call`, which owns deadline, version and errors. */
export type Engine = {
  /** Name of the host, for messages. */
  name: string
  /**
   * Runs `act` against the Engine and settles by the deadline (default 30 s) or the signal, whatever the connection
   * does: a body that is cut off never settles in dockerode. `what` says in messages what was being done.
   *
   * @throws TowlineError `temporary` where the Engine does not answer or fails, `operator` where it cannot be used,
   *   `input` where it refuses a value, `cancelled` where the signal aborted (or the signal's own reason, where that
   *   is a TowlineError).
   */
  call<T>(
    what: string,
    act: (docker: Docker, signal: AbortSignal) => Promise<T>,
    options: CallOptions,
  ): Promise<T>
}

/** `start` of a container takes 0.3 s, a list of 200 0.07 s; an Engine under load a few seconds. */
const defaultTimeoutMs = 30_000
const negotiationTimeoutMs = 10_000
/** Newest API whose meaning was checked. An older Engine is spoken to in its own version. */
const newestMinor = 51

/** Connects lazily: nothing is sent before the first call. */
export function connectEngine(endpoint: Endpoint, options: { name: string }): Engine {
  const { name } = options
  let negotiated: Promise<Docker> | null = null

  function docker(): Promise<Docker> {
    negotiated ??= negotiate(endpoint, name).catch((error: unknown) => {
      negotiated = null
      throw error
    })
    return negotiated
  }

  async function call<T>(
    what: string,
    act: (docker: Docker, signal: AbortSignal) => Promise<T>,
    { signal, timeoutMs = defaultTimeoutMs }: CallOptions,
  ): Promise<T> {
    using deadline = startDeadline({ signal, ms: timeoutMs })
    try {
      const client = await settleBy(deadline.signal, docker())
      return await settleBy(deadline.signal, act(client, deadline.signal))
    } catch (error) {
      if (signal.aborted) throw abortError(signal, `${what} on ${name} was stopped`)
      if (deadline.passed) {
        negotiated = null
        throw new TowlineError(`${what} on ${name}: no answer within ${timeoutMs / 1000} s`, {
          fault: 'temporary',
          hint: 'See whether the Docker Engine of this host is overloaded or hangs.',
          cause: error,
        })
      }
      // The Engine that comes back may be another version.
      if (isConnectionFault(error)) negotiated = null
      throw translate(error, { what, name })
    }
  }

  return { name, call }
}

/**
 * Creates a container. dockerode would put the whole body into the URL too, where logs of proxies keep it and its
 * length is limited; `_query` and `_body` keep the two apart.
 */
export function createContainer(
  docker: Docker,
  payload: Docker.ContainerCreateOptions,
  signal: AbortSignal,
): Promise<Docker.Container> {
  const { name, ...body } = payload
  const request = { _query: { name }, _body: body, abortSignal: signal }
  return docker.createContainer(request as Docker.ContainerCreateOptions)
}

/** The Engine's answer, or null where it answers with one of these status codes. */
export async function unlessStatus<T>(statusCodes: readonly number[], answer: Promise<T>): Promise<T | null> {
  try {
    return await answer
  } catch (error) {
    if (statusCodes.includes(statusOf(error) ?? 0)) return null
    throw error
  }
}

/** The status code of an error of dockerode, or null where the Engine did not answer at all. */
export function statusOf(error: unknown): number | null {
  const status = (error as { statusCode?: unknown } | null)?.statusCode
  return typeof status === 'number' ? status : null
}

/** What the Engine itself said, without dockerode's frame around it. */
export function messageOf(error: unknown): string {
  const json = (error as { json?: { message?: unknown } | null } | null)?.json
  if (typeof json?.message === 'string') return json.message
  return error instanceof Error ? error.message : String(error)
}

/** The error of an aborted signal: its reason where that is ours, else `cancelled`. */
function abortError(signal: AbortSignal, message: string): TowlineError {
  if (signal.reason instanceof TowlineError) return signal.reason
  return new TowlineError(message, { fault: 'cancelled', cause: signal.reason })
}

/** The newest API version both sides know. Source: Engine API, `GET /version`. */
export function chooseApiVersion(
  offered: { ApiVersion: string; MinAPIVersion?: string },
  name: string,
): string {
  const newest = minorOf(offered.ApiVersion)
  const oldest = offered.MinAPIVersion === undefined ? 0 : minorOf(offered.MinAPIVersion)
  if (oldest > newestMinor) {
    throw new TowlineError(
      `The Docker Engine of ${name} wants at least API 1.${oldest}; Towline knows up to 1.${newestMinor}`,
      { fault: 'operator', hint: 'Update Towline, or lower the minimum API version of the Engine.' },
    )
  }
  return `v1.${Math.min(newest, newestMinor)}`
}

async function negotiate(endpoint: Endpoint, name: string): Promise<Docker> {
  const client = new Docker({ ...clientOptions(endpoint, undefined), timeout: negotiationTimeoutMs })
  const offered = await client.version()
  return new Docker(clientOptions(endpoint, chooseApiVersion(offered, name)))
}

/** All options, given or not: docker-modem fills every absent one from the environment (`DOCKER_HOST`, …). */
function clientOptions(endpoint: Endpoint, version: string | undefined): Docker.DockerOptions {
  const nothing = {
    socketPath: undefined,
    host: undefined,
    port: undefined,
    username: undefined,
    ca: undefined,
    cert: undefined,
    key: undefined,
    timeout: undefined,
    pathPrefix: '/',
    protocol: 'http',
    version,
  } as const
  switch (endpoint.kind) {
    case 'unix':
      return { ...nothing, socketPath: endpoint.socketPath }
    case 'tcp': {
      const address = { ...nothing, host: endpoint.host, port: endpoint.port }
      return endpoint.tls === null ? address : { ...address, ...endpoint.tls, protocol: 'https' }
    }
    default:
      return endpoint satisfies never
  }
}

function minorOf(version: string): number {
  const minor = Number(/^1\.(\d+)$/.exec(version)?.[1])
  if (Number.isInteger(minor)) return minor
  throw new TowlineError(`The Docker Engine names API version "${version}", which is none`, {
    fault: 'operator',
    hint: 'Check that the endpoint is a Docker Engine.',
  })
}

/** Settles with the promise, or rejects when the signal aborts, whichever is first. */
function settleBy<T>(signal: AbortSignal, promise: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason)
    if (signal.aborted) abort()
    signal.addEventListener('abort', abort, { once: true })
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort))
  })
}

function translate(error: unknown, context: { what: string; name: string }): TowlineError {
  if (error instanceof TowlineError) return error
  const { what, name } = context
  const status = statusOf(error)
  if (status === null) return translateConnectionFault(error, context)
  const rule = statusRules.find(({ matches }) => matches(status)) ?? engineFailed
  return new TowlineError(`${what} on ${name} failed (${status}): ${messageOf(error).trim()}`, {
    fault: rule.fault,
    hint: rule.hint,
    cause: error,
  })
}

const engineFailed = {
  fault: 'temporary',
  hint: "If it stays so, look into the Docker Engine's own log.",
} as const

/** First match wins. Meanings: Engine API, section "Errors". */
const statusRules = [
  {
    matches: (status: number) => status === 400,
    fault: 'input',
    hint: 'Change the value the Docker Engine refuses.',
  },
  {
    matches: (status: number) => status === 401 || status === 403,
    fault: 'operator',
    hint: 'Give Towline access to this Docker Engine.',
  },
  {
    matches: (status: number) => status === 404,
    fault: 'temporary',
    hint: 'Something removed it from the host; the next attempt looks afresh.',
  },
  {
    matches: (status: number) => status === 409,
    fault: 'temporary',
    hint: 'Something else is changing it; the next attempt looks afresh.',
  },
] as const

function translateConnectionFault(error: unknown, context: { what: string; name: string }): TowlineError {
  const { what, name } = context
  const code = codeOf(error)
  const message = `${what} on ${name}: ${messageOf(error)}`
  if (code === 'EACCES' || code === 'EPERM') {
    return new TowlineError(message, {
      fault: 'operator',
      hint: 'Let the user Towline runs as use the Docker socket, e.g. through the group docker.',
      cause: error,
    })
  }
  if (/CERT|TLS|SSL|SELF_SIGNED|ISSUER/.test(code)) {
    return new TowlineError(message, {
      fault: 'operator',
      hint: "Check this host's ca, cert and key in server.yaml.",
      cause: error,
    })
  }
  if (isConnectionFault(error)) {
    return new TowlineError(message, {
      fault: 'temporary',
      hint: 'Check that the Docker Engine runs and that its endpoint is right.',
      cause: error,
    })
  }
  return new TowlineError(message, { fault: 'bug', cause: error })
}

function isConnectionFault(error: unknown): boolean {
  return statusOf(error) === null && /^(E[A-Z]+|UND_ERR_\w+|HPE_\w+)$/.test(codeOf(error))
}

function codeOf(error: unknown): string {
  const code = (error as { code?: unknown } | null)?.code
  return typeof code === 'string' ? code : ''
}
