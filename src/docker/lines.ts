import { TowlineError } from '../rollout/error.ts'

/** A pull or event line is a few hundred bytes; labels can make an event some KiB long. */
const maxLineLength = 1_048_576

/**
 * The JSON values of a stream that has one a line, the last one with or without a line end. The stream is destroyed
 * when the signal aborts, when it says nothing for `idleTimeoutMs`, and when the reader leaves.
 *
 * @throws TowlineError `temporary` where a line is too long, is no JSON, or the stream is silent for too long; a cut
 *   stream's own error.
 */
export async function* readJsonLines(
  stream: NodeJS.ReadableStream,
  options: { signal: AbortSignal; idleTimeoutMs: number },
): AsyncGenerator<unknown, void, undefined> {
  const readable = stream as NodeJS.ReadableStream & { destroy(error?: Error): void }
  const { signal, idleTimeoutMs } = options
  const abort = () => readable.destroy(new Error('aborted', { cause: signal.reason }))
  const silence = new TowlineError(`The Docker Engine sent nothing for ${idleTimeoutMs / 1000} s`, {
    fault: 'temporary',
  })
  const fallSilent = () => readable.destroy(silence)
  let idle = setTimeout(fallSilent, idleTimeoutMs)
  signal.addEventListener('abort', abort, { once: true })
  try {
    const decoder = new TextDecoder()
    let buffered = ''
    for await (const chunk of readable) {
      clearTimeout(idle)
      idle = setTimeout(fallSilent, idleTimeoutMs)
      buffered += decoder.decode(chunk as Uint8Array, { stream: true })
      const lines = buffered.split('\n')
      buffered = lines.pop() ?? ''
      if (buffered.length > maxLineLength) {
        throw new TowlineError('The Docker Engine sent a line of more than 1 MiB', { fault: 'temporary' })
      }
      for (const line of lines) if (line.trim() !== '') yield parseLine(line)
    }
    if (buffered.trim() !== '') yield parseLine(buffered)
  } finally {
    clearTimeout(idle)
    signal.removeEventListener('abort', abort)
    readable.destroy()
  }
}

function parseLine(line: string): unknown {
  try {
    return JSON.parse(line)
  } catch (error) {
    throw new TowlineError(`The Docker Engine sent a line that is not JSON: ${line.slice(0, 80)}`, {
      fault: 'temporary',
      cause: error,
    })
  }
}
