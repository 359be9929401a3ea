import { readdir, readFile } from 'node:fs/promises'
import { dirname, join, normalize } from 'node:path'
import { expect, test } from 'vitest'

/** What each room may import besides itself. The same stands in docs/map.md. */
const allowed: Record<string, string[]> = {
  rollout: [],
  spec: ['rollout', 'schemas'],
  report: ['rollout', 'spec'],
  engine: ['rollout', 'spec', 'report', 'time'],
  time: [],
}
const edges = ['docker', 'github', 'monitor', 'repo', 'source', 'store']
for (const room of edges) allowed[room] = ['rollout', 'spec', 'report', 'time']

/** What an edge room may take of the engine, as types only: its ports and the records that pass through them. */
const enginePorts = ['src/engine/ports.ts', 'src/engine/records.ts', 'src/engine/status.ts']

type Import = { from: string; to: string; typeOnly: boolean }

const sources = (await readdir('src', { recursive: true }))
  .map((path) => join('src', path))
  .filter((path) => path.endsWith('.ts') && !/\.(test|contract|child|fixture)\.ts$/.test(path))
const imports = (await Promise.all(sources.map(readImports))).flat()
const rooms = (await readdir('src', { withFileTypes: true }))
  .filter((entry) => entry.isDirectory())
  .map(({ name }) => name)

test('every room has a rule here, and a line in the map', async () => {
  const map = await readFile('docs/map.md', 'utf8')
  expect(rooms.toSorted()).toEqual([...Object.keys(allowed), 'cli'].sort())
  for (const room of rooms) expect(map).toMatch(new RegExp(`^\\| \`src/${room}/\` +\\|`, 'm'))
})

test('every path the map names exists', async () => {
  const map = await readFile('docs/map.md', 'utf8')
  const named = [...map.matchAll(/`((?:src|schemas|test|docs|fixtures)\/[\w./-]+)`/g)].map(([, path]) => path)
  expect(named.length).toBeGreaterThan(20)
  for (const path of named) await expect(readPath(path ?? ''), path).resolves.toBeDefined()
})

test('rooms import only what points towards meaning', () => {
  expect(imports.length).toBeGreaterThan(100)
  const violations = imports.filter(({ from, to, typeOnly }) => {
    const [room, other] = [roomOf(from), roomOf(to)]
    const rule = allowed[room]
    if (rule === undefined || other === room || rule.includes(other)) return false
    return !(edges.includes(room) && typeOnly && enginePorts.includes(to))
  })
  expect(violations).toEqual([])
})

test('the heart needs nothing of Node.js but hashes', async () => {
  const outside = await importedPackages('src/rollout')
  expect(outside).toEqual(['node:crypto'])
})

test('nobody imports the program that wires it all', () => {
  expect(imports.filter(({ to }) => to === 'src/main.ts')).toEqual([])
})

test('the environment of the process is read by the two programs alone', async () => {
  const readers: string[] = []
  for (const path of sources) {
    if (/process\.env\b/.test(await readFile(path, 'utf8'))) readers.push(path)
  }
  expect(readers.sort()).toEqual(['src/cli/main.ts', 'src/main.ts'])
})

test('no signal is made of a time-out and another: Node.js would keep it for ever', async () => {
  const makers: string[] = []
  for (const path of sources) {
    const code = (await readFile(path, 'utf8')).replaceAll(/^ *(\/\*|\*|\/\/).*$/gm, '')
    if (/AbortSignal\.any\b/.test(code) && /AbortSignal\.timeout\b/.test(code)) makers.push(path)
  }
  expect(makers).toEqual([])
})

async function readImports(from: string): Promise<Import[]> {
  const text = await readFile(from, 'utf8')
  const found = text.matchAll(/^(?<kind>import|export)(?<type> type)? [^;'"]*?from '(?<path>\.[^']+)'/gm)
  return [...found].map(({ groups }) => ({
    from,
    to: normalize(join(dirname(from), groups?.path ?? '')),
    typeOnly: groups?.type !== undefined,
  }))
}

async function importedPackages(folder: string): Promise<string[]> {
  const names = new Set<string>()
  for (const path of sources.filter((source) => source.startsWith(`${folder}/`))) {
    const text = await readFile(path, 'utf8')
    for (const [, name] of text.matchAll(/from '([^.'][^']*)'/g)) names.add(name ?? '')
  }
  return [...names].sort()
}

/** `docker` of `src/docker/host.ts`, `schemas` of `schemas/server.ts`, `main.ts` of `src/main.ts`. */
function roomOf(path: string): string {
  return path.replace(/^src\//, '').split('/')[0] ?? ''
}

async function readPath(path: string) {
  return path.endsWith('/') ? readdir(path) : readFile(path)
}
