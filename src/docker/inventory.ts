import type { ContainerInfo } from 'dockerode'
import { TowlineError } from '../rollout/error.ts'
import type { Inventory, OwnedThing } from '../rollout/observed.ts'
import { volumeName } from '../rollout/target.ts'
import { hostTime } from './containers.ts'
import type { CallOptions, Engine } from './engine.ts'
import type { SiteFiles } from './files.ts'
import { ownedContainers, ownedImages, ownedNetworks, ownedVolumes } from './owned.ts'

/**
 * All that carries our owner label, whoever's it is, and the folders of sites in our volume. Makes nothing on a host that
 * has no volume of ours. The host's clock is read first, so that nothing looks older than it is.
 *
 * @throws TowlineError `operator` where the Engine's answers cannot be trusted: nothing of such a host may be acted on.
 */
export async function takeInventory(
  engine: Engine,
  { owner, files, signal }: { owner: string; files: SiteFiles; signal: AbortSignal },
): Promise<Inventory> {
  const { engineId, at } = await identify(engine, { signal })
  const [containers, networks, volumes, images, everybodys] = await Promise.all([
    ownedContainers(engine, { owner, signal }),
    ownedNetworks(engine, { owner, signal }),
    ownedVolumes(engine, { owner, signal }),
    ownedImages(engine, { owner, signal }),
    allContainers(engine, { signal }),
  ])
  const hasFiles = volumes.some(({ Name }) => Name === volumeName(owner))
  const sites = hasFiles ? await files.list({ signal }) : []
  const countUsers = (uses: (container: ContainerInfo) => boolean) => everybodys.filter(uses).length
  const things: OwnedThing[] = [
    ...containers.map(
      (found): OwnedThing => ({
        kind: 'container',
        id: found.Id,
        name: found.Names[0]?.replace(/^\//, '') ?? found.Id,
        labels: found.Labels,
        createdAt: hostTime(found.Created),
        userCount: null,
      }),
    ),
    ...networks.map(
      (found): OwnedThing => ({
        kind: 'network',
        id: found.Id,
        name: found.Name,
        labels: found.Labels ?? {},
        createdAt: hostTime(found.Created),
        userCount: countUsers(({ NetworkSettings }) => isOn(NetworkSettings, found)),
      }),
    ),
    ...volumes.map(
      (found): OwnedThing => ({
        kind: 'volume',
        id: found.Name,
        name: found.Name,
        labels: found.Labels,
        createdAt: hostTime(found.CreatedAt),
        userCount: countUsers(({ Mounts }) => Mounts.some(({ Name }) => Name === found.Name)),
      }),
    ),
    ...images.map(
      (found): OwnedThing => ({
        kind: 'image',
        id: found.Id,
        name: found.RepoTags?.find((tag) => tag !== untagged) ?? found.Id,
        labels: found.Labels,
        createdAt: hostTime(found.Created),
        userCount: countUsers(({ ImageID }) => ImageID === found.Id),
      }),
    ),
    ...sites.map(
      ({ folder, changedAt }): OwnedThing => ({
        kind: 'site',
        id: folder,
        name: folder,
        labels: {},
        createdAt: changedAt,
        userCount: null,
      }),
    ),
  ]
  return { host: engine.name, engineId, at, things }
}

/** What older Engines list in the place of a tag. */
const untagged = '<none>:<none>'

async function identify(engine: Engine, options: CallOptions): Promise<{ engineId: string; at: string }> {
  const info: { ID?: unknown; SystemTime?: unknown } = await engine.call(
    'Asking for its id and time',
    (docker) => docker.info(),
    options,
  )
  const at = typeof info.SystemTime === 'string' ? hostTime(info.SystemTime) : null
  if (typeof info.ID === 'string' && info.ID !== '' && at !== null) return { engineId: info.ID, at }
  throw new TowlineError(`${engine.name} answers strangely: it names neither its id nor its time`, {
    fault: 'operator',
    hint: 'Check that the endpoint is a Docker Engine, and that a proxy before it lets `GET /info` through.',
  })
}

/** Of everybody, running or not: who uses a thing of ours need not be ours. */
async function allContainers(engine: Engine, options: CallOptions): Promise<ContainerInfo[]> {
  return engine.call(
    'Listing all containers',
    (docker, abortSignal) => docker.listContainers({ all: true, abortSignal }),
    options,
  )
}

/** A container that was never started knows its network by name only. */
function isOn(
  { Networks }: ContainerInfo['NetworkSettings'],
  network: { Id: string; Name: string },
): boolean {
  return Object.entries(Networks).some(
    ([name, { NetworkID }]) => NetworkID === network.Id || (!NetworkID && name === network.Name),
  )
}
