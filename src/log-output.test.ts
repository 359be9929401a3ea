import { closeSync, openSync, readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { expect, test } from 'vitest'
import { logOutput } from './log-output.ts'

test('lines are written whole, one after another', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'towline-log-'))
  const file = join(folder, 'log')
  const fd = openSync(file, 'w')
  const log = pino({}, logOutput(fd))
  log.info('first')
  log.warn({ text: 'ü'.repeat(100_000) }, 'second')
  closeSync(fd)
  const lines = readFileSync(file, 'utf8').trimEnd().split('\n')
  expect(lines.map((line) => JSON.parse(line).msg)).toEqual(['first', 'second'])
  await rm(folder, { recursive: true })
})

test('a full disk costs lines and nothing else', () => {
  const fd = openSync('/dev/full', 'w')
  const log = pino({}, logOutput(fd))
  for (let count = 0; count < 100; count += 1) expect(() => log.info('lost')).not.toThrow()
  closeSync(fd)
})

test('what was dropped is counted in the next line that fits', () => {
  const written: string[] = []
  let isFull = true
  const output = logOutput(1, (_fd, bytes, from) => {
    if (isFull) throw Object.assign(new Error('no space left on device'), { code: 'ENOSPC' })
    // A few bytes at a time, as a pipe may take them.
    const part = bytes.subarray(from, from + 7)
    written.push(part.toString())
    return part.length
  })
  output.write('lost\n')
  output.write('lost\n')
  isFull = false
  output.write('kept\n')
  const [note = '', kept] = written.join('').trimEnd().split('\n')
  expect(JSON.parse(note)).toMatchObject({ level: 40, msg: '2 log lines could not be written' })
  expect(kept).toBe('kept')
})
