import { newHost } from './host-status.ts'
import type { Store } from './ports.ts'
import type { HostRecord } from './records.ts'

/** Hosts on which nothing of the repo may be deployed before it was looked at what stands there, but for those named. */
export async function heldHosts(
  store: Pick<Store, 'listHosts'>,
  repo: string,
  { but }: { but?: ReadonlySet<string> | undefined } = {},
): Promise<Set<string>> {
  const held = (await store.listHosts()).filter(
    ({ host, rebuildDue }) => !but?.has(host) && (rebuildDue === 'everything' || rebuildDue.includes(repo)),
  )
  return new Set(held.map(({ host }) => host))
}

/** True where a host has shown things of the repo whose records are not rebuilt yet: git or GitHub gave no answer then. */
export async function isRepoDue(store: Pick<Store, 'listHosts'>, repo: string): Promise<boolean> {
  const hosts = await store.listHosts()
  return hosts.some(({ rebuildDue }) => rebuildDue !== 'everything' && rebuildDue.includes(repo))
}

/** Of these hosts those whose records are not rebuilt yet. */
export async function dueHosts(store: Pick<Store, 'listHosts'>, names: Iterable<string>): Promise<string[]> {
  const known = new Set(names)
  return (await store.listHosts())
    .filter(({ host, rebuildDue }) => known.has(host) && rebuildDue.length > 0)
    .map(({ host }) => host)
}

/** From now on nothing of these hosts is taken for unknown before it was looked at. Stored before any look, so that a kill forgets nothing. */
export async function holdHosts(store: Pick<Store, 'updateHost'>, names: Iterable<string>): Promise<void> {
  for (const name of names) await setDue(store, name, () => 'everything')
}

export async function setDue(
  store: Pick<Store, 'updateHost'>,
  host: string,
  change: (due: HostRecord['rebuildDue']) => HostRecord['rebuildDue'],
): Promise<void> {
  await store.updateHost(host, (stored) => {
    const record = stored ?? newHost(host)
    return { ...record, rebuildDue: change(record.rebuildDue) }
  })
}
