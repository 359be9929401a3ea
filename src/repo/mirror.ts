import { addAbortListener } from 'node:events'
import fs from 'node:fs'
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import git from 'isomorphic-git'
import PQueue from 'p-queue'
import type { Mirror } from '../engine/ports.ts'
import { TowlineError } from '../rollout/error.ts'
import { cancelledError, storageError } from './failure.ts'
import { parseCommit, parseTree, type TreeLine } from './git-object.ts'
import { DamagedPack, ObjectTooLarge, openPacks, type Packs, type StoredObject } from './packs.ts'
import { connectRemote } from './remote.ts'
import { createTreeCache } from './tree-cache.ts'
import { findTree, listTree } from './tree-walk.ts'

type MirrorLimits = {
  /** What one transfer may bring. isomorphic-git holds a pack in memory, several times over while it indexes. */
  packBytes: number
  /** Files and folders of one commit. */
  entries: number
}

export type MirrorOptions = {
  /** Belongs to this mirror alone. */
  folder: string
  /** `owner/name`, for messages. */
  repo: string
  /** Without credentials. */
  url: string
  branch: string
  /** A valid installation token. Asked before each call to the server, kept nowhere; `renew` where it was refused. */
  token: (options: { signal: AbortSignal; renew?: boolean }) => Promise<string>
  limits?: Partial<MirrorLimits>
  /** Deadline of one call to the server. */
  timeoutMs?: number
}

/**
 * Opens the mirror of one branch: git objects without a work tree, on disk, fetched with isomorphic-git. Nothing is
 * asked of the server yet. A mirror that is half written, or of another URL or branch, is removed here.
 *
 * Calls may overlap: those that change the mirror wait for each other, reads go on meanwhile. A commit the mirror
 * lacks is fetched by its id. Errors are TowlineErrors: `operator` where the token was refused or the repository is
 * gone, `input` beyond a limit, `temporary` for the network and for a commit nobody has any more.
 */
