import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { newTarget } from '../../src/engine/config-pass.ts'
import type { Store } from '../../src/engine/ports.ts'
import type { TargetRecord } from '../../src/engine/records.ts'
import { queueDeployment } from '../../src/rollout/deployment.ts'
import { openEmbeddedStore } from '../../src/store/embedded.ts'
import { type Figure, interleave, timed } from './measure.ts'

/** One durable write beside 1,000 apps against the same write beside 10. */
export async function benchStore(): Promise<Figure[]> {
  await using many = await openFilled(1_000)
  await using few = await openFilled(10)
  const sides = await interleave(
    { rounds: 300, warmUps: 20 },
    { measured: (round) => write(many.store, round), floor: (round) => write(few.store, round) },
  )
  return [
    {
      name: 'store write: 1,000 apps ÷ 10 apps',
      unit: 'ms',
      goal: 1.1,
      ...sides,
      method:
        'one changed record of ten deployments, durable (written, fsynced, renamed, folder fsynced); the goal is "the same", 1.1 allows for noise',
    },
  ]
}

async function write(store: Store, round: number): Promise<number> {
  return timed(() =>
    store.updateTarget(keyOf(round % 10), (stored) => {
      if (!stored) throw new Error('the record is gone')
      return { ...stored, attempted: { deploymentId: 'd', specHash: String(round), attempt: round } }
    }),
  )
}

async function openFilled(count: number): Promise<AsyncDisposable & { store: Store }> {
  const folder = await mkdtemp(join(tmpdir(), 'towline-bench-store-'))
  const onDamage = ({ file }: { file: string }) => {
    throw new Error(`${file} is damaged`)
  }
  const store = await openEmbeddedStore({ folder, onDamage })
  for (let index = 0; index < count; index += 1) await store.updateTarget(keyOf(index), () => record(index))
  return {
    store,
    async [Symbol.asyncDispose]() {
      await store.close()
      await rm(folder, { recursive: true, force: true })
    },
  }
}

function record(index: number): TargetRecord {
  const key = keyOf(index)
  const deployments = Array.from({ length: 10 }, (_, number) =>
    queueDeployment({
      id: `d-${index}-${number}`,
      target: key,
      commit: 'c'.repeat(40),
      specHash: 'f'.repeat(64),
      attempt: number + 1,
      trigger: 'push',
      now: new Date(0).toISOString(),
      deadlineAt: new Date(0).toISOString(),
    }),
  )
  return {
    ...newTarget(key, { repo: 'acme/config', app: `app-${index}`, host: 'local', preview: null }),
    deployments,
  }
}

function keyOf(index: number): string {
  return `acme/config:app-${index}@local`
}
