/**
 * Reads objects straight from a repository's packs. isomorphic-git's own reader opens two files an object and
 * inflates in JavaScript: listing 5,000 folders took it 1.6 s, this takes a few hundredths. It also checks a size
 * before it inflates.
 *
 * Format: `gitformat-pack(5)`, pack version 2 and index version 2.
 */

import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { inflateSync } from 'node:zlib'
import { type ObjectType, objectId } from './git-object.ts'

export type StoredObject = { type: ObjectType; content: Buffer }

export type Packs = {
  /** How many packs were there at the last `refresh`. */
  count(): number
  /** Takes in packs that were added. Until then, reads see the packs known before. @throws DamagedPack */
  refresh(): Promise<void>
  /**
   * An object by its id, or null where no pack has it. Its id is checked against its bytes.
   * @throws DamagedPack
   * @throws ObjectTooLarge before it is inflated
   */
  read(oid: string, options: { maxBytes: number }): Promise<StoredObject | null>
  /** Gives the memory back; a later read loads again. */
  close(): void
}

/** A pack or its index is not what git wrote: the repository has to be fetched anew. */
export class DamagedPack extends Error {
  override readonly name = 'DamagedPack'
}

/** An object is larger than the reader allowed. */
export class ObjectTooLarge extends Error {
  override readonly name = 'ObjectTooLarge'
  readonly sizeBytes: number

  constructor(oid: string, sizeBytes: number) {
    super(`object ${oid} has ${sizeBytes} bytes`)
    this.sizeBytes = sizeBytes
  }
}

/** The packs of a git directory. Nothing is read before the first `refresh`. */
export function openPacks(gitdir: string): Packs {
  const folder = join(gitdir, 'objects', 'pack')
  const packs = new Map<string, Pack>()
  let idle: NodeJS.Timeout | null = null

  const close = () => {
    if (idle !== null) clearTimeout(idle)
    idle = null
    for (const pack of packs.values()) {
      pack.content = null
      pack.bases.clear()
    }
  }
  const stayAwake = () => {
    if (idle === null) idle = setTimeout(close, idleMs).unref()
    else idle.refresh()
  }

  return {
    close,
    count: () => packs.size,
    async refresh() {
      for (const name of await listPacks(folder)) {
        if (packs.has(name)) continue
        const index = await readIndex(folder, name)
        const pack = { path: join(folder, `${name}.pack`), index, content: null, bases: new Map() }
        await loadContent(pack)
        packs.set(name, pack)
      }
      stayAwake()
    },
    async read(oid, { maxBytes }) {
      if (oid === emptyTree) return { type: 'tree', content: Buffer.alloc(0) }
      stayAwake()
      for (const pack of packs.values()) {
        const offset = findOffset(pack.index, oid)
        if (offset === null) continue
        const content = await loadContent(pack)
        const object = readObject({ pack, content, oid, offset, maxBytes })
        if (objectId(object.type, object.content) !== oid) {
          throw new DamagedPack(`${pack.path} holds other bytes than it says for object ${oid}`)
        }
        return object
      }
      return null
    },
  }
}

/** A pack file kept in memory while it is being read. `bases` holds what deltas were applied to, by offset. */
type Pack = {
  path: string
  index: Buffer
  content: Promise<Buffer> | null
  bases: Map<number, StoredObject>
}

/** Git knows it without storing it. */
const emptyTree = '4b825dc642cb6eb9a060e54bf8d69288fbee4904'

/** Long enough to read the files of one deployment after each other; after it the memory is given back. */
const idleMs = 10_000

async function listPacks(folder: string): Promise<string[]> {
  const names = await readdir(folder).catch(() => [])
  return names.filter((name) => name.endsWith('.idx')).map((name) => name.slice(0, -'.idx'.length))
}

async function readIndex(folder: string, name: string): Promise<Buffer> {
  const index = await readFile(join(folder, `${name}.idx`))
  const isWhole =
    index.length >= namesStart + 2 * oidBytes &&
    index.readUInt32BE(0) === indexMagic &&
    index.readUInt32BE(4) === 2 &&
    createHash('sha1').update(index.subarray(0, -oidBytes)).digest().equals(index.subarray(-oidBytes))
  if (!isWhole) throw new DamagedPack(`${name}.idx is not a whole index`)
  return index
}

