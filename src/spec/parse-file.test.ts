import { readdirSync, readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { parseSpecFile } from './parse-file.ts'
import { resolveSpecs } from './resolve.ts'
import { parseRepoSettings } from './settings.ts'

const fixtures = new URL('../../fixtures/', import.meta.url)
const head = 'apiVersion: towline/v1\nkind: Service\nname: shop\nimage: nginx:1.27\n'

function read(name: string): string {
  return readFileSync(new URL(name, fixtures), 'utf8')
}

function problemLines(text: string): string[] {
  return parseSpecFile({ path: 'apps/a.yaml', text }).problems.map(
    ({ line, column, endColumn, message, hint }) => `${line}:${column}-${endColumn} ${message} | ${hint}`,
  )
}

function draftOf(text: string) {
  const { documents, problems } = parseSpecFile({ path: 'apps/a.yaml', text })
  expect(problems).toEqual([])
  return documents[0]?.draft
}

function hashOf(text: string): string | undefined {
  return parseSpecFile({ path: 'apps/a.yaml', text }).documents[0]?.hash
}

describe('mistakes of a tired person', () => {
  const expected: Record<string, string[]> = {
    'compose.yaml': ['1:1-10 `kind` is missing | Add `kind: Service` or `kind: Site`'],
    'directive.yaml': ['1:1-6 the document has a `%YAML` directive | Remove it; files are read as YAML 1.2'],
    'fixed-port.yaml': [
      '6:1-12 /healthcheck: `test` is missing | Add `test: [CMD, <program>, <argument>]`, or `disable: true`',
      '7:22-31 /volumes/1: /data is mounted already by /volumes/0 | Mount it once',
      '8:25-28 /environment/2: A is set already by /environment/0 | Set it once',
      '10:13-14 /deploy/replicas: 2 replicas cannot share the fixed host port 8080 | Set replicas to 1, or let Docker choose the host port with "80"',
      '11:27-38 /deploy/update_config/order: start-first cannot work with the fixed host port 8080: the old container still holds it | Remove the order, or let Docker choose the host port with "80"',
    ],
    'later.yaml': [
      '4:1-7 `source` is not supported yet | Build the image elsewhere and name it with `image`',
      '6:1-6 `build` is not supported yet | Build the image elsewhere and name it with `image`',
      '9:19-25 /environment/DATABASE_URL: `secret` is not supported yet | Give the container its secret by a bind mount server.yaml allows',
      '10:1-7 `routes` is not supported yet | Publish a port with `ports: ["8080:80"]` and route to it yourself',
      '11:12-17 /rollout: `drain` is not supported yet | Use `stop_grace_period` to give a Service time to stop',
      '17:3-10 /source: `archive` is not supported yet | Put the files into the config repo and use `source: {files: <folder>}`',
      '18:1-7 `routes` is not supported yet | Publish a port with `ports: ["8080:80"]` and route to it yourself',
    ],
    'misspelt.yaml': [
      '4:1-6 unknown key `imgae` | Did you mean `image`?',
      '5:1-11 unknown key `depends_on` | Did you mean `dependsOn`?',
      '8:3-10 /healthcheck: unknown key `retires` | Did you mean `retries`?',
      '9:1-8 unknown key `verison` | Known here: apiVersion, kind, name, hosts, dependsOn, paused, image, pull_policy, entrypoint, command, environment, user, working_dir, ports, volumes, healthcheck, restart, labels, stop_signal, stop_grace_period, deploy, rollout',
    ],
    'ports.yaml': [
      '6:5-19 /ports/0: "8000-8010:80" is a range of ports, which is not supported | Write one entry for each port',
      '7:5-14 /ports/1: "80:90:x" is not a port | Write [[ip:]host:]container[/tcp|/udp], such as "8080:80", "80" or "127.0.0.1:9100:9100"',
      '8:5-15 /ports/2: "70000:80" has a port outside 1 to 65535 | Write [[ip:]host:]container[/tcp|/udp], such as "8080:80", "80" or "127.0.0.1:9100:9100"',
      '9:5-21 /ports/3: "9100:9100/sctp" has a protocol that is not tcp or udp | Write [[ip:]host:]container[/tcp|/udp], such as "8080:80", "80" or "127.0.0.1:9100:9100"',
      '10:5-24 /ports/4: "example.com:80:80" does not start with an IP address | Write [[ip:]host:]container[/tcp|/udp], such as "8080:80", "80" or "127.0.0.1:9100:9100"',
      '11:5-6 /ports/5: 0 is not a port in the short form | Write a port in the short form, such as 8080:80 or 80 or 127.0.0.1:9100:9100/udp',
    ],
    'site.yaml': [
      '1:1-23 `ports` is missing | Add `ports`, such as ["8080:80"]',
      '4:18-27 /source/files: "../../etc" leaves its folder by ".." | Write a path from the root, with forward slashes and without "..", such as sites/docs',
      '5:7-14 /root: "/public" is absolute | Write a path from the root, with forward slashes and without "..", such as sites/docs',
      '12:5-8 /source/inline: "a" is a folder here, so it cannot be a file | Rename one of the two',
      '15:7-13 /root: none of the inline files is in "public" | Name a folder that the files are in, or remove `root`',
      '16:16-20 /healthcheck/test: a list that starts with "wget" and has 2 entries is not a test | Write [CMD, <program>, <argument>], [CMD-SHELL, <line>] or [NONE]',
      '21:1-7 /source: a map of 2 is not a map with exactly one of `files` and `inline` | Write a map with exactly one of `files` and `inline`, such as {"files":"sites/docs"}',
      '21:37-42 /source/inline: "c\\\\d" holds a backslash | Write a path from the root, with forward slashes and without "..", such as sites/docs',
    ],
    'tab.yaml': ['6:1-2 not valid YAML: Tabs are not allowed as indentation | Indent with spaces'],
    'types.yaml': [
      '3:7-14 /name: "My_Shop" is not a name: a small letter, then at most 39 small letters, digits or hyphens | Write a name: a small letter, then at most 39 small letters, digits or hyphens, such as shop',
      '4:8-18 /image: "nginx:$TAG" is not an image reference | Write an image reference, such as nginx:1.27 or ghcr.io/acme/shop:2.1',
      '5:8-13 /hosts: "web-1" is not a list of 1 to 100 different host names | Write a list of 1 to 100 different host names, such as ["web-1","web-2"]',
      '6:10-19 /command: "npm start" is not a list of 1 to 200 strings | Write a list of 1 to 200 strings, such as ["node","server.js"]',
      '7:9-14 /paused: "maybe" is not true, false or a map with a reason | Write true, false or a map with a reason, such as {"reason":"migration","until":"2026-12-01T00:00:00Z"}',
      '8:10-26 /restart: "unless-stopped:3" is not a restart policy (only on-failure takes a count) | Write a restart policy (only on-failure takes a count), such as unless-stopped or on-failure:3',
      '9:20-29 /stop_grace_period: "5 minutes" is not a duration of at most 24 hours | Write a duration of at most 24 hours, such as 90s or 1m30s or 500ms',
      '11:3-7 /environment/LIST: a list is not a string, number or boolean | Write a string, number or boolean',
      '12:3-8 /environment/EMPTY: nothing is not a string, number or boolean | Write a string, number or boolean',
      '13:11-22 /labels: the key "towline.app" is not a label of your own (`towline.` is kept for Towline) | Write a label of your own (`towline.` is kept for Towline), such as com.example.team',
      '15:13-16 /deploy/replicas: "two" is not a whole number from 1 to 50 | Write a whole number from 1 to 50',
      '16:32-36 /deploy/resources/limits/cpus: "lots" is not a number of CPUs | Write a number of CPUs, such as 0.5 or 2',
      '16:46-48 /deploy/resources/limits/memory: "1M" is no memory limit the Docker Engine takes | Write at least 6M, such as 256M or 1G',
      '17:36-41 /deploy/update_config/failure_action: "pause" is not rollback, the only action supported | Write rollback, the only action supported',
    ],
    'unclosed.yaml': [
      '6:1-2 not valid YAML: Flow sequence in block collection must be sufficiently indented and end with a ] | Check the indentation and that every bracket is closed',
    ],
    'volumes.yaml': [
      '6:5-17 /volumes/0: "./data:/data" is a bind mount of a relative path | Use a named volume (data:/path) or an absolute path the server allows',
      '7:5-14 /volumes/1: "data:data" has no absolute path in the container | Write the path in full, such as /var/lib/app',
      '8:5-22 /volumes/2: "/srv/data:/data:z" has an option that is not ro or rw | End it with :ro, :rw or nothing',
      '9:5-10 /volumes/3: "/data" has no source | Name the volume, such as data:/var/lib/app',
      '10:5-25 /volumes/4: "/srv/../etc:/etc/app" has a host path with "..", "." or an empty segment | Write the path in full',
      '11:5-16 /volumes/5: "da$ta:/data" has a volume name that is not letters, digits, dots, underscores or hyphens | Write a name of at most 64 characters, such as data',
    ],
    'yaml-traps.yaml': [
      '4:1-5 the key `name` stands here twice | Keep one of the two',
      '7:3-5 the merge key `<<` is not supported | Write the keys out, or use an alias for the whole value',
      '8:7-27 the number 12345678901234567890 is too large to be read exactly | Quote it',
      '9:19-21 the tag `!secret` is not supported | Remove it; quote a value that starts with !',
      '10:10-18 the alias `*nowhere` stands for nothing | Mark a value before it with &nowhere, or quote a text that starts with *',
    ],
  }

  test.each(Object.entries(expected))('%s gets one problem a mistake, each at its place', (name, lines) => {
    expect(problemLines(read(`bad/${name}`))).toEqual(lines)
  })

  test('every bad file has its expectation', () => {
    expect(readdirSync(new URL('bad/', fixtures)).toSorted()).toEqual(Object.keys(expected).toSorted())
  })
})

describe('the example config repo', () => {
  test('its files have no problems and resolve on a server with one host', () => {
    const files = ['apps/docs.yaml', 'apps/hello.yaml'].map((path) =>
      parseSpecFile({ path, text: read(`config-repo/${path}`) }),
    )
    const { settings } = parseRepoSettings({ path: 'towline.yaml', text: read('config-repo/towline.yaml') })
    const { specs, problems } = resolveSpecs({
      files,
      settings,
      server: { hosts: ['local'], bindMounts: [] },
    })
    expect(problems).toEqual([])
    expect(specs.map(({ spec }) => `${spec.kind} ${spec.name}@${spec.hosts}`)).toEqual([
      'Site docs@local',
      'Service hello@local',
    ])
  })
})

describe('what a spec means', () => {
  test('the shortest Service gets every default', () => {
    expect(draftOf(head)).toEqual({
      kind: 'Service',
      name: 'shop',
      hosts: null,
      dependsOn: [],
      paused: null,
      image: 'nginx:1.27',
      pullPolicy: 'missing',
      entrypoint: null,
      command: null,
      environment: {},
      user: null,
      workingDir: null,
      ports: [],
      mounts: [],
      healthcheck: null,
      restart: { name: 'unless-stopped', maxRetries: 0 },
      labels: {},
      cpus: null,
      memoryBytes: null,
      replicas: 1,
      order: 'start-first',
      monitorMs: 5000,
      progressDeadlineMs: null,
      keepReleases: 5,
      recreateVolumes: false,
      stopSignal: null,
      stopGraceMs: 10_000,
    })
  })

  test('the shortest Site gets every default', () => {
    const text = 'apiVersion: towline/v1\nkind: Site\nname: docs\nsource: {files: sites/docs}\nports: [80]\n'
    expect(draftOf(text)).toEqual({
      kind: 'Site',
      name: 'docs',
      hosts: null,
      dependsOn: [],
      paused: null,
      source: { files: 'sites/docs' },
      root: '.',
      ports: [{ hostIp: null, hostPort: null, containerPort: 80, protocol: 'tcp' }],
      healthcheck: {
        test: ['CMD', 'wget', '-q', '--spider', 'http://127.0.0.1:80/'],
        intervalMs: 30_000,
        timeoutMs: 10_000,
        retries: 3,
        startPeriodMs: 40_000,
      },
      restart: { name: 'unless-stopped', maxRetries: 0 },
      labels: {},
      cpus: null,
      memoryBytes: null,
      monitorMs: 2000,
      progressDeadlineMs: null,
      keepReleases: 5,
      recreateVolumes: false,
    })
  })

  test('every supported key of a Service is read', () => {
    const text = `${head}hosts: [web-1, web-2]
dependsOn: [db]
paused: { reason: migration, until: 2026-12-01T01:00:00+01:00 }
pull_policy: if_not_present
entrypoint: [/bin/app]
command: [serve, "--fast"]
environment: { NODE_ENV: production, RETRIES: 3, DEBUG: false }
user: 1000
working_dir: /app
ports: ["8080:80", "[0:0:0:0:0:0:0:1]:9100:9100/udp"]
volumes: ["data:/var/lib/shop", "/srv/conf:/etc/shop:ro"]
healthcheck: { test: curl -f localhost, interval: 1m30s, timeout: 5, retries: 2, start_period: 500ms }
restart: on-failure:4
labels: { team: web, tier: 1 }
stop_signal: SIGQUIT
stop_grace_period: 1.5s
deploy:
  resources: { limits: { cpus: "0.5", memory: 256M } }
  update_config: { order: stop-first, failure_action: rollback, monitor: 10s }
rollout: { progressDeadline: 10m, keepReleases: 3, recreateVolumes: true }
x-note: not ours
`
    expect(draftOf(text)).toEqual({
      kind: 'Service',
      name: 'shop',
      hosts: ['web-1', 'web-2'],
      dependsOn: ['db'],
      paused: { reason: 'migration', until: '2026-12-01T00:00:00.000Z' },
      image: 'nginx:1.27',
      pullPolicy: 'missing',
      entrypoint: ['/bin/app'],
      command: ['serve', '--fast'],
      environment: { NODE_ENV: 'production', RETRIES: '3', DEBUG: 'false' },
      user: '1000',
      workingDir: '/app',
      ports: [
        { hostIp: null, hostPort: 8080, containerPort: 80, protocol: 'tcp' },
        { hostIp: '::1', hostPort: 9100, containerPort: 9100, protocol: 'udp' },
      ],
      mounts: [
        { type: 'volume', source: 'data', target: '/var/lib/shop', readOnly: false },
        { type: 'bind', source: '/srv/conf', target: '/etc/shop', readOnly: true },
      ],
      healthcheck: {
        test: ['CMD-SHELL', 'curl -f localhost'],
        intervalMs: 90_000,
        timeoutMs: 5000,
        retries: 2,
        startPeriodMs: 500,
      },
      restart: { name: 'on-failure', maxRetries: 4 },
      labels: { team: 'web', tier: '1' },
      cpus: 0.5,
      memoryBytes: 268_435_456,
      replicas: 1,
      order: 'stop-first',
      monitorMs: 10_000,
      progressDeadlineMs: 600_000,
      keepReleases: 3,
      recreateVolumes: true,
      stopSignal: 'SIGQUIT',
      stopGraceMs: 1500,
    })
  })

  test.each([
    ['a fixed host port', 'ports: ["8080:80"]', 'stop-first'],
    ['a port that Docker chooses', 'ports: ["80"]', 'start-first'],
    ['a writable volume', 'volumes: ["data:/data"]', 'stop-first'],
    ['a volume that is only read', 'volumes: ["data:/data:ro"]', 'start-first'],
    [
      'a writable volume and an order of its own',
      'volumes: ["data:/data"]\ndeploy: {update_config: {order: start-first}}',
      'start-first',
    ],
  ])('%s decides the order', (_, text, order) => {
    expect(draftOf(`${head}${text}\n`)).toMatchObject({ order })
  })

  test('a list of variables means the same as a map', () => {
    const list = `${head}environment: ["A=1=2", "B="]\n`
    expect(draftOf(list)).toMatchObject({ environment: { A: '1=2', B: '' } })
    expect(hashOf(list)).toBe(hashOf(`${head}environment: {B: "", A: "1=2"}\n`))
  })

  test.each([
    ['0', null],
    ['"0.0"', null],
    ['0.1', 0.1],
    ['"1.50"', 1.5],
    ['0.33333333333', 0.333333333],
  ])('a limit of %s CPUs is what Docker reads back', (text, cpus) => {
    expect(draftOf(`${head}deploy: {resources: {limits: {cpus: ${text}}}}\n`)).toMatchObject({ cpus })
  })

  test('a disabled health check turns off the one of the image', () => {
    expect(draftOf(`${head}healthcheck: {disable: true}\n`)).toMatchObject({
      healthcheck: { test: ['NONE'] },
    })
  })

  test('words of YAML 1.1 are texts', () => {
    expect(draftOf(`${head}environment: {A: yes, B: 22:22}\nrestart: no\n`)).toMatchObject({
      environment: { A: 'yes', B: '22:22' },
      restart: { name: 'no' },
    })
  })

  test('an alias repeats a whole value', () => {
    expect(draftOf(`x-env: &env {A: b}\n${head}environment: *env\n`)).toMatchObject({
      environment: { A: 'b' },
    })
  })

  test('a problem below an alias stands where the value is written', () => {
    expect(problemLines(`x-ports: &p [80, "x"]\n${head}ports: *p\n`)).toEqual([
      '1:18-21 /ports/1: "x" is not a port | ' +
        'Write [[ip:]host:]container[/tcp|/udp], such as "8080:80", "80" or "127.0.0.1:9100:9100"',
    ])
  })
})

describe('the hash', () => {
  test('stays when only the place, the order or the patience changes', () => {
    const more =
      'rollout: {keepReleases: 9, progressDeadline: 1h, recreateVolumes: true}\nhosts: [b]\ndependsOn: [db]\npaused: true\n# note\n'
    expect(hashOf(`${head}${more}`)).toBe(hashOf(head))
  })

  test('stays when a default is written out or the keys change places', () => {
    expect(hashOf(`restart: unless-stopped\n${head}`)).toBe(hashOf(head))
  })

  test('changes with anything that runs', () => {
    const texts = ['', 'command: [a]\n', 'environment: {A: b}\n', 'stop_grace_period: 11s\n', 'ports: [80]\n']
    expect(new Set(texts.map((text) => hashOf(head + text))).size).toBe(texts.length)
  })
})

describe('several documents', () => {
  test('each stands on its own, at its line', () => {
    const text = `${head}---\n# only a comment\n---\n${head.replace('shop', 'db')}---\nkind: Nothing\nname: cache\n`
    const { documents, brokenNames, problems } = parseSpecFile({ path: 'apps/a.yaml', text })
    expect(documents.map(({ draft, places }) => `${draft.name}:${places.document.line}`)).toEqual([
      'shop:1',
      'db:8',
    ])
    expect(brokenNames).toEqual(['cache'])
    expect(problems.map(({ line }) => line)).toEqual([13])
  })

  test('an empty file and a file of comments hold nothing and no problem', () => {
    for (const text of ['', '# nothing here\n', '---\n']) {
      expect(parseSpecFile({ path: 'a.yaml', text })).toMatchObject({ documents: [], problems: [] })
    }
  })
})

test('a line break inside what is not YAML counts all the same', () => {
  const { problems } = parseSpecFile({ path: 'a.yaml', text: `${head}}---\nkind---\n---\nkind` })
  expect(problems.map(({ line }) => line)).toEqual([5, 8])
})

describe('any text at all', () => {
  const word = fc.constantFrom(
    ...['apiVersion', 'towline/v1', 'kind', 'Service', 'Site', 'name', 'ports', 'image', 'source', 'inline'],
    ...[':', ': ', '-', '- ', '\n', '\n  ', '\n\t', '---\n', '[', ']', '{', '}', ',', '"', "'", '|', '>'],
    ...[
      '&a',
      '*a',
      '!t',
      '<<',
      '?',
      '#',
      '%YAML 1.1\n',
      '\u0000',
      '\r\n',
      '~',
      'é',
      '😀',
      '1e999',
      '__proto__',
    ],
  )
  const text = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 200 }),
    fc.array(word, { maxLength: 60 }).map((words) => words.join('')),
    fc.array(word, { maxLength: 30 }).map((words) => head + words.join('')),
    fc.json({ maxDepth: 4 }).map((json) => `${head}deploy: ${json}\n`),
  )

  test('is read without an error thrown, and every problem lies inside the file', () => {
    fc.assert(
      fc.property(text, (given) => {
        const lines = given.split('\n')
        for (const problem of parseSpecFile({ path: 'a.yaml', text: given }).problems) {
          expect(problem.line).toBeGreaterThanOrEqual(1)
          expect(problem.line).toBeLessThanOrEqual(lines.length)
          expect(problem.endLine).toBe(problem.line)
          expect(problem.column).toBeGreaterThanOrEqual(1)
          expect(problem.endColumn).toBeGreaterThanOrEqual(problem.column)
          expect(problem.endColumn).toBeLessThanOrEqual((lines[problem.line - 1] ?? '').length + 1)
          expect(problem.message).not.toBe('')
          expect(problem.hint).not.toBe('')
        }
      }),
      { numRuns: 2000 },
    )
  })
})

test('inline files beyond 64 KiB are sent to a folder', () => {
  const text = `apiVersion: towline/v1
kind: Site
name: docs
ports: ["80"]
source: { inline: { index.html: "${'x'.repeat(64 * 1024 + 1)}" } }
`
  const { documents, problems } = parseSpecFile({ path: 'apps/docs.yaml', text })
  expect(documents).toEqual([])
  expect(problems).toHaveLength(1)
  expect(problems[0]).toMatchObject({
    line: 5,
    message: expect.stringContaining('65537 bytes, more than 65536'),
  })
})
