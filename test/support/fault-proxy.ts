/**
 * A Docker socket in front of the real one, or a GitHub in front of the stand-in. It passes everything on, and stops,
 * delays, cuts or refuses chosen requests, so that a test can act at exactly that moment of a deployment; or it counts
 * requests and strikes at the n-th. Whole bodies are kept in memory: for small releases only.
 */

import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { pipeline } from 'node:stream/promises'
import { setTimeout as sleep } from 'node:timers/promises'

/** `before`: the other side never hears of the request. `after`: it has done it, and nobody hears its answer. */
export type Moment = 'before' | 'after'

/** What happens at one counted request. `act` is called before anything else is passed on, so it must not wait. */
export type Strike = { n: number; moment: Moment; act: () => void }

/** What a test does to the requests that come by. */
export type FaultControl = AsyncDisposable & {
  /**
   * From now on no request whose text matches gets an answer. The text is `METHOD /path` and the body where it is
   * JSON; for the start of an exec, also the body that made it.
   */
  hold(pattern: RegExp, moment: Moment): void
  /** From now on the other side seems to fail where the text matches. */
  refuse(pattern: RegExp): void
  /** From now on answers wait where the text matches. */
  delay(pattern: RegExp, delayMs: number): void
  /** From now on answers break off in the middle of their body where the text matches. */
  cut(pattern: RegExp): void
  /** How many requests were held or refused since the last `clear`. */
  stoppedCount(): number
  /** Forgets all faults and the count, and passes everything on again. */
  clear(): void
  /** Counts from one again. After its strike nothing is passed on until `clear`. */
  count(strike?: Strike): void
  /** The requests since `count`, in order, without ids: `POST /containers/{}/start`. Streams without end are left out. */
  calls(): readonly string[]
  /** When the last request came or was over, in milliseconds since the epoch; now, while one is under way. */
  lastBusyMs(): number
}

export type FaultProxy = FaultControl & { socketPath: string }

type Rule = { pattern: RegExp; fault: Moment | 'refuse' | 'cut' | { delayMs: number } }

/** What is in front of: how to reach it, and how its requests read without ids. */
type Upstream = { address: { socketPath: string } | { host: string; port: number }; template: Template }
type Template = (method: string, path: string) => string

/** In front of a Docker Engine. */
export async function startFaultProxy(engineSocket: string): Promise<FaultProxy> {
  const folder = await mkdtemp(join(tmpdir(), 'towline-proxy-'))
  const socketPath = join(folder, 'docker.sock')
  const proxy = createFaultProxy({ address: { socketPath: engineSocket }, template: dockerTemplate })
  await new Promise<void>((resolve) => proxy.server.listen(socketPath, resolve))
  return {
    ...proxy.control,
    socketPath,
    async [Symbol.asyncDispose]() {
      await proxy.close()
      await rm(folder, { recursive: true, force: true })
    },
  }
}

/** In front of a GitHub that speaks plain HTTP. `host` is what Towline gets as `GHE_HOST`. */
export async function startGitHubProxy(gitHubUrl: string): Promise<FaultControl & { host: string }> {
  const { hostname, port } = new URL(gitHubUrl)
  const address = { host: hostname, port: Number(port) }
  const proxy = createFaultProxy({ address, template: gitHubTemplate })
  await new Promise<void>((resolve) => proxy.server.listen(0, '127.0.0.1', resolve))
  const own = proxy.server.address()
  if (own === null || typeof own === 'string') throw new Error('the proxy has no port')
  return { ...proxy.control, host: `127.0.0.1:${own.port}`, [Symbol.asyncDispose]: proxy.close }
}

