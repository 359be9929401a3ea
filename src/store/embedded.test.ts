import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { afterEach, describe, expect, test } from 'vitest'
import type { Store } from '../engine/ports.ts'
import type { Damage } from './durable-file.ts'
import { type EmbeddedStoreOptions, openEmbeddedStore } from './embedded.ts'
import {
  exampleDelivery,
  exampleDeployment,
  exampleKey,
  exampleRepo,
  exampleTarget,
} from './examples.contract.ts'
import { frame } from './frame.ts'
import { digest } from './shard-folder.ts'
import { describeStore } from './store.contract.ts'

const cleanups: (() => Promise<unknown>)[] = []

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

describeStore('the embedded store', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'towline-store-'))
  let aheadMs = 0
  const open = () =>
    openEmbeddedStore({ folder, now: () => new Date(Date.now() + aheadMs), onDamage: failOnDamage })
  let store = await open()
  return {
    store,
    elapse: async (ms) => {
      aheadMs += ms
    },
    reopen: async () => {
      await store.close()
      store = await open()
      return store
    },
    dispose: async () => {
      await store.close()
      await rm(folder, { recursive: true })
    },
  }
})

describe('the embedded store on its disk', () => {
  test('keeps the record of a target when the file is damaged, from the version before, and reports it', async () => {
    const damages: [string, (file: string) => Promise<void>][] = [
      ['empty', (file) => truncate(file, 0)],
      ['cut short', async (file) => truncate(file, (await readFile(file)).length - 20)],
      ['cut inside the header', (file) => truncate(file, 30)],
      ['one bit flipped', (file) => flipBit(file, 200)],
      ['the version flipped', (file) => flipBit(file, '{"schema":'.length)],
      ['not text', (file) => writeFile(file, Buffer.from([0xff, 0x00, 0xfe]))],
    ]
    for (const [name, damage] of damages) {
      const folder = await newFolder()
      await withStore({ folder }, async (store) => {
        await store.updateTarget(exampleKey, () => counted(1))
        await store.updateTarget(exampleKey, () => counted(2))
      })
      const file = targetFile(folder)
      await damage(file)
      const damaged = await readFile(file)
      const reports: Damage[] = []
      await withStore({ folder, onDamage: (report) => reports.push(report) }, async (store) => {
        expect((await store.readTarget(exampleKey))?.healing?.failureCount, name).toBe(1)
        await store.updateTarget(exampleKey, () => counted(3))
      })
      expect(reports, name).toEqual([
        {
          file,
          movedTo: expect.stringMatching(/\.damaged-\d{4}-.*Z$/),
          reason: expect.stringContaining('the version before it is used'),
        },
      ])
      expect(await readFile(reports[0]?.movedTo ?? ''), name).toEqual(damaged)
      await withStore({ folder }, async (store) => {
        expect((await store.readTarget(exampleKey))?.healing?.failureCount, name).toBe(3)
      })
    }
  })

  test('goes on without a target of which no sound version is left, and reports each file', async () => {
    const folder = await newFolder()
    const otherKey = `${exampleKey}#12`
    await withStore({ folder }, async (store) => {
      await store.updateTarget(exampleKey, () => counted(1))
      await store.updateTarget(exampleKey, () => counted(2))
      await store.updateTarget(otherKey, () => exampleTarget({ key: otherKey }))
    })
    await truncate(targetFile(folder), 10)
    await truncate(`${targetFile(folder)}.bak`, 10)
    const reports: Damage[] = []
    await withStore({ folder, onDamage: (report) => reports.push(report) }, async (store) => {
      expect((await store.listTargets()).map(({ key }) => key)).toEqual([otherKey])
    })
    expect(reports.map(({ file }) => file)).toEqual([targetFile(folder), `${targetFile(folder)}.bak`])
    expect(reports[0]?.reason).toContain('no version before it is left')
  })

  test('finds the record of a process that was killed between its two renames', async () => {
    const folder = await newFolder()
    await withStore({ folder }, async (store) => {
      await store.updateTarget(exampleKey, () => counted(1))
      await store.updateTarget(exampleKey, () => counted(2))
    })
    await rm(targetFile(folder))
    await withStore({ folder }, async (store) => {
      expect((await store.readTarget(exampleKey))?.healing?.failureCount).toBe(1)
    })
  })

  test('refuses a newer schema and leaves the file as it is', async () => {
    const folder = await newFolder()
    await withStore({ folder }, (store) => store.updateTarget(exampleKey, () => counted(1)))
    const newer = frame(counted(1), 3)
    await writeFile(targetFile(folder), newer)
    await expect(openEmbeddedStore({ folder, onDamage: failOnDamage })).rejects.toMatchObject({
      fault: 'operator',
      message: expect.stringContaining('schema 3'),
    })
    expect(await readFile(targetFile(folder), 'utf8')).toBe(newer)
  })

  test('keeps its owner id when the installation file is damaged, and never repeats an epoch', async () => {
    const folder = await newFolder()
    const wanted = { holder: 'worker', ttlMs: 1_000 }
    const before = await withStore({ folder }, async (store) => ({
      owner: store.owner,
      epoch: (await store.claimTarget(exampleKey, wanted))?.epoch ?? 0,
    }))
    await flipBit(join(folder, 'installation.json'), 100)
    const reports: Damage[] = []
    await withStore({ folder, onDamage: (report) => reports.push(report) }, async (store) => {
      expect(store.owner).toBe(before.owner)
      expect((await store.claimTarget(exampleKey, wanted))?.epoch).toBeGreaterThan(before.epoch)
    })
    expect(reports).toHaveLength(1)
  })

  test('refuses to start, again and again, where the owner id was damaged beyond repair', async () => {
    const folder = await newFolder()
    await withStore({ folder }, async () => undefined)
    await truncate(join(folder, 'installation.json'), 5)
    await truncate(join(folder, 'installation.json.bak'), 5)
    for (const _ of [1, 2]) {
      await expect(openEmbeddedStore({ folder, onDamage: failOnDamage })).rejects.toMatchObject({
        fault: 'operator',
        hint: expect.stringContaining('backup'),
      })
    }
  })

  test('refuses to start where the owner id is gone though there are records', async () => {
    const folder = await newFolder()
    await withStore({ folder }, (store) => store.updateRepo('acme/config', () => exampleRepo()))
    await rm(join(folder, 'installation.json'))
    await rm(join(folder, 'installation.json.bak'))
    await expect(openEmbeddedStore({ folder, onDamage: failOnDamage })).rejects.toMatchObject({
      fault: 'operator',
      message: expect.stringContaining('missing'),
    })
  })

  test('goes on under the owner id asked for, but not with the records of another', async () => {
    const folder = await newFolder()
    const first = await withStore({ folder }, async ({ owner }) => owner)
    await withStore({ folder, owner: 'owner-of-before' }, async (store) => {
      expect(store.owner).toBe('owner-of-before')
      await store.updateRepo('acme/config', () => exampleRepo())
    })
    await withStore({ folder, owner: 'owner-of-before' }, async () => undefined)
    await expect(openEmbeddedStore({ folder, owner: first, onDamage: failOnDamage })).rejects.toMatchObject({
      fault: 'operator',
      message: expect.stringContaining('owner-of-before'),
    })
  })

  test('gives no epoch twice beyond one reservation, also to many who ask at once and after a restart', async () => {
    const folder = await newFolder()
    const epochs = await withStore({ folder }, async (store) => {
      const keys = Array.from({ length: 2_500 }, (_, index) => `${exampleKey}#${index + 1}`)
      const claims = await Promise.all(
        keys.map((key) => store.claimTarget(key, { holder: 'w', ttlMs: 1_000 })),
      )
      return claims.map((claim) => claim?.epoch ?? 0)
    })
    expect(new Set(epochs).size).toBe(2_500)
    await withStore({ folder }, async (store) => {
      const claim = await store.claimTarget(exampleKey, { holder: 'w', ttlMs: 1_000 })
      expect(claim?.epoch).toBeGreaterThan(Math.max(...epochs))
    })
  })

  test('removes what a killed process left half-written', async () => {
    const folder = await newFolder()
    await withStore({ folder }, (store) => store.updateTarget(exampleKey, () => counted(1)))
    await writeFile(`${targetFile(folder)}.0000.tmp`, '{"schema":1')
    await withStore({ folder }, async (store) => {
      expect(await store.listTargets()).toHaveLength(1)
    })
    expect((await readdir(join(folder, 'targets'))).filter((name) => name.endsWith('.tmp'))).toEqual([])
  })

  test('lets memory never run ahead of a disk that fails, and goes on when it is back', async () => {
    const folder = await newFolder()
    await withStore({ folder }, async (store) => {
      await store.updateTarget(exampleKey, () => counted(1))
      await rm(join(folder, 'targets'), { recursive: true })
      await writeFile(join(folder, 'targets'), 'a file where the folder should be')
      const failed = await Promise.allSettled([
        store.updateTarget(exampleKey, () => counted(2)),
        store.updateTarget(exampleKey, () => counted(3)),
        store.deleteTarget(exampleKey),
      ])
      for (const outcome of failed) {
        expect(outcome).toMatchObject({ status: 'rejected', reason: { fault: 'operator' } })
      }
      expect((await store.readTarget(exampleKey))?.healing?.failureCount).toBe(1)

      await rm(join(folder, 'targets'))
      await rm(join(folder, 'deliveries'), { recursive: true })
      const delivery = exampleDelivery('guid-1')
      const added = await Promise.allSettled([store.addDelivery(delivery), store.addDelivery(delivery)])
      expect(added.map(({ status }) => status)).toEqual(['rejected', 'rejected'])
      expect(await store.pendingDeliveries()).toEqual([])
    })
    await withStore({ folder }, async (store) => {
      await store.updateTarget(exampleKey, () => counted(4))
      expect((await store.readTarget(exampleKey))?.healing?.failureCount).toBe(4)
    })
  })

  test('says what is wrong with a folder that cannot be one', async () => {
    const file = join(await newFolder(), 'file')
    await writeFile(file, '')
    for (const folder of [file, join(file, 'below')]) {
      await expect(openEmbeddedStore({ folder, onDamage: failOnDamage })).rejects.toMatchObject({
        fault: 'operator',
      })
    }
  })

  test('keeps its files from other users of the machine', async () => {
    const folder = await newFolder()
    await withStore({ folder }, (store) => store.updateTarget(exampleKey, () => counted(1)))
    expect((await stat(targetFile(folder))).mode & 0o777).toBe(0o600)
    expect((await stat(join(folder, 'targets'))).mode & 0o777).toBe(0o700)
  })

  test('forgets processed deliveries after three days, and never a pending one', async () => {
    const folder = await newFolder()
    let aheadMs = 0
    const now = () => new Date(Date.parse('2026-11-21T10:00:00Z') + aheadMs)
    await withStore({ folder, now }, async (store) => {
      for (const guid of ['old', 'pending', 'new']) await store.addDelivery(exampleDelivery(guid))
      await store.completeDelivery('old')
      aheadMs = 3 * 24 * 60 * 60 * 1_000 + 1
      await store.completeDelivery('new')
      expect(await store.addDelivery(exampleDelivery('new'))).toBe('duplicate')
      expect(await store.addDelivery(exampleDelivery('pending'))).toBe('duplicate')
    })
    expect(await readdir(join(folder, 'deliveries'))).toHaveLength(2)
  })

  test('refuses a second process and names the first', async () => {
    const folder = await newFolder()
    const first = await startWriter(folder)
    await expect(openEmbeddedStore({ folder, onDamage: failOnDamage })).rejects.toMatchObject({
      fault: 'operator',
      message: expect.stringContaining(`process ${first.process.pid} on host `),
    })
    await first.kill()
  })

  test('refuses a second store in one process', async () => {
    const folder = await newFolder()
    await withStore({ folder }, async () => {
      await expect(openEmbeddedStore({ folder, onDamage: failOnDamage })).rejects.toMatchObject({
        fault: 'operator',
      })
    })
    await withStore({ folder }, async () => undefined)
  })

  test('is free again after a start that failed', async () => {
    const folder = await newFolder()
    await withStore({ folder }, (store) => store.updateTarget(exampleKey, () => counted(1)))
    const sound = await readFile(targetFile(folder))
    await writeFile(targetFile(folder), frame(counted(1), 3))
    await expect(openEmbeddedStore({ folder, onDamage: failOnDamage })).rejects.toThrow()
    await writeFile(targetFile(folder), sound)
    await withStore({ folder }, async (store) => expect(await store.listTargets()).toHaveLength(1))
  })

  test('loses nothing acknowledged and damages no file when killed 15 times while writing', async () => {
    const folder = await newFolder()
    const delivered = new Set<string>()
    let acknowledged = 0
    for (let kill = 0; kill < 15; kill++) {
      // The lock of the process killed before must not stand in the way of this one.
      const writer = await startWriter(folder)
      expect(writer.found).toBeGreaterThanOrEqual(acknowledged)
      // The writer is some writes further by the time it dies, at another point of a write each time.
      await writer.stored(3 + kill * 2)
      await writer.kill()
      acknowledged = writer.lastStored()
      for (const guid of writer.delivered()) delivered.add(guid)
    }
    await withStore({ folder }, async (store) => {
      expect((await store.readTarget(exampleKey))?.healing?.failureCount).toBeGreaterThanOrEqual(acknowledged)
      const pending = new Set((await store.pendingDeliveries()).map(({ guid }) => guid))
      expect([...delivered].filter((guid) => !pending.has(guid))).toEqual([])
    })
    const files = await readdir(folder, { recursive: true })
    expect(files.filter((name) => /damaged|\.tmp$/.test(name))).toEqual([])
  }, 60_000)
})

