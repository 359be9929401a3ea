import { randomBytes } from 'node:crypto'
import { Readable } from 'node:stream'
import type { ReleaseFile } from '../engine/ports.ts'
import { TowlineError } from '../rollout/error.ts'
import { buildManifest, compareWithManifest } from '../rollout/manifest.ts'
import type { ObservedLink, ObservedSite } from '../rollout/observed.ts'
import { startDeadline } from '../time/deadline.ts'
import type { Engine } from './engine.ts'
import { type ExecResult, execInContainer } from './exec.ts'
import { filesHelper, mountPath } from './files-helper.ts'
import { manifestDigest, parseListings, type ReleaseListing, releaseDigest } from './release-listing.ts'
import { packFile, packRelease } from './release-tar.ts'
import * as scripts from './site-scripts.ts'

/** Sites in Towline's volume: `sites/<slug>/{releases/<id>/, manifests/<id>.json, current, webroot}`. */
export type SiteFiles = {
  /** All sites by folder, in one exec. */
  observe(options: { signal: AbortSignal }): Promise<Record<string, ObservedSite>>
  /** What of each release that stands is not as its manifest has it. One that has no manifest is left out. */
  verify(releases: readonly ReleasePlace[], options: { signal: AbortSignal }): Promise<VerifiedRelease[]>
  /** Folder of each site, and when it last changed. Clears what killed attempts left. */
  list(options: { signal: AbortSignal }): Promise<{ folder: string; changedAt: string }[]>
  /**
   * Writes a release whole, or finds it whole already: every file is held against its manifest. It is uploaded beside
   * its place, verified there, and then renamed into it; its manifest follows last. `files` is called only where there
   * is something to write.
   */
  writeRelease(
    release: ReleasePlace,
    options: {
      signal: AbortSignal
      files: () => Promise<ReleaseFile[]>
      onProgress?: (fraction: number, message: string) => void
    },
  ): Promise<void>
  /** Swaps links by rename, in this order. */
  pointLinks(
    links: { folder: string; links: readonly { name: 'current' | 'webroot'; to: string }[] },
    options: { signal: AbortSignal },
  ): Promise<void>
  /** @throws TowlineError `temporary` where `current` leads to the release. */
  removeRelease(release: ReleasePlace, options: { signal: AbortSignal }): Promise<void>
  /** Links, releases and manifests of a site, which need not be there. */
  removeSite(site: { folder: string }, options: { signal: AbortSignal }): Promise<void>
}

export type ReleasePlace = { folder: string; releaseId: string }
export type VerifiedRelease = ReleasePlace & { damage: string[] }

/** Removing what one upload brought; nobody waits for it on a host that hangs. */
const clearTimeoutMs = 20_000
/** Unpacking and removing tens of thousands of files on a slow disk. */
const scriptTimeoutMs = 120_000
/** A deployment's own deadline is shorter as a rule; measured locally, 100 MB take 0.3 s. */
const uploadTimeoutMs = 30 * 60_000
/** An Engine that unpacks to a slow disk takes some bytes every second; one that cannot be reached any more takes none. */
const defaultUploadIdleMs = 120_000
/** A hundred sites observed need some 50 KiB. */
const outputLimitBytes = 16_777_216
/** Manifest and listing of a release of 20,000 files, the most there may be, with paths of 900 characters. */
const listingLimitBytes = 67_108_864
/** Measured, BusyBox hashes 270 MB a second; a disk that is cold and slow reads 20. A release has at most 512 MB. */
const verifyTimeoutMs = 300_000
/** Releases read by one exec. The most files eight of them may have, from a slow disk, fit the deadline. */
const verifyBatch = 8

