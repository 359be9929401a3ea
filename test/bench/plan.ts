import { execFile } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { passRepo } from '../../src/engine/config-pass.ts'
import { createSpecReader } from '../../src/engine/spec-reader.ts'
import { openMirror } from '../../src/repo/mirror.ts'
import { openEmbeddedStore } from '../../src/store/embedded.ts'
import { createBareRepo, openWorkTree, startGitServer } from '../support/git-server.ts'
import { type Figure, interleave, timed } from './measure.ts'

const execFileText = promisify(execFile)
const repo = 'acme/config'
const branch = 'main'
const token = 'bench'
const specCount = 5_000

/** From a moved branch to the one deployment it asks for, in a repo of 5,000 specs. */
export async function benchPlan(): Promise<Figure[]> {
  await using server = await startGitServer({ token })
  await using work = await openWorkTree({ remote: await createBareRepo(server.root, repo), branch })
  const all = Array.from({ length: specCount }, (_, index) => [pathOf(index), spec(index, 0)] as const)
  await work.commit({ write: Object.fromEntries(all) })
  await work.push()
  const folder = await mkdtemp(join(tmpdir(), 'towline-bench-plan-'))
  try {
    const native = await cloneNatively(server.url(repo), join(folder, 'native'))
    await using towline = await openTowline(server.url(repo), folder)
    await towline.look()
    const sides = await interleave(
      { rounds: 15, warmUps: 3 },
      {
        measured: async (round) => {
          await change(2 * round)
          const before = towline.wished()
          const tookMs = await timed(() => towline.look())
          if (towline.wished() !== before + 1)
            throw new Error('the plan did not name exactly the changed app')
          return tookMs
        },
        floor: async (round) => {
          await change(2 * round + 1)
          const tookMs = await timed(() => native.fetchAndDiff())
          await towline.look()
          return tookMs
        },
      },
    )
    return [
      {
        name: 'plan, 1 of 5,000 specs changed ÷ git fetch + diff',
        unit: 'ms',
        goal: 3,
        ...sides,
        method:
          'from asking the git server over HTTP for the head to the changed deployment queued in the store; floor: `git fetch` and `git diff --name-only` in a native clone of the same repository',
      },
    ]
  } finally {
    await rm(folder, { recursive: true, force: true })
  }

  /** Pushes a change of one spec, another one each time. */
  async function change(number: number): Promise<void> {
    const index = (number * 997) % specCount
    await work.commit({ write: { [pathOf(index)]: spec(index, number + 1) } })
    await work.push()
  }
}

/** The parts of Towline that turn a moved branch into queued deployments, with a real mirror and a real store. */
async function openTowline(url: string, folder: string) {
  const mirror = await openMirror({
    folder: join(folder, 'mirror'),
    ...{ repo, url, branch },
    token: async () => token,
  })
  const onDamage = ({ file }: { file: string }) => {
    throw new Error(`${file} is damaged`)
  }
  const store = await openEmbeddedStore({ folder: join(folder, 'store'), onDamage })
  let wishCount = 0
  const parts = {
    store,
    specs: createSpecReader({ hosts: ['local'], bindMounts: [] }),
    siteServer: { image: 'caddy:2-alpine', command: ['caddy', 'file-server'] },
    deadlineMs: 1_800_000,
    onWish: () => {
      wishCount += 1
    },
    onRevision: () => {},
  }
  return {
    wished: () => wishCount,
    look: () =>
      passRepo(parts, { repo, branch, mirror }, { force: false, signal: AbortSignal.timeout(lookTimeoutMs) }),
    async [Symbol.asyncDispose]() {
      await mirror.close()
      await store.close()
    },
  }
}

async function cloneNatively(url: string, folder: string) {
  const credentials = Buffer.from(`x-access-token:${token}`).toString('base64')
  const git = (args: string[]) =>
    execFileText('git', ['-c', `http.extraHeader=Authorization: Basic ${credentials}`, ...args], {
      env: { ...process.env, GIT_CONFIG_GLOBAL: '/dev/null', GIT_CONFIG_NOSYSTEM: '1' },
      timeout: lookTimeoutMs,
    })
  await git(['clone', '--quiet', '--bare', '--depth', '1', url, folder])
  return {
    async fetchAndDiff() {
      await git(['-C', folder, 'fetch', '--quiet', 'origin', branch])
      const { stdout } = await git(['-C', folder, 'diff', '--name-only', branch, 'FETCH_HEAD'])
      if (stdout.trim() === '') throw new Error('git found nothing changed')
      await git(['-C', folder, 'update-ref', `refs/heads/${branch}`, 'FETCH_HEAD'])
    },
  }
}

function pathOf(index: number): string {
  return `apps/${String(index % 50).padStart(2, '0')}/app-${index}.yaml`
}

function spec(index: number, revision: number): string {
  return `apiVersion: towline/v1
kind: Service
name: app-${index}
image: nginx:1.27
ports: ["80"]
environment: { REVISION: "${revision}" }
`
}

/** The first look stores 5,000 targets, each durably. */
const lookTimeoutMs = 300_000