async function loadContent(pack: Pack): Promise<Buffer> {
  pack.content ??= readPack(pack)
  try {
    return await pack.content
  } catch (error) {
    pack.content = null
    throw error
  }
}

/**
 * isomorphic-git indexes what arrived and leaves out what it cannot resolve, so a cut pack has an index that agrees
 * with itself. The number of objects the server announced gives it away.
 */
async function readPack({ path, index }: Pack): Promise<Buffer> {
  const content = await readFile(path)
  const announced = content.length < packHeaderBytes ? -1 : content.readUInt32BE(8)
  if (announced !== objectCount(index)) {
    throw new DamagedPack(`${path} announces ${announced} objects, its index has ${objectCount(index)}`)
  }
  return content
}

const oidBytes = 20
const indexMagic = 0xff744f63
const fanoutStart = 8
const namesStart = fanoutStart + 256 * 4
const packHeaderBytes = 12

function objectCount(index: Buffer): number {
  return index.readUInt32BE(fanoutStart + 255 * 4)
}

/** Binary search in the sorted ids that share the first byte. */
function findOffset(index: Buffer, oid: string): number | null {
  const wanted = Buffer.from(oid, 'hex')
  const first = wanted[0] ?? 0
  let low = first === 0 ? 0 : index.readUInt32BE(fanoutStart + (first - 1) * 4)
  let high = index.readUInt32BE(fanoutStart + first * 4)
  while (low < high) {
    const middle = (low + high) >>> 1
    const start = namesStart + middle * oidBytes
    const order = wanted.compare(index, start, start + oidBytes)
    if (order === 0) return offsetAt(index, middle)
    if (order < 0) high = middle
    else low = middle + 1
  }
  return null
}

/** Ids, then four bytes of CRC each, then the offsets. A pack is far below 2 GB, so no offset needs 64 bits. */
function offsetAt(index: Buffer, position: number): number {
  return index.readUInt32BE(namesStart + objectCount(index) * (oidBytes + 4) + position * 4)
}

type Place = { pack: Pack; content: Buffer; oid: string; offset: number; maxBytes: number }

function readObject(place: Place): StoredObject {
  try {
    return resolveObject(place)
  } catch (error) {
    if (error instanceof ObjectTooLarge || error instanceof DamagedPack) throw error
    throw new DamagedPack(`${place.pack.path} cannot be read at object ${place.oid}`, { cause: error })
  }
}

/** Follows the deltas down to a whole object, then applies them on the way back. */
function resolveObject({ pack, content, oid, offset, maxBytes }: Place): StoredObject {
  const deltas: { data: Buffer; offset: number }[] = []
  let at = offset
  let object = pack.bases.get(at)
  while (object === undefined) {
    const entry = readEntry(content, at)
    if (deltas.length === 0 && entry.size > maxBytes) throw new ObjectTooLarge(oid, entry.size)
    const data = inflate(content.subarray(entry.dataStart), entry.size)
    if (entry.base === null) {
      object = { type: entry.type, content: data }
      break
    }
    if (deltas.length === 0 && deltaSizes(data).to > maxBytes)
      throw new ObjectTooLarge(oid, deltaSizes(data).to)
    if (deltas.length === maxDeltaDepth)
      throw new DamagedPack(`${pack.path} chains too many deltas at ${oid}`)
    deltas.push({ data, offset: at })
    const base = typeof entry.base === 'number' ? at - entry.base : findOffset(pack.index, entry.base)
    if (base === null) throw new DamagedPack(`${pack.path} lacks the base of object ${oid}`)
    at = base
    object = pack.bases.get(at)
  }
  for (const delta of deltas.reverse()) {
    keepBase(pack, at, object)
    object = { type: object.type, content: applyDelta(object.content, delta.data) }
    at = delta.offset
  }
  if (object.content.length > maxBytes) throw new ObjectTooLarge(oid, object.content.length)
  return object
}

/** Neighbours in a pack are deltas on the same bases; without this a chain would be inflated again for each. */
function keepBase(pack: Pack, offset: number, object: StoredObject): void {
  if (object.content.length > maxBaseBytes) return
  if (pack.bases.size >= maxBases) pack.bases.clear()
  pack.bases.set(offset, object)
}

