import { TowlineError } from '../rollout/error.ts'
import type { CallOptions, Engine } from './engine.ts'
import { frameDecoder } from './frames.ts'

/** `truncated` where there was more output than `maxBytes`; the rest was read and dropped. */
export type ExecResult = { exitCode: number; stdout: string; stderr: string; truncated: boolean }

const defaultMaxBytes = 1_048_576

/**
 * Runs a program in a running container, without a shell, and waits for its end. A program that outlives the deadline
 * runs on in the container: the Engine API cannot stop it.
 *
 * @throws TowlineError `temporary` where the container does not run or the connection broke before the program ended.
 */
export async function execInContainer(
  engine: Engine,
  command: { container: string; argv: readonly string[] },
  options: CallOptions & { maxBytes?: number },
): Promise<ExecResult> {
  const { container, argv } = command
  const maxBytes = options.maxBytes ?? defaultMaxBytes
  return engine.call(
    `Running ${argv[0]} in ${container}`,
    async (docker, signal) => {
      const exec = await docker.getContainer(container).exec({
        Cmd: [...argv],
        AttachStdout: true,
        AttachStderr: true,
        abortSignal: signal,
      })
      const stream = await exec.start({ hijack: false, stdin: false, abortSignal: signal })
      const output = await collect(stream, { signal, maxBytes })
      const { Running, ExitCode } = await exec.inspect({ abortSignal: signal })
      // The stream has no length: only the Engine knows whether it ended or was cut.
      if (Running || ExitCode === null) {
        throw new TowlineError(`The connection broke while ${argv[0]} ran in ${container}`, {
          fault: 'temporary',
        })
      }
      return { exitCode: ExitCode, ...output }
    },
    options,
  )
}

async function collect(
  stream: NodeJS.ReadableStream & { destroy(): void },
  options: { signal: AbortSignal; maxBytes: number },
): Promise<Omit<ExecResult, 'exitCode'>> {
  const decode = frameDecoder()
  const kept = { stdout: [] as Buffer[], stderr: [] as Buffer[] }
  let room = options.maxBytes
  let truncated = false
  const abort = () => stream.destroy()
  options.signal.addEventListener('abort', abort, { once: true })
  try {
    for await (const chunk of stream) {
      for (const frame of decode(chunk as Buffer)) {
        truncated ||= frame.content.length > room
        kept[frame.stream].push(frame.content.subarray(0, room))
        room = Math.max(0, room - frame.content.length)
      }
    }
  } finally {
    options.signal.removeEventListener('abort', abort)
  }
  return {
    stdout: Buffer.concat(kept.stdout).toString(),
    stderr: Buffer.concat(kept.stderr).toString(),
    truncated,
  }
}
