import { TowlineError } from '../rollout/error.ts'

export type Frame = { stream: 'stdout' | 'stderr'; content: Buffer }

const headerLength = 8

/**
 * Takes Docker's multiplexed output apart, chunk by chunk: each frame is a header (stream, three zeros, length as
 * 32 bits big-endian) and that many bytes. Content is passed on as it arrives, so a frame may come in pieces and
 * nothing is held back but a header. Source: Engine API, `ContainerAttach`, "Stream format".
 *
 * @throws TowlineError `temporary` where the bytes are no frames.
 */
export function frameDecoder(): (chunk: Buffer) => Frame[] {
  let header = Buffer.alloc(0)
  let stream: Frame['stream'] = 'stdout'
  let remaining = 0
  return (chunk) => {
    const frames: Frame[] = []
    let rest = chunk
    while (rest.length > 0) {
      if (remaining > 0) {
        const content = rest.subarray(0, remaining)
        frames.push({ stream, content })
        remaining -= content.length
        rest = rest.subarray(content.length)
        continue
      }
      const missing = headerLength - header.length
      header = Buffer.concat([header, rest.subarray(0, missing)])
      rest = rest.subarray(missing)
      if (header.length < headerLength) break
      stream = streamOf(header)
      remaining = header.readUInt32BE(4)
      header = Buffer.alloc(0)
    }
    return frames
  }
}

function streamOf(header: Buffer): Frame['stream'] {
  const number = header.readUInt8(0)
  if (number > 2 || header.readUIntBE(1, 3) !== 0) {
    throw new TowlineError(`Output of a container is not in frames: it begins ${header.toString('hex')}`, {
      fault: 'temporary',
    })
  }
  return number === 2 ? 'stderr' : 'stdout'
}