/** 256 bases of at most 64 KiB: 16 MiB a pack at most, until the pack goes idle. */
const maxBases = 256
const maxBaseBytes = 64 * 1024

/** Git itself refuses to make longer chains (`pack.depth`, at most 4095). */
const maxDeltaDepth = 4095

/** What stands at an offset: a whole object, or a delta on a base given by distance or by id. */
type Entry =
  | { type: ObjectType; base: null; size: number; dataStart: number }
  | { base: number | string; size: number; dataStart: number }

function readEntry(content: Buffer, offset: number): Entry {
  let at = offset
  let byte = content.readUInt8(at++)
  const code = (byte >> 4) & 7
  let size = byte & 15
  for (let scale = 16; byte & 0x80; scale *= 128) {
    byte = content.readUInt8(at++)
    size += (byte & 0x7f) * scale
  }
  if (code === ofsDelta) {
    byte = content.readUInt8(at++)
    let distance = byte & 0x7f
    while (byte & 0x80) {
      byte = content.readUInt8(at++)
      distance = (distance + 1) * 128 + (byte & 0x7f)
    }
    return { base: distance, size, dataStart: at }
  }
  if (code === refDelta) {
    return { base: content.toString('hex', at, at + oidBytes), size, dataStart: at + oidBytes }
  }
  const type = objectTypes[code]
  if (type === undefined) throw new DamagedPack(`unknown object type ${code} at byte ${offset}`)
  return { type, base: null, size, dataStart: at }
}

const objectTypes: Record<number, ObjectType> = { 1: 'commit', 2: 'tree', 3: 'blob', 4: 'tag' }
const ofsDelta = 6
const refDelta = 7

/** Inflates exactly `size` bytes; more or fewer is an error. */
function inflate(data: Buffer, size: number): Buffer {
  const content = inflateSync(data, { chunkSize: Math.max(size, 64), maxOutputLength: Math.max(size, 1) })
  if (content.length !== size) throw new DamagedPack(`${content.length} bytes where ${size} were announced`)
  return content
}

function applyDelta(base: Buffer, delta: Buffer): Buffer {
  const { from, to, opsStart } = deltaSizes(delta)
  if (from !== base.length) throw new DamagedPack('a delta does not fit its base')
  const parts: Buffer[] = []
  let length = 0
  for (let at = opsStart; at < delta.length && length <= to; ) {
    const op = readOp(delta, at)
    const part = op.source === 'base' ? base : delta
    parts.push(part.subarray(op.start, op.start + op.length))
    length += op.length
    at = op.next
  }
  if (length !== to) throw new DamagedPack(`a delta makes ${length} bytes where ${to} were announced`)
  return Buffer.concat(parts, to)
}

type DeltaOp = { source: 'base' | 'delta'; start: number; length: number; next: number }

/** Copy from the base (top bit set; the other bits say which bytes of start and length follow), or take what follows. */
function readOp(delta: Buffer, at: number): DeltaOp {
  const op = delta.readUInt8(at)
  let next = at + 1
  if ((op & 0x80) === 0) return { source: 'delta', start: next, length: op, next: next + op }
  let start = 0
  let length = 0
  for (let byte = 0; byte < 4; byte++) if (op & (1 << byte)) start += delta.readUInt8(next++) * 256 ** byte
  for (let byte = 0; byte < 3; byte++) if (op & (16 << byte)) length += delta.readUInt8(next++) * 256 ** byte
  return { source: 'base', start, length: length === 0 ? 0x10000 : length, next }
}

/** A delta begins with the size of its base and of its result. */
function deltaSizes(delta: Buffer): { from: number; to: number; opsStart: number } {
  const from = readSize(delta, 0)
  const to = readSize(delta, from.next)
  return { from: from.value, to: to.value, opsStart: to.next }
}

/** Seven bits a byte, lowest first. */
function readSize(data: Buffer, start: number): { value: number; next: number } {
  let value = 0
  let scale = 1
  let next = start
  let byte: number
  do {
    byte = data.readUInt8(next++)
    value += (byte & 0x7f) * scale
    scale *= 128
  } while (byte & 0x80)
  return { value, next }
}
