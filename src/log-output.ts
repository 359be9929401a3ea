import { writeSync } from 'node:fs'

/** As much of a stream as pino needs. */
type LogOutput = { write(line: string): void }

/**
 * Writes log lines to a file descriptor and never fails: where the disk behind it is full, or nobody reads it any more, lines
 * are dropped, and it goes on once there is room. pino's own output ends the process there, or hangs in its exit
 * (measured with pino 10.4 on `/dev/full`). What was dropped is said in the next line that fits.
 */
export function logOutput(
  fd: number,
  write: (fd: number, bytes: Buffer, from: number) => number = writeSync,
): LogOutput {
  let droppedCount = 0

  function tryWrite(text: string): boolean {
    const bytes = Buffer.from(text)
    let from = 0
    for (let attempt = 0; attempt < attemptLimit; attempt += 1) {
      try {
        from += write(fd, bytes, from)
        if (from >= bytes.length) return true
      } catch (error) {
        if ((error as { code?: unknown }).code !== 'EAGAIN') return false
        // A pipe that is full for a moment: whoever reads it needs a breath.
        Atomics.wait(pause, 0, 0, pauseMs)
      }
    }
    return false
  }

  return {
    write(line) {
      if (droppedCount > 0) {
        const note = {
          level: warnLevel,
          time: Date.now(),
          msg: `${droppedCount} log lines could not be written`,
        }
        if (!tryWrite(`${JSON.stringify(note)}\n`)) {
          droppedCount += 1
          return
        }
        droppedCount = 0
      }
      if (!tryWrite(line)) droppedCount += 1
    },
  }
}

const pause = new Int32Array(new SharedArrayBuffer(4))
const pauseMs = 2
/** A tenth of a second in all; a line is not worth more. */
const attemptLimit = 50
/** pino's number for `warn`. */
const warnLevel = 40
