import { randomBytes } from 'node:crypto'
import type { Readable } from 'node:stream'
import type { ReleaseFile } from '../engine/ports.ts'
import { TowlineError } from '../rollout/error.ts'
import { buildManifest } from '../rollout/manifest.ts'
import type { ObservedLink, ObservedSite } from '../rollout/observed.ts'
import type { Engine } from './engine.ts'
import { type ExecResult, execInContainer } from './exec.ts'
import { filesHelper, mountPath } from './files-helper.ts'
import { packFile, packRelease } from './release-tar.ts'
import * as scripts from './site-scripts.ts'

/** Sites in Towline's volume: `sites/<slug>/{releases/<id>/, manifests/<id>.json, current, webroot}`. */
export type SiteFiles = {
  /** All sites by folder, in one exec. */
  observe(options: { signal: AbortSignal }): Promise<Record<string, ObservedSite>>
  /**
   * Writes a release whole, or finds it whole already. It is uploaded beside its place, counted, and then renamed
   * into it; its manifest follows last. `files` is called only where there is something to write.
   */
  writeRelease(
    release: { folder: string; releaseId: string },
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
  removeRelease(
    release: { folder: string; releaseId: string },
    options: { signal: AbortSignal },
  ): Promise<void>
  /** Links, releases and manifests of a site, which need not be there. */
  removeSite(site: { folder: string }, options: { signal: AbortSignal }): Promise<void>
}

/** Unpacking and removing tens of thousands of files on a slow disk. */
const scriptTimeoutMs = 120_000
/** A deployment's own deadline is shorter as a rule; measured locally, 100 MB take 0.3 s. */
const uploadTimeoutMs = 30 * 60_000
/** Manifests of some 50,000 files; a hundred sites observed need some 50 KiB. */
const outputLimitBytes = 16_777_216

export function siteFiles(engine: Engine, options: { owner: string; image: string }): SiteFiles {
  const ensureHelper = filesHelper(engine, options)

  async function run(
    script: string,
    args: readonly string[],
    { signal, accept = [0] }: { signal: AbortSignal; accept?: readonly number[] },
  ): Promise<ExecResult> {
    const container = await ensureHelper({ signal })
    const result = await execInContainer(
      engine,
      { container, argv: ['sh', '-c', script, 'towline', ...args] },
      { signal, timeoutMs: scriptTimeoutMs, maxBytes: outputLimitBytes },
    )
    if (accept.includes(result.exitCode) && !result.truncated) return result
    throw new TowlineError(
      `Changing files on ${engine.name} failed (${result.exitCode}): ${result.stderr.trim().slice(-500)}`,
      { fault: 'temporary', hint: 'Check that the disk of the host is neither full nor read-only.' },
    )
  }

  async function upload(folder: string, tar: Readable, { signal }: { signal: AbortSignal }): Promise<void> {
    const container = await ensureHelper({ signal })
    try {
      await engine.call(
        `Copying files into ${folder}`,
        (docker, callSignal) =>
          docker.getContainer(container).putArchive(tar, {
            path: `${mountPath}/${folder}`,
            noOverwriteDirNonDir: '1',
            abortSignal: callSignal,
          }),
        { signal, timeoutMs: uploadTimeoutMs },
      )
    } finally {
      tar.destroy()
    }
  }

  return {
    async observe({ signal }) {
      const { stdout } = await run(scripts.observeSites, [mountPath], { signal })
      return parseSites(stdout)
    },

    async writeRelease({ folder, releaseId }, { signal, files, onProgress }) {
      const path = sitePath(folder, releaseId)
      const { stdout } = await run(scripts.readRelease, [path, releaseId], { signal })
      if (isWhole(stdout, releaseId)) return
      const contents = await files()
      const manifest = buildManifest(releaseId, contents)
      const manifestText = JSON.stringify(manifest)
      const tar = packRelease(contents, {
        writtenAt: new Date(),
        onProgress: (fraction) => onProgress?.(fraction, `${manifest.fileCount} files`),
      })
      await run(scripts.stageRelease, [path, releaseId], { signal })
      await upload(`${folder}/releases/.${releaseId}.part`, tar, { signal })
      await upload(`${folder}/manifests`, packFile(`.${releaseId}.json.part`, manifestText), { signal })
      const expected = `${manifest.fileCount} ${manifest.byteCount}`
      const published = await run(
        scripts.publishRelease,
        [path, releaseId, expected, String(Buffer.byteLength(manifestText))],
        { signal, accept: [0, 4] },
      )
      if (published.exitCode === 0) return
      throw new TowlineError(
        `Release ${releaseId} arrived on ${engine.name} incomplete: ` +
          `${published.stdout} files and bytes instead of ${expected}`,
        { fault: 'temporary', hint: 'The upload was cut; the next attempt writes it anew.' },
      )
    },

    async pointLinks({ folder, links }, { signal }) {
      const suffix = `${Date.now()}-${randomBytes(4).toString('hex')}`
      const pairs = links.flatMap(({ name, to }) => [name, relativeTarget(to)])
      await run(scripts.pointLinks, [sitePath(folder), suffix, ...pairs], { signal })
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

/** Four columns an entry, each ended by NUL, as the script writes them. */
export function parseSites(output: string): Record<string, ObservedSite> {
  const columns = output.split('\0')
  const sites: Record<string, ObservedSite> = {}
  for (let at = 0; at + 3 < columns.length; at += 4) {
    const [folder = '', entry = '', kind = '', value = ''] = columns.slice(at, at + 4)
    const site = sites[folder] ?? {
      folder,
      current: { kind: 'missing' },
      webroot: { kind: 'missing' },
      releases: [],
    }
    sites[folder] = site
    if (entry === 'release') site.releases.push({ id: value, complete: kind === 'complete', damage: null })
    else if (entry === 'current' || entry === 'webroot') site[entry] = toLink(kind, value)
  }
  return sites
}

function toLink(kind: string, to: string): ObservedLink {
  if (kind === 'link' || kind === 'dangling') return { kind: 'link', to, dangling: kind === 'dangling' }
  return kind === 'missing' ? { kind: 'missing' } : { kind: 'other' }
}

/** First line: number and bytes of the files that are there. The rest: the manifest. */
function isWhole(output: string, releaseId: string): boolean {
  const lineEnd = output.indexOf('\n')
  if (lineEnd < 0) return false
  try {
    const manifest: unknown = JSON.parse(output.slice(lineEnd + 1))
    const { releaseId: found, fileCount, byteCount } = manifest as Record<string, unknown>
    return found === releaseId && output.slice(0, lineEnd) === `${fileCount} ${byteCount}`
  } catch {
    return false
  }
}

/** Path of a site in the helper. Names are validated where specs are read; this is the last door before `rm -rf`. */
function sitePath(folder: string, releaseId = 'none'): string {
  if (/^sites\/[a-z0-9][a-z0-9-]*$/.test(folder) && /^[A-Za-z0-9][\w.-]*$/.test(releaseId)) {
    return `${mountPath}/${folder}`
  }
  throw new TowlineError(`"${folder}" with "${releaseId}" is no place for a release`, { fault: 'bug' })
}

function relativeTarget(to: string): string {
  if (to !== '' && !to.startsWith('/') && !to.split('/').includes('..')) return to
  throw new TowlineError(`"${to}" is no target for a link of a site`, { fault: 'bug' })
}
