import { spawn } from 'node:child_process'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { countWrites } from './counted-writes.ts'

const preamble = `
import { rename, rm, writeFile } from 'node:fs/promises'
const data = process.env.TOWLINE_DATA
`

/** Writes twice as the store does, then removes one of them. */
const storing = `
for (const name of ['one', 'two']) {
  await writeFile(data + '/' + name + '.tmp', 'content')
  await rename(data + '/' + name + '.tmp', data + '/' + name)
}
await rm(data + '/one')
await writeFile(process.env.ELSEWHERE, 'not counted')
`

test('counts the changes below the data folder and no others', async () => {
  await using scene = await startScene()
  scene.counted.count()
  expect(await scene.run()).toBe(0)
  expect(scene.counted.writes()).toEqual([
    'writeFile one.tmp',
    'rename one',
    'writeFile two.tmp',
    'rename two',
    'rm one',
  ])
  expect(await readdir(scene.data)).toEqual(['two'])
})

test.each([
  [2, 'before', ['one.tmp']],
  [2, 'after', ['one']],
  [4, 'before', ['one', 'two.tmp']],
  [5, 'before', ['one', 'two']],
  [5, 'after', ['two']],
] as const)('dies at change %i, %s it is made', async (n, moment, left) => {
  await using scene = await startScene()
  scene.counted.count({ n, moment })
  expect(await scene.run()).toBe('SIGKILL')
  expect((await readdir(scene.data)).sort()).toEqual(left)
})

test('dies in the middle of a file that is written in place', async () => {
  await using scene = await startScene()
  scene.counted.count({ n: 1, moment: 'before' })
  expect(await scene.run()).toBe('SIGKILL')
  expect(await readFile(join(scene.data, 'one.tmp'), 'utf8')).toBe('con')
})

test('dies after a change that fails, too', async () => {
  await using scene = await startScene()
  scene.counted.count({ n: 1, moment: 'after' })
  expect(await scene.run(`await rename(data + '/missing', data + '/other').catch(() => {})`)).toBe('SIGKILL')
})

test('does nothing while nothing is counted', async () => {
  await using scene = await startScene()
  scene.counted.count({ n: 1, moment: 'before' })
  scene.counted.clear()
  expect(await scene.run()).toBe(0)
  expect(scene.counted.writes()).toEqual([])
})

async function startScene() {
  const data = await mkdtemp(join(tmpdir(), 'towline-counted-'))
  const elsewhere = await mkdtemp(join(tmpdir(), 'towline-counted-'))
  const counted = await countWrites()
  return {
    data,
    counted,
    async run(program = storing): Promise<number | NodeJS.Signals | null> {
      const file = join(elsewhere, 'program.mjs')
      await writeFile(file, preamble + program)
      const child = spawn(process.execPath, [file], {
        env: { ...counted.environment, TOWLINE_DATA: data, ELSEWHERE: join(elsewhere, 'file') },
        stdio: 'inherit',
      })
      return new Promise((resolve) => child.once('exit', (code, signal) => resolve(signal ?? code)))
    },
    async [Symbol.asyncDispose]() {
      await counted[Symbol.asyncDispose]()
      await rm(data, { recursive: true, force: true })
      await rm(elsewhere, { recursive: true, force: true })
    },
  }
}