export async function openMirror(options: MirrorOptions): Promise<Mirror & { close(): Promise<void> }> {
  const { folder, repo, url, branch } = options
  const limits = { ...defaultLimits, ...options.limits }
  const remote = connectRemote({
    ...{ repo, url, branch, token: options.token },
    ...{ timeoutMs: options.timeoutMs ?? defaultTimeoutMs, maxPackBytes: limits.packBytes },
  })
  const closing = new AbortController()
  const changes = new PQueue({ concurrency: 1 })
  const trees = createTreeCache()
  await mkdir(folder, { recursive: true })
  /** Newest first. The one before stays until the next swap: work in flight may still read commits only it has. */
  let generations = await findGenerations(folder, { url, branch })

  /** One change of the mirror at a time. An abort frees the caller at once; the next change waits for the cleaning up. */
  async function change<T>(signal: AbortSignal, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const both = AbortSignal.any([signal, closing.signal])
    const aborted = Promise.withResolvers<never>()
    using _listener = addAbortListener(both, () => aborted.reject(both.reason))
    const changed = changes.add(async () => {
      both.throwIfAborted()
      return await work(both)
    })
    try {
      return await Promise.race([changed, aborted.promise])
    } catch (error) {
      if (both.aborted) throw cancelledError(repo, both)
      throw error instanceof TowlineError ? error : storageError(repo, error)
    }
  }

  async function update(signal: AbortSignal): Promise<string | null> {
    const current = generations[0]
    if (current === undefined || !(await isWhole(current))) return await cloneAnew(signal)
    if (current.packs.count() >= maxPackCount) return await cloneAnew(signal)
    try {
      const head = await remote.fetchBranch(current.gitdir, { signal })
      if (head === null) return null
      await current.packs.refresh()
      if (!(await isFastForward(current, head))) return await cloneAnew(signal)
      await moveHead(current, { branch, head })
      return head
    } catch (error) {
      // A long history may be too large where its newest commit alone is not.
      const mayFit = error instanceof TowlineError && error.fault === 'input'
      if (mayFit || error instanceof DamagedPack) return await cloneAnew(signal)
      throw error
    }
  }

  /** Fetches into a folder of its own and takes it into use once it is whole. */
  async function cloneAnew(signal: AbortSignal): Promise<string | null> {
    const number = (generations[0]?.number ?? 0) + 1
    const gitdir = join(folder, `${generationPrefix}${number}`)
    const fresh = await clone({ number, gitdir }, signal).catch(async (error: unknown) => {
      await rm(gitdir, { recursive: true, force: true })
      throw error
    })
    if (fresh === null) return null
    const kept = generations.filter(({ damaged }) => !damaged).slice(0, 1)
    const outdated = generations.filter((generation) => !kept.includes(generation))
    generations = [fresh, ...kept]
    for (const generation of outdated) await removeGeneration(generation)
    return fresh.head
  }

  async function clone(
    { number, gitdir }: { number: number; gitdir: string },
    signal: AbortSignal,
  ): Promise<Generation | null> {
    await rm(gitdir, { recursive: true, force: true })
    const head = await remote.clone(gitdir, { signal })
    if (head === null) {
      await rm(gitdir, { recursive: true, force: true })
      return null
    }
    const fresh = { number, gitdir, head, packs: openPacks(gitdir), damaged: false }
    if (!(await isWhole(fresh))) throw unreadable(repo)
    await moveHead(fresh, { branch, head })
    await markComplete(gitdir, { url, branch })
    return fresh
  }

  /** An object of the newest generation that has it. Damage is noted, and mended by the next change. */
  async function find(oid: string, maxBytes: number): Promise<StoredObject | null> {
    for (const generation of generations) {
      try {
        if (generation.packs.count() === 0) await generation.packs.refresh()
        const object = await generation.packs.read(oid, { maxBytes })
        if (object !== null) return object
      } catch (error) {
        if (error instanceof ObjectTooLarge) throw error
        generation.damaged = true
      }
    }
    return null
  }

  /** The id of a commit's tree; fetches the commit where the mirror lacks it. */
  async function rootTree(commit: string, signal: AbortSignal): Promise<string> {
    const known = await find(commit, maxMetadataBytes)
    if (known !== null) return parseCommit(known.content).tree
    await change(signal, (both) => obtain(commit, both))
    const fetched = await find(commit, maxMetadataBytes)
    if (fetched !== null) return parseCommit(fetched.content).tree
    throw new TowlineError(`Commit ${commit} of ${repo} is in neither the mirror nor the repository`, {
      fault: 'temporary',
      hint: 'It was probably replaced by a force-push. The next look at the branch takes its newest commit.',
    })
  }

  async function obtain(commit: string, signal: AbortSignal): Promise<void> {
    const current = generations[0]
    if (current === undefined || !(await isWhole(current))) await cloneAnew(signal)
    const target = generations[0]
    if (target === undefined || (await find(commit, maxMetadataBytes)) !== null) return
    await remote.fetchCommit(target.gitdir, commit, { signal })
    if (!(await isWhole(target))) throw unreadable(repo)
  }

  /** One folder of a commit, from the cache where it was read before. */
  function treeReader(commit: string) {
    return async (oid: string): Promise<TreeLine[]> => {
      const known = trees.get(commit, oid)
      if (known !== undefined) return known
      const object = await find(oid, maxMetadataBytes)
      if (object === null) {
        // Its commit is here, so it ought to be here too.
        for (const generation of generations) generation.damaged = true
        throw missing(repo, oid)
      }
      const tree = parseTree(object.content)
      trees.set(commit, oid, tree)
      return tree
    }
  }

  return {
    probe: ({ signal }) => remote.head({ signal: AbortSignal.any([signal, closing.signal]) }),
    fetch: ({ signal }) => change(signal, update),
    async list(commit, { under = '.', signal }) {
      return await mended(async () => {
        const root = await rootTree(commit, signal)
        const readTree = treeReader(commit)
        const tree = await findTree(root, { path: under, readTree })
        if (tree === null) return []
        return await listTree(tree, { path: under, readTree, repo, maxEntries: limits.entries, signal })
      }, signal)
    },
    async treeOid(commit, path, { signal }) {
      return await mended(
        async () => findTree(await rootTree(commit, signal), { path, readTree: treeReader(commit) }),
        signal,
      )
    },
    async read(oid, { maxBytes, signal }) {
      return await mended(async () => {
        const object = await find(oid, maxBytes).catch((error: unknown) => {
          throw error instanceof ObjectTooLarge ? tooLarge(repo, { error, maxBytes }) : error
        })
        if (object === null) throw missing(repo, oid)
        return object.content
      }, signal)
    },
    async close() {
      closing.abort(new TowlineError(`The mirror of ${repo} was closed`, { fault: 'cancelled' }))
      await changes.onIdle()
      for (const { packs } of generations) packs.close()
    },
  }

  /** Reads; where that found damage, fetches the mirror anew and reads once more. */
  async function mended<T>(read: () => Promise<T>, signal: AbortSignal): Promise<T> {
    if (signal.aborted) throw cancelledError(repo, signal)
    try {
      return await read()
    } catch (error) {
      if (signal.aborted) throw cancelledError(repo, signal)
      if (generations[0]?.damaged !== true) throw error
      await change(signal, update)
      return await read()
    }
  }
}

const defaultLimits: MirrorLimits = { packBytes: 512 * 1024 * 1024, entries: 100_000 }

/** A 234 MB pack took isomorphic-git 53 s. */
const defaultTimeoutMs = 120_000

/** Each fetch adds a pack and nothing joins them; reading slows down noticeably from about a hundred. */
const maxPackCount = 50

/** A tree of 100,000 entries has about 6 MB; commits are far smaller. */
const maxMetadataBytes = 32 * 1024 * 1024

/** More commits than that between two looks are not worth walking: a fresh clone is cheaper. */
const maxCommitsBetweenLooks = 10_000

