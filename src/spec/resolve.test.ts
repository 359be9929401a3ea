import { expect, test } from 'vitest'
import { parseSpecFile } from './parse-file.ts'
import { resolveSpecs } from './resolve.ts'

type Options = { hosts?: string[]; bindMounts?: string[]; defaultHosts?: string[] | null }

const prune = { enabled: false, delayMs: 3_600_000, max: 3, volumes: false }

function resolve(texts: Record<string, string>, options: Options = {}) {
  const { hosts = ['web-1', 'web-2'], bindMounts = [], defaultHosts = null } = options
  const files = Object.entries(texts).map(([path, text]) => parseSpecFile({ path, text }))
  const { specs, problems } = resolveSpecs({
    files,
    settings: { specs: [], defaults: { hosts: defaultHosts }, prune },
    server: { hosts, bindMounts },
  })
  return {
    specs: specs.map(({ spec }) => `${spec.name}@${spec.hosts}`),
    problems: problems.map(
      ({ path, line, column, message, hint }) => `${path}:${line}:${column} ${message} | ${hint}`,
    ),
  }
}

function service(name: string, more = 'hosts: [web-1]'): string {
  return `apiVersion: towline/v1\nkind: Service\nname: ${name}\nimage: nginx:1.27\n${more}\n`
}

test('a spec keeps its file, line and hash', () => {
  const file = parseSpecFile({ path: 'apps/a.yaml', text: `# a comment\n${service('shop')}` })
  const { specs } = resolveSpecs({
    files: [file],
    settings: {
      specs: [],
      defaults: { hosts: null },
      prune,
    },
    server: { hosts: ['web-1'], bindMounts: [] },
  })
  expect(specs).toMatchObject([
    { path: 'apps/a.yaml', line: 2, hash: file.documents[0]?.hash, spec: { name: 'shop', hosts: ['web-1'] } },
  ])
})

test("hosts come from the spec, else from towline.yaml, else from the server's only host", () => {
  const texts = { 'a.yaml': service('a', 'hosts: [web-2]'), 'b.yaml': service('b', '') }
  expect(resolve(texts, { defaultHosts: ['web-1', 'web-2'] }).specs).toEqual(['a@web-2', 'b@web-1,web-2'])
  expect(resolve({ 'b.yaml': service('b', '') }, { hosts: ['local'] }).specs).toEqual(['b@local'])
})

test('a spec without hosts is refused where there are several to choose from', () => {
  expect(resolve({ 'a.yaml': service('a', '') })).toEqual({
    specs: [],
    problems: [
      'a.yaml:3:7 `hosts` is missing, and the server has 2 hosts to choose from | ' +
        'Add `hosts`, or `defaults: {hosts: […]}` in towline.yaml; known: web-1, web-2',
    ],
  })
})

test('an unknown host is named with those that are known, and the other specs stay', () => {
  expect(resolve({ 'a.yaml': service('a', 'hosts: [web-1, web-9]'), 'b.yaml': service('b') })).toEqual({
    specs: ['b@web-1'],
    problems: ['a.yaml:5:16 /hosts/1: there is no host "web-9" | Known hosts: web-1, web-2'],
  })
})

test('an unknown default host is reported once, however many specs rely on it', () => {
  const texts = { 'a.yaml': service('a', ''), 'b.yaml': service('b', ''), 'c.yaml': service('c') }
  expect(resolve(texts, { defaultHosts: ['web-9'] })).toEqual({
    specs: ['c@web-1'],
    problems: ['towline.yaml:1:1 /defaults/hosts: there is no host "web-9" | Known hosts: web-1, web-2'],
  })
})

test('two specs of one name are both left out, and each names the other', () => {
  expect(
    resolve({ 'a.yaml': service('shop'), 'b.yaml': `\n${service('shop')}`, 'c.yaml': service('c') }),
  ).toEqual({
    specs: ['c@web-1'],
    problems: [
      'a.yaml:3:7 /name: "shop" is also the name of the spec at b.yaml:4 | Give each spec a name of its own',
      'b.yaml:4:7 /name: "shop" is also the name of the spec at a.yaml:3 | Give each spec a name of its own',
    ],
  })
})

test('a dependency that does not exist is refused', () => {
  expect(resolve({ 'a.yaml': service('a', 'hosts: [web-1]\ndependsOn: [db]') })).toEqual({
    specs: [],
    problems: [
      'a.yaml:6:13 /dependsOn/0: there is no spec "db" | Name a spec of this repo, or remove the entry',
    ],
  })
})

test('a dependency that is broken exists all the same', () => {
  const texts = {
    'a.yaml': service('a', 'hosts: [web-1]\ndependsOn: [db, cache]'),
    'db.yaml': service('db', 'prots: [80]'),
    'cache.yaml': 'name: cache\nimage: "unclosed\n',
  }
  const { specs, problems } = resolve(texts)
  expect(specs).toEqual(['a@web-1'])
  expect(problems.map((line) => line.split(':')[0])).toEqual(['db.yaml', 'cache.yaml'])
})

test('a cycle is named once from end to end, and what only leads to it stays', () => {
  const on = (name: string) => `hosts: [web-1]\ndependsOn: [${name}]`
  const texts = {
    'a.yaml': service('a', on('b')),
    'b.yaml': service('b', on('c')),
    'c.yaml': service('c', on('b')),
    'd.yaml': service('d', on('d')),
    'e.yaml': service('e'),
  }
  expect(resolve(texts)).toEqual({
    specs: ['a@web-1', 'e@web-1'],
    problems: [
      'b.yaml:6:13 /dependsOn/0: these specs wait for one another: b → c → b | Remove one of these dependencies',
      'd.yaml:6:13 /dependsOn/0: these specs wait for one another: d → d | Remove one of these dependencies',
    ],
  })
})

test('a bind mount is allowed at and below the folders of the server, and nowhere else', () => {
  const more = 'hosts: [web-1]\nvolumes: ["/srv/data:/a", "/srv/data/x:/b", "/srv/database:/c", "name:/d"]'
  expect(resolve({ 'a.yaml': service('a', more) }, { bindMounts: ['/srv/data'] })).toEqual({
    specs: [],
    problems: [
      'a.yaml:6:45 /volumes/2: the server does not allow bind mounts of /srv/database | ' +
        'Use a named volume, or a path below /srv/data',
    ],
  })
})

test('a fixed host port belongs to one spec of a host; other hosts, protocols and addresses are free', () => {
  const texts = {
    'a.yaml': service('a', 'hosts: [web-1]\nports: ["8080:80", "127.0.0.1:9000:90"]'),
    'b.yaml': service('b', 'hosts: [web-2]\nports: ["8080:80"]'),
    'c.yaml': service('c', 'hosts: [web-1]\nports: ["8080:80/udp", "127.0.0.2:9000:90", "80"]'),
    'd.yaml': service('d', 'hosts: [web-1]\nports: ["80", "0.0.0.0:9000:90"]'),
  }
  expect(resolve(texts)).toEqual({
    specs: ['a@web-1', 'b@web-2', 'c@web-1'],
    problems: [
      'd.yaml:6:15 /ports/1: port 9000/tcp of web-1 is taken by "a" (a.yaml:6) | ' +
        'Choose another host port, or let Docker choose one by leaving it out',
    ],
  })
})
