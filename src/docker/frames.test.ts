import { expect, test } from 'vitest'
import { type Frame, frameDecoder } from './frames.ts'

function frame(stream: number, text: string): Buffer {
  const content = Buffer.from(text)
  const header = Buffer.alloc(8)
  header.writeUInt8(stream, 0)
  header.writeUInt32BE(content.length, 4)
  return Buffer.concat([header, content])
}

function joined(frames: readonly Frame[]): { stdout: string; stderr: string } {
  const of = (stream: Frame['stream']) =>
    Buffer.concat(frames.filter((found) => found.stream === stream).map(({ content }) => content)).toString()
  return { stdout: of('stdout'), stderr: of('stderr') }
}

const output = Buffer.concat([frame(1, 'grüße\n'), frame(2, 'oh no\n'), frame(1, ''), frame(1, 'end')])

test('frames come out the same wherever the chunks are cut', () => {
  for (let cut = 0; cut <= output.length; cut += 1) {
    const decode = frameDecoder()
    const frames = [...decode(output.subarray(0, cut)), ...decode(output.subarray(cut))]
    expect(joined(frames)).toEqual({ stdout: 'grüße\nend', stderr: 'oh no\n' })
  }
})

test('a hundred thousand frames in one chunk need no stack', () => {
  const many = Buffer.concat(Array.from({ length: 100_000 }, () => frame(1, 'x')))
  expect(joined(frameDecoder()(many)).stdout).toHaveLength(100_000)
})

test('bytes that are no frames are refused', () => {
  expect(() => frameDecoder()(Buffer.from('plain text of a terminal'))).toThrow(/not in frames/)
})
