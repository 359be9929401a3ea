import { readdir, readFile, readlink } from 'node:fs/promises'

/** Memory of a process in MiB, from proc(5). */
export type ProcessMemory = {
  /** VmRSS: all pages that are in memory, those of files included. */
  resident: number
  /** RssAnon: what the process itself allocated. */
  anonymous: number
  /** VmHWM: the most that was ever resident. */
  peak: number
}

export async function readMemoryMib(pid: number): Promise<ProcessMemory> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8')
  const read = (field: string) => Number(new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1]) / 1024
  return { resident: read('VmRSS'), anonymous: read('RssAnon'), peak: read('VmHWM') }
}

/** Open file descriptors of a process, by what they lead to. */
export type OpenFiles = { sockets: number; pipes: number; files: number; others: number }

export async function countOpenFiles(pid: number): Promise<OpenFiles> {
  const folder = `/proc/${pid}/fd`
  const counts: OpenFiles = { sockets: 0, pipes: 0, files: 0, others: 0 }
  for (const fd of await readdir(folder)) {
    const leadsTo = await readlink(`${folder}/${fd}`).catch(() => null)
    if (leadsTo === null) continue // Closed since the folder was read.
    counts[kindOf(leadsTo)] += 1
  }
  return counts
}

/** `socket:[4711]`, `pipe:[4712]`, `anon_inode:[eventpoll]`, or a path. */
function kindOf(leadsTo: string): keyof OpenFiles {
  if (leadsTo.startsWith('socket:')) return 'sockets'
  if (leadsTo.startsWith('pipe:')) return 'pipes'
  return leadsTo.startsWith('/') ? 'files' : 'others'
}