export function siteFiles(
  engine: Engine,
  options: { owner: string; image: string; uploadIdleMs?: number },
): SiteFiles {
  const { uploadIdleMs = defaultUploadIdleMs } = options
  const helper = filesHelper(engine, options)

  async function run(
    script: string,
    args: readonly string[],
    { signal, accept = [0] }: { signal: AbortSignal; accept?: readonly number[] },
  ): Promise<ExecResult> {
    const limits = { timeoutMs: scriptTimeoutMs, maxBytes: outputLimitBytes }
    const result = await execOnVolume(script, args, { signal, ...limits })
    if (accept.includes(result.exitCode) && !result.truncated) return result
    throw failed(result)
  }

  /** One more try where the volume turns out to be gone from the host's disk. */
  async function execOnVolume(
    script: string,
    args: readonly string[],
    options: ExecOptions,
  ): Promise<ExecResult> {
    const argv = ['sh', '-c', scripts.onVolume, 'towline', mountPath, script, 'towline', ...args]
    const { signal } = options
    const container = await helper.ensure({ signal })
    const result = await execInContainer(engine, { container, argv }, options)
    if (result.exitCode !== scripts.volumeIsGone) return result
    await helper.replaceVolume(container, { signal })
    return execInContainer(engine, { container: await helper.ensure({ signal }), argv }, options)
  }

  function failed(result: ExecResult): TowlineError {
    return new TowlineError(
      `Working on files of ${engine.name} failed (${result.exitCode}): ${result.stderr.trim().slice(-500)}`,
      { fault: 'temporary', hint: 'Check that the disk of the host is neither full nor read-only.' },
    )
  }

  async function upload(folder: string, tar: Readable, { signal }: { signal: AbortSignal }): Promise<void> {
    const container = await helper.ensure({ signal })
    const silence = new AbortController()
    const fallSilent = () =>
      silence.abort(
        new TowlineError(`${engine.name} took nothing of ${folder} for ${uploadIdleMs / 1000} s`, {
          fault: 'temporary',
          hint: 'See whether the host and its disk are reached; the next attempt writes the release anew.',
        }),
      )
    const idle = setTimeout(fallSilent, uploadIdleMs)
    try {
      await engine.call(
        `Copying files into ${folder}`,
        (docker, callSignal) =>
          docker.getContainer(container).putArchive(Readable.from(noticed(tar, () => idle.refresh())), {
            path: `${mountPath}/${folder}`,
            noOverwriteDirNonDir: '1',
            abortSignal: callSignal,
          }),
        { signal: AbortSignal.any([signal, silence.signal]), timeoutMs: uploadTimeoutMs },
      )
    } finally {
      clearTimeout(idle)
      tar.destroy()
    }
  }

  /** Where a batch says more than fits, each of its releases is read alone; one that still does is full of strange files. */
  async function verify(
    releases: readonly ReleasePlace[],
    { signal }: { signal: AbortSignal },
  ): Promise<VerifiedRelease[]> {
    const verified: VerifiedRelease[] = []
    const batches = inBatches(releases, verifyBatch)
    for (let batch = batches.shift(); batch !== undefined; batch = batches.shift()) {
      const places = batch.flatMap(({ folder, releaseId }) => [sitePath(folder, releaseId), releaseId])
      const result = await execOnVolume(scripts.readReleases, [mountPath, ...places], {
        signal,
        timeoutMs: verifyTimeoutMs,
        maxBytes: listingLimitBytes,
      })
      if (result.exitCode !== 0) throw failed(result)
      if (result.truncated && batch.length > 1) batches.unshift(...inBatches(batch, 1))
      else if (result.truncated) verified.push(...batch.map((place) => ({ ...place, damage: [tooMuch] })))
      else verified.push(...parseListings(result.stdout).map(judge))
    }
    return verified
  }

  return {
    async observe({ signal }) {
      const { stdout } = await run(scripts.observeSites, [mountPath], { signal })
      return parseSites(stdout)
    },

    verify,

    async list({ signal }) {
      const { stdout } = await run(scripts.listSites, [mountPath], { signal })
      const columns = stdout.split('\0').slice(0, -1)
      return columns.flatMap((folder, at) =>
        at % 2 === 0 && sitePattern.test(folder)
          ? [{ folder, changedAt: new Date(Number(columns[at + 1]) * 1000).toISOString() }]
          : [],
      )
    },

    async writeRelease({ folder, releaseId }, { signal, files, onProgress }) {
      const path = sitePath(folder, releaseId)
      const [found] = await verify([{ folder, releaseId }], { signal })
      if (found?.damage.length === 0) return
      const contents = await files()
      const manifest = buildManifest(releaseId, contents)
      const manifestText = JSON.stringify(manifest)
      const tar = packRelease(contents, {
        writtenAt: new Date(),
        onProgress: (fraction) => onProgress?.(fraction, `${manifest.fileCount} files`),
      })
      try {
        await run(scripts.stageRelease, [path, releaseId, freshSuffix()], { signal })
        await upload(`${folder}/releases/.${releaseId}.part`, tar, { signal })
        await upload(`${folder}/manifests`, packFile(`.${releaseId}.json.part`, manifestText), { signal })
        const published = await run(
          scripts.publishRelease,
          [path, releaseId, releaseDigest(manifest), manifestDigest(manifestText)],
          { signal, accept: [0, 4] },
        )
        if (published.exitCode === 0) return
        throw new TowlineError(
          `Release ${releaseId} did not arrive on ${engine.name} as it was sent: ` +
            `${published.stdout} files and bytes; ${manifest.fileCount} ${manifest.byteCount} were sent`,
          { fault: 'temporary', hint: 'The upload was cut or changed; the next attempt writes it anew.' },
        )
      } catch (error) {
        // What cannot be cleared now goes with the leftovers of killed attempts.
        using deadline = startDeadline({ signal: new AbortController().signal, ms: clearTimeoutMs })
        await run(scripts.clearUpload, [path, releaseId], { signal: deadline.signal }).catch(() => {})
        throw error
      }
    },

    async pointLinks({ folder, links }, { signal }) {
      const pairs = links.flatMap(({ name, to }) => [name, relativeTarget(to)])
      await run(scripts.pointLinks, [sitePath(folder), freshSuffix(), ...pairs], { signal })
    },

    async removeRelease({ folder, releaseId }, { signal }) {
      const path = sitePath(folder, releaseId)
      const { exitCode } = await run(scripts.removeRelease, [path, releaseId], { signal, accept: [0, 3] })
      if (exitCode === 0) return
      throw new TowlineError(`Release ${releaseId} is served by ${folder} on ${engine.name} and stays`, {
        fault: 'temporary',
      })
    },

    async removeSite({ folder }, { signal }) {
      await run(scripts.removeSite, [sitePath(folder)], { signal })
    },
  }
}

