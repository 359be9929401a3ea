import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { frame, unframe } from './frame.ts'

describe('a framed document', () => {
  test('is read back as it was written, whatever it holds', () => {
    fc.assert(
      fc.property(fc.jsonValue({ stringUnit: 'binary' }), (value) => {
        // Through JSON once: -0 is written as 0.
        const document = JSON.parse(JSON.stringify(value))
        expect(unframe(frame(document, 1), 1)).toEqual({ kind: 'sound', schema: 1, document })
      }),
    )
  })

  test('is never taken for sound once it was cut anywhere', () => {
    const text = frame({ key: 'acme/config:shop@web-1', count: 3 }, 1)
    for (let length = 0; length < text.length; length++) {
      expect(unframe(text.slice(0, length), 1).kind).toBe('damaged')
    }
  })

  test('is never taken for sound, or for newer, once one bit was flipped anywhere', () => {
    const bytes = Buffer.from(frame({ key: 'acme/config:shop@web-1', name: 'größe' }, 1))
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const flipped = Buffer.from(bytes)
      flipped.writeUInt8(flipped.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3)
      expect(unframe(flipped.toString('utf8'), 1).kind).toBe('damaged')
    }
  })

  test('of a newer schema is known as such, an older one is read', () => {
    expect(unframe(frame({}, 3), 2)).toEqual({ kind: 'newer', schema: 3 })
    expect(unframe(frame({}, 1), 2)).toEqual({ kind: 'sound', schema: 1, document: {} })
  })
})