function counted(failureCount: number) {
  return exampleTarget({
    deployments: [exampleDeployment('d1')],
    healing: { failureCount, notBefore: '', lastDrift: [], lastHealedAt: null, healedAt: {}, degraded: null },
  })
}

async function newFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'towline-store-'))
  cleanups.push(() => rm(folder, { recursive: true }))
  return folder
}

async function withStore<T>(
  options: Partial<EmbeddedStoreOptions> & { folder: string },
  work: (store: Store) => Promise<T>,
): Promise<T> {
  const store = await openEmbeddedStore({ onDamage: failOnDamage, ...options })
  try {
    return await work(store)
  } finally {
    await store.close()
  }
}

function failOnDamage({ file, reason }: Damage): never {
  throw new Error(`${file} is damaged: ${reason}`)
}

function targetFile(folder: string): string {
  return join(folder, 'targets', `${digest(exampleKey)}.json`)
}

async function flipBit(file: string, at: number): Promise<void> {
  const bytes = await readFile(file)
  bytes.writeUInt8(bytes.readUInt8(at) ^ 2, at)
  await writeFile(file, bytes)
}

/** Starts a process that writes without end, and resolves once it has opened the store. */
async function startWriter(folder: string) {
  const child: ChildProcess = spawn(
    process.execPath,
    [fileURLToPath(new URL('./crash-writer.child.ts', import.meta.url)), folder],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  )
  const exited = once(child, 'exit')
  const kill = async () => {
    child.kill('SIGKILL')
    await exited
    await drained
  }
  cleanups.push(kill)
  const lines: string[] = []
  if (!child.stdout) throw new Error('The writer has no output')
  const reader = createInterface({ input: child.stdout })
  const drained = once(reader, 'close')
  reader.on('line', (line) => lines.push(line))
  const said = async (count: number, word: string) => {
    while (lines.filter((line) => line.startsWith(word)).length < count) {
      const [event] = await Promise.race([once(reader, 'line'), exited.then(() => ['exited'])])
      if (event === 'exited') throw new Error(`The writer ended early: ${lines.at(-1)}`)
    }
  }
  const values = (word: string) =>
    lines.filter((line) => line.startsWith(word)).map((line) => line.slice(word.length + 1))
  await said(1, 'open')
  const found = Number(values('open')[0])
  return {
    process: child,
    found,
    stored: (count: number) => said(count, 'stored'),
    lastStored: () => Number(values('stored').at(-1)),
    delivered: () => values('delivered'),
    kill,
  }
}
