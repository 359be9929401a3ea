import { mkdir } from 'node:fs/promises'
import { basename, join, resolve } from 'node:path'
import { alwaysKnown } from '../engine/host-status.ts'
import type { FileTree, Store } from '../engine/ports.ts'
import { createSpecReader, type SpecReader } from '../engine/spec-reader.ts'
import type { TargetParts } from '../engine/steps.ts'
import { loadServerConfig, openHosts } from '../operator-config.ts'
import { openFolder } from '../repo/folder.ts'
import { readSourceFiles } from '../source/files.ts'
import type { ServerConfig } from '../spec/server.ts'
import { openEmbeddedStore } from '../store/embedded.ts'
import type { CommandOptions } from './command.ts'

/** A folder of specs and what it can be checked with: no host, no store, no GitHub. */
export type SpecFolder = {
  repo: string
  commit: string
  tree: FileTree
  specs: SpecReader
  config: ServerConfig
}

/** A folder of specs together with its hosts and the store of this installation. */
export type Workspace = SpecFolder &
  Pick<TargetParts, 'hosts' | 'hostStatus' | 'healing' | 'files' | 'siteServer'> & {
    store: Store
    close(): Promise<void>
  }

export async function openSpecFolder({ dir, environment, repo }: CommandOptions): Promise<SpecFolder> {
  const config = await loadServerConfig(environment)
  const tree = await openFolder({ dir })
  const specs = createSpecReader({
    hosts: config.hosts.map(({ name }) => name),
    bindMounts: config.bindMounts,
  })
  return { repo: repo ?? `local/${folderName(dir)}`, commit: tree.commit, tree, specs, config }
}

/** @throws TowlineError `operator` where a server works on the same data folder. */
export async function openWorkspace(options: CommandOptions): Promise<Workspace> {
  const folder = await openSpecFolder(options)
  const { dataFolder } = options.environment
  await mkdir(dataFolder, { recursive: true })
  const store = await openEmbeddedStore({
    folder: join(dataFolder, 'store'),
    onDamage: ({ file, movedTo, reason }) => {
      options.print.error(`${file} is damaged (${reason}) and was set aside as ${movedTo}`)
    },
  })
  return {
    ...folder,
    store,
    hosts: await openHosts(folder.config, store.owner),
    hostStatus: alwaysKnown,
    healing: folder.config.limits.healing,
    siteServer: folder.config.images.site,
    // A folder holds one commit. Files an older one asked for are the same as long as git's id of them is.
    files: {
      treeOid: (_repo, _commit, path, signal) => folder.tree.treeOid(folder.commit, path, { signal }),
      read: (_repo, source, signal) =>
        readSourceFiles(source.kind === 'folder' ? { ...source, commit: folder.commit } : source, {
          tree: folder.tree,
          signal,
        }),
    },
    close: () => store.close(),
  }
}

/** The part of the repo's name a folder gives: only what may stand in labels and names. */
function folderName(dir: string): string {
  return basename(resolve(dir)).replace(/[^A-Za-z0-9_.-]+/g, '-') || 'folder'
}
