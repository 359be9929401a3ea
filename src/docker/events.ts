import type { HostEvent } from '../engine/ports.ts'
import type { Engine } from './engine.ts'
import { appLabel, ownerLabel, previewLabel, repoLabel } from './labels.ts'
import { readJsonLines } from './lines.ts'

/** What may mean drift. `health_status` stands for all its values. */
const actions = [
  'die',
  'stop',
  'kill',
  'destroy',
  'oom',
  'health_status',
  'start',
  'update',
  'rename',
  'pause',
  'unpause',
]

/** A connection that was cut without a word looks like a quiet host; after this long the caller opens a new one. */
const idleTimeoutMs = 10 * 60_000

/**
 * Calls back for each event of a container of ours. Returns when the stream ends, breaks, stays silent for ten
 * minutes, or the signal aborts: events are hints, and whoever reads them looks at the host again anyway.
 *
 * @throws TowlineError `temporary` where the stream cannot be opened.
 */
export async function followEvents(
  engine: Engine,
  owner: string,
  options: { signal: AbortSignal; onOpen: () => void; onEvent: (event: HostEvent) => void },
): Promise<void> {
  const { signal, onOpen, onEvent } = options
  // The stream outlives the deadline of the call that opens it, so it has a signal of its own.
  const reading = new AbortController()
  const stopReading = AbortSignal.any([signal, reading.signal])
  try {
    const stream = await engine.call(
      'Opening the event stream',
      (docker) =>
        docker.getEvents({
          filters: { type: ['container'], label: [`${ownerLabel}=${owner}`], event: actions },
          abortSignal: stopReading,
        }),
      { signal },
    )
    onOpen()
    await readEvents(readJsonLines(stream, { signal: stopReading, idleTimeoutMs }), engine.name, onEvent)
  } finally {
    reading.abort()
  }
}

async function readEvents(
  lines: AsyncIterable<unknown>,
  host: string,
  onEvent: (event: HostEvent) => void,
): Promise<void> {
  const iterator = lines[Symbol.asyncIterator]()
  for (;;) {
    const next = await iterator.next().catch(() => null)
    if (next === null || next.done) return
    const event = toHostEvent(next.value, host)
    if (event !== null) onEvent(event)
  }
}

/** null for a container that is no target's. Source: Engine API, `GET /events`. */
function toHostEvent(value: unknown, host: string): HostEvent | null {
  const { Action, Actor } = value as { Action?: string; Actor?: { Attributes?: Record<string, string> } }
  const labels = Actor?.Attributes ?? {}
  const repo = labels[repoLabel]
  const app = labels[appLabel]
  if (repo === undefined || app === undefined || Action === undefined) return null
  const preview = labels[previewLabel]
  return {
    host,
    repo,
    app,
    preview: preview ? Number(preview) : null,
    action: Action.replace(/:.*$/, ''),
  }
}
