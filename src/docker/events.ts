import type { HostEvent, ResourceEvent } from '../engine/ports.ts'
import type { Engine } from './engine.ts'
import { appLabel, ownerLabel, previewLabel, repoLabel } from './labels.ts'
import { readJsonLines } from './lines.ts'

/** What may mean drift. `health_status` stands for all its values. Of networks and volumes only `destroy` comes. */
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
 * Calls back for each event of a container of ours, and where a network or volume with a name of ours is gone. Docker
 * tells no labels of those, so it cannot be asked for our owner label alone. Returns when the stream ends, breaks, stays silent for ten
 * minutes, or the signal aborts: events are hints, and whoever reads them looks at the host again anyway.
 *
 * @throws TowlineError `temporary` where the stream cannot be opened.
 */
export async function followEvents(
  engine: Engine,
  owner: string,
  options: { signal: AbortSignal; onOpen: () => void } & Listeners,
): Promise<void> {
  const { signal, onOpen } = options
  // The stream outlives the deadline of the call that opens it, so it has a signal of its own.
  const reading = new AbortController()
  const stopReading = AbortSignal.any([signal, reading.signal])
  try {
    const stream = await engine.call(
      'Opening the event stream',
      (docker) =>
        docker.getEvents({
          filters: { type: ['container', 'network', 'volume'], event: actions },
          abortSignal: stopReading,
        }),
      { signal },
    )
    onOpen()
    const lines = readJsonLines(stream, { signal: stopReading, idleTimeoutMs })
    await readEvents(lines, { owner, host: engine.name, listeners: options })
  } finally {
    reading.abort()
  }
}

type Listeners = {
  onEvent: (event: HostEvent) => void
  onResource?: (event: ResourceEvent) => void
}

async function readEvents(
  lines: AsyncIterable<unknown>,
  { owner, host, listeners }: { owner: string; host: string; listeners: Listeners },
): Promise<void> {
  const iterator = lines[Symbol.asyncIterator]()
  for (;;) {
    const next = await iterator.next().catch(() => null)
    if (next === null || next.done) return
    const message = next.value as EngineEvent
    const event = toHostEvent(message, { owner, host })
    if (event !== null) listeners.onEvent(event)
    const resource = toResourceEvent(message, host)
    if (resource !== null) listeners.onResource?.(resource)
  }
}

/** Source: Engine API, `GET /events`. */
type EngineEvent = {
  Type?: string
  Action?: string
  Actor?: { ID?: string; Attributes?: Record<string, string> }
}

/** null for a container that is not ours, or no target's. */
function toHostEvent(
  { Action, Actor }: EngineEvent,
  { owner, host }: { owner: string; host: string },
): HostEvent | null {
  const labels = Actor?.Attributes ?? {}
  const repo = labels[repoLabel]
  const app = labels[appLabel]
  if (labels[ownerLabel] !== owner || repo === undefined || app === undefined || Action === undefined) {
    return null
  }
  const preview = labels[previewLabel]
  return {
    host,
    repo,
    app,
    preview: preview ? Number(preview) : null,
    action: Action.replace(/:.*$/, ''),
  }
}

/** What every network and volume of ours is called. */
const namePrefix = 'towline-'

/** A network's name is an attribute, a volume's is its id. */
function toResourceEvent({ Type, Action, Actor }: EngineEvent, host: string): ResourceEvent | null {
  if (Action !== 'destroy' || (Type !== 'network' && Type !== 'volume')) return null
  const name = Type === 'network' ? Actor?.Attributes?.name : Actor?.ID
  return name?.startsWith(namePrefix) ? { host, kind: Type, action: Action, name } : null
}
