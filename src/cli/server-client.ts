import type { ClientEnvironment } from '../environment.ts'
import { TowlineError } from '../rollout/error.ts'
import { startDeadline } from '../time/deadline.ts'

/** The API of a running server. An answer is taken for what the API describes: both come from one source. */
export type ServerClient = {
  url: string
  get<T>(path: string, options: { signal: AbortSignal }): Promise<T>
  post<T>(path: string, options: { signal: AbortSignal; timeoutMs?: number }): Promise<T>
}

/** Every failure is a TowlineError: `temporary` where nothing answers, `operator` where the server refuses. */
export function createServerClient({ serverUrl: url, apiToken }: ClientEnvironment): ServerClient {
  async function ask<T>(
    method: 'GET' | 'POST',
    path: string,
    { signal, timeoutMs = answerTimeoutMs }: { signal: AbortSignal; timeoutMs?: number },
  ): Promise<T> {
    using deadline = startDeadline({ signal, ms: timeoutMs })
    try {
      const answer = await fetch(url + path, {
        method,
        headers: apiToken === null ? {} : { authorization: `Bearer ${apiToken}` },
        // A server that sends us elsewhere must not get the token there.
        redirect: 'error',
        signal: deadline.signal,
      })
      const text = await readText(answer)
      if (!answer.ok) throw refused(url, answer.status, text)
      return parse(url, text)
    } catch (error) {
      if (signal.aborted) throw signal.reason
      if (error instanceof TowlineError) throw error
      throw new TowlineError(`no Towline answers at ${url}`, {
        fault: 'temporary',
        hint: 'Start it, or set TOWLINE_URL to where it listens.',
        cause: error,
      })
    }
  }

  return {
    url,
    get: (path, options) => ask('GET', path, options),
    post: (path, options) => ask('POST', path, options),
  }
}

async function readText(answer: Response): Promise<string> {
  const decoder = new TextDecoder()
  let text = ''
  for await (const chunk of answer.body ?? []) {
    text += decoder.decode(chunk, { stream: true })
    if (text.length > answerLimit) {
      throw new TowlineError(`the answer of ${answer.url} is longer than ${answerLimit} characters`, {
        fault: 'operator',
        hint: 'See that TOWLINE_URL is the address of a Towline.',
      })
    }
  }
  return text
}

function refused(url: string, status: number, text: string): TowlineError {
  const detail = detailOf(text)
  const hint =
    status === 401 || status === 403 ? 'Set TOWLINE_TOKEN to the token the server was started with.' : ''
  return new TowlineError(detail ?? `${url} answers with ${status}`, { fault: 'operator', hint })
}

/** What a problem document says; null for anything else, such as the page of a proxy. */
function detailOf(text: string): string | null {
  try {
    const { detail } = JSON.parse(text)
    return typeof detail === 'string' ? detail : null
  } catch {
    return null
  }
}

function parse<T>(url: string, text: string): T {
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new TowlineError(`what answers at ${url} is no Towline`, {
      fault: 'operator',
      hint: 'Correct TOWLINE_URL.',
      cause: error,
    })
  }
}

/** Everything but the trigger is answered from memory. */
const answerTimeoutMs = 15_000
/** Some ten thousand targets. */
const answerLimit = 64 * 1024 * 1024