function createFaultProxy({ address, template }: Upstream) {
  const execBodies = new Map<string, string>()
  let rules: Rule[] = []
  let stoppedCount = 0
  let calls: string[] = []
  let strike: Strike | null = null
  let struck = false
  let lastBusyMs = Date.now()
  let openCount = 0

  async function serve(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const call = template(req.method ?? '', req.url ?? '')
    if (!isEndless(call)) trackOpen(res)
    const body = await buffer(req)
    if (struck) return void res.destroy()
    const due = isEndless(call) ? null : countCall(call)
    if (due?.moment === 'before') return hit(due, res)
    const fault = rules.find(({ pattern }) => pattern.test(describe(req, body)))?.fault
    if (fault === 'before' || fault === 'refuse') {
      stoppedCount += 1
      if (fault === 'refuse') res.writeHead(500).end('{"message":"refused on purpose"}')
      return
    }
    const { method, url: path, headers } = req
    // A connection of its own: a kept one may be closed by the other side just when it is used again.
    const upstream = request({ ...address, method, path, headers, agent: false })
    upstream.on('error', () => {
      // Also where the caller gave the call up: the strike was due at its end, and this is it.
      if (due !== null) hit(due, res)
      else res.destroy()
    })
    res.on('close', () => upstream.destroy())
    // Towline's end tears both connections down: an answer that is cut then is nothing to report.
    upstream.on('response', (answer) => void passAnswer(answer).catch(() => res.destroy()))
    async function passAnswer(answer: IncomingMessage): Promise<void> {
      if (!isExecCreate(req) && due === null && fault === undefined) {
        res.writeHead(answer.statusCode ?? 500, answer.headers)
        return pipeline(answer, res)
      }
      const content = await buffer(answer)
      if (isExecCreate(req)) rememberExec(content, body)
      if (due !== null) return hit(due, res)
      if (fault === 'after') {
        stoppedCount += 1
        return
      }
      if (typeof fault === 'object') await sleep(fault.delayMs)
      res.writeHead(answer.statusCode ?? 500, answer.headers)
      if (fault !== 'cut') return void res.end(content)
      res.write(content.subarray(0, Math.ceil(content.length / 2)), () => res.destroy())
    }
    upstream.end(body)
  }

  /** The strike, where this request is the one it waits for. */
  function countCall(call: string): Strike | null {
    calls.push(call)
    return strike?.n === calls.length ? strike : null
  }

  function trackOpen(res: ServerResponse): void {
    openCount += 1
    res.once('close', () => {
      openCount -= 1
      lastBusyMs = Date.now()
    })
  }

  function hit(due: Strike, res: ServerResponse): void {
    if (strike === due) {
      due.act()
      struck = true
      strike = null
    }
    res.destroy()
  }

  function rememberExec(content: Buffer, body: Buffer): void {
    const id = /"Id":"(\w+)"/.exec(content.toString())?.[1]
    if (id !== undefined) execBodies.set(id, body.toString())
  }

  function describe({ method, url, headers }: IncomingMessage, body: Buffer): string {
    const execId = /\/exec\/(\w+)\/start/.exec(url ?? '')?.[1]
    const json = headers['content-type']?.includes('json') ? body.toString() : ''
    return [method, url, json, execBodies.get(execId ?? '') ?? ''].join(' ')
  }

  const server = createServer((req, res) => {
    serve(req, res).catch(() => res.destroy())
  })
  // The event stream stays open for as long as Towline lives.
  server.requestTimeout = 0
  const control = {
    hold: (pattern: RegExp, moment: Moment) => void rules.push({ pattern, fault: moment }),
    refuse: (pattern: RegExp) => void rules.push({ pattern, fault: 'refuse' }),
    delay: (pattern: RegExp, delayMs: number) => void rules.push({ pattern, fault: { delayMs } }),
    cut: (pattern: RegExp) => void rules.push({ pattern, fault: 'cut' }),
    stoppedCount: () => stoppedCount,
    clear() {
      rules = []
      stoppedCount = 0
      control.count()
    },
    count(next?: Strike) {
      calls = []
      strike = next ?? null
      struck = false
    },
    calls: () => calls,
    lastBusyMs: () => (openCount > 0 ? Date.now() : lastBusyMs),
  }
  async function close(): Promise<void> {
    const closed = new Promise((resolve) => server.close(resolve))
    server.closeAllConnections()
    await closed
  }
  return { server, control, close }
}

function isExecCreate({ method, url }: IncomingMessage): boolean {
  return method === 'POST' && /\/containers\/[^/]+\/exec/.test(url ?? '')
}

/** Docker's event stream: it is no step of anything, and its answer never ends. */
function isEndless(call: string): boolean {
  return call === 'GET /events'
}

function dockerTemplate(method: string, path: string): string {
  const [route = ''] = path.replace(/^\/v[\d.]+/, '').split('?')
  const named = route
    .replace(/^\/(containers|exec|networks|volumes)\/(?!json$|create$|prune$)[^/]+/, '/$1/{}')
    .replace(/^\/(images|distribution)\/(?!json$|create$|load$).+\/(json|push|tag|history)$/, '/$1/{}/$2')
  return `${method} ${named}`
}

function gitHubTemplate(method: string, path: string): string {
  const [route = '', query = ''] = path.split('?')
  const service = /service=([\w-]+)/.exec(query)?.[1]
  const named = route
    .replace(/\/repos\/[^/]+\/[^/]+/, '/repos/{}')
    .replace(/^\/[^/]+\/[^/]+\.git\//, '/{}.git/')
    .replace(/\/(\d+|[0-9a-f]{40})(?=\/|$)/g, '/{}')
  return `${method} ${named}${service ? `?service=${service}` : ''}`
}