/** One complete clone. Folders are never renamed once in use, so a read is never pulled out from under its feet. */
type Generation = { number: number; gitdir: string; head: string; packs: Packs; damaged: boolean }

type Origin = { url: string; branch: string }

const generationPrefix = 'clone-'

/** Written last, as the proof that a clone is whole. */
const markerFile = 'towline.json'

/** The newest clone of this origin that is whole. All else in the folder is removed. */
async function findGenerations(folder: string, origin: Origin): Promise<Generation[]> {
  const numbers = (await readdir(folder))
    .filter((name) => name.startsWith(generationPrefix))
    .map((name) => Number(name.slice(generationPrefix.length)))
    .sort((a, b) => b - a)
  let found: Generation | null = null
  for (const number of numbers) {
    const gitdir = join(folder, `${generationPrefix}${number}`)
    found = found ?? (await openGeneration({ number, gitdir }, origin))
    if (found?.gitdir !== gitdir) await rm(gitdir, { recursive: true, force: true })
  }
  return found === null ? [] : [found]
}

async function openGeneration(
  { number, gitdir }: { number: number; gitdir: string },
  origin: Origin,
): Promise<Generation | null> {
  try {
    if ((await readFile(join(gitdir, markerFile), 'utf8')) !== marker(origin)) return null
    const head = await git.resolveRef({ fs, gitdir, ref: branchRef(origin.branch) })
    return { number, gitdir, head, packs: openPacks(gitdir), damaged: !(await hasSoundShallow(gitdir)) }
  } catch {
    return null // Half written: whatever is wrong with it, a fresh clone is right.
  }
}

/**
 * isomorphic-git writes the list of where the history ends in place, so a kill may cut it. No git server answers to half
 * an id, so nothing could be fetched ever again; what is here already stays readable.
 */
async function hasSoundShallow(gitdir: string): Promise<boolean> {
  const list = await readFile(join(gitdir, 'shallow'), 'utf8').catch((error: unknown) => {
    // A history that is whole has none.
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return null
    throw error
  })
  return list === null || /^(?:[0-9a-f]{40}\n?)+$/.test(list)
}

async function removeGeneration({ packs, gitdir }: Generation): Promise<void> {
  packs.close()
  await rm(gitdir, { recursive: true, force: true })
}

async function markComplete(gitdir: string, origin: Origin): Promise<void> {
  const path = join(gitdir, markerFile)
  await writeFile(`${path}.new`, marker(origin))
  await rename(`${path}.new`, path)
}

function marker({ url, branch }: Origin): string {
  return JSON.stringify({ url, branch })
}

function branchRef(branch: string): string {
  return `refs/heads/${branch}`
}

/** Moves the local branch, from which the next fetch says what we have: isomorphic-git's fetch leaves it where it was. */
async function moveHead(
  generation: Generation,
  { branch, head }: { branch: string; head: string },
): Promise<void> {
  await git.writeRef({ fs, gitdir: generation.gitdir, ref: branchRef(branch), value: head, force: true })
  generation.head = head
}

/** True where all indexes are whole, and the head and its tree can be read. Takes in packs that were added. */
async function isWhole(generation: Generation): Promise<boolean> {
  if (generation.damaged) return false
  try {
    await generation.packs.refresh()
    const commit = await generation.packs.read(generation.head, { maxBytes: maxMetadataBytes })
    const tree = commit === null ? '' : parseCommit(commit.content).tree
    generation.damaged = (await generation.packs.read(tree, { maxBytes: maxMetadataBytes })) === null
  } catch {
    generation.damaged = true
  }
  return !generation.damaged
}

/** Whether the old head is among the ancestors of the new one, as far as they were fetched. */
async function isFastForward({ packs, head: before }: Generation, head: string): Promise<boolean> {
  const seen = new Set([head])
  for (const oid of seen) {
    if (oid === before) return true
    if (seen.size > maxCommitsBetweenLooks) return false
    const commit = await packs.read(oid, { maxBytes: maxMetadataBytes })
    if (commit === null) continue // Below the clone's boundary.
    for (const parent of parseCommit(commit.content).parents) seen.add(parent)
  }
  return false
}

function unreadable(repo: string): TowlineError {
  return new TowlineError(`What the git server sent of ${repo} cannot be read`, {
    fault: 'temporary',
    hint: 'Towline tries again by itself; look at the git server if it stays.',
  })
}

function missing(repo: string, oid: string): TowlineError {
  return new TowlineError(`Object ${oid} is not in the mirror of ${repo}`, {
    fault: 'temporary',
    hint: 'List its commit again: that fetches what is missing.',
  })
}

function tooLarge(
  repo: string,
  { error, maxBytes }: { error: ObjectTooLarge; maxBytes: number },
): TowlineError {
  return new TowlineError(`A file of ${repo} has ${error.sizeBytes} bytes; at most ${maxBytes} are read`, {
    fault: 'input',
    hint: 'Make the file smaller, or move its content into an image.',
  })
}