/** Four columns an entry, each ended by NUL, as the script writes them. What bears no name of ours is not looked at. */
export function parseSites(output: string): Record<string, ObservedSite> {
  const columns = output.split('\0')
  const sites: Record<string, ObservedSite> = {}
  for (let at = 0; at + 3 < columns.length; at += 4) {
    const [folder = '', entry = '', kind = '', value = ''] = columns.slice(at, at + 4)
    if (!sitePattern.test(folder)) continue
    const site = sites[folder] ?? {
      folder,
      current: { kind: 'missing' },
      webroot: { kind: 'missing' },
      releases: [],
    }
    sites[folder] = site
    if (entry === 'release' && releasePattern.test(value)) {
      site.releases.push({ id: value, complete: kind === 'complete', damage: null })
    } else if (entry === 'current' || entry === 'webroot') {
      site[entry] = toLink(kind, value)
    }
  }
  return sites
}

function toLink(kind: string, to: string): ObservedLink {
  if (kind === 'link' || kind === 'dangling') return { kind: 'link', to, dangling: kind === 'dangling' }
  return kind === 'missing' ? { kind: 'missing' } : { kind: 'other' }
}

async function* noticed(tar: Readable, onTaken: () => void): AsyncGenerator<unknown> {
  for await (const chunk of tar) {
    onTaken()
    yield chunk
  }
}

type ExecOptions = { signal: AbortSignal; timeoutMs: number; maxBytes: number }

const tooMuch = 'there are more files than can be read'

function judge({ path, releaseId, manifest, found }: ReleaseListing): VerifiedRelease {
  const damage =
    manifest === null ? ['the manifest is not what was written'] : compareWithManifest(manifest, found)
  return { folder: path.slice(mountPath.length + 1), releaseId, damage }
}

function inBatches<T>(items: readonly T[], size: number): T[][] {
  return Array.from({ length: Math.ceil(items.length / size) }, (_, at) =>
    items.slice(at * size, (at + 1) * size),
  )
}

/** For a name nobody else uses. */
function freshSuffix(): string {
  return `${Date.now()}-${randomBytes(4).toString('hex')}`
}

const sitePattern = /^sites\/[a-z0-9][a-z0-9-]*$/
const releasePattern = /^[A-Za-z0-9][\w.-]*$/

/** Path of a site in the helper. Names are validated where specs are read; this is the last door before `rm -rf`. */
function sitePath(folder: string, releaseId = 'none'): string {
  if (sitePattern.test(folder) && releasePattern.test(releaseId)) return `${mountPath}/${folder}`
  throw new TowlineError(`"${folder}" with "${releaseId}" is no place for a release`, { fault: 'bug' })
}

function relativeTarget(to: string): string {
  if (to !== '' && !to.startsWith('/') && !to.split('/').includes('..')) return to
  throw new TowlineError(`"${to}" is no target for a link of a site`, { fault: 'bug' })
}
