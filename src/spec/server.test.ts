import { describe, expect, test } from 'vitest'
import { defaultServerConfig, parseServerConfig } from './server.ts'

const head = 'apiVersion: towline/v1\nkind: Server\n'

function parse(more: string, dockerHost: string | null = null) {
  return parseServerConfig({ path: 'server.yaml', text: head + more, dockerHost })
}

function problemLines(more: string): string[] {
  return parse(more).problems.map(
    ({ line, column, message, hint }) => `${line}:${column} ${message} | ${hint}`,
  )
}

describe('without a file', () => {
  test('there is one host on the default socket', () => {
    expect(defaultServerConfig({ dockerHost: null })).toEqual({
      repos: null,
      hosts: [{ name: 'local', endpoint: { kind: 'unix', socketPath: '/var/run/docker.sock' } }],
      images: {
        helper: 'busybox:1.37-musl',
        site: {
          image: 'caddy:2-alpine',
          command: ['caddy', 'file-server', '--root', '{root}', '--listen', ':80'],
        },
      },
      schedule: { sweep: '*/5 * * * *', stuck: '*/2 * * * *', pollMs: 10_000, reposMs: null },
      limits: {
        perHost: 4,
        total: 16,
        progressDeadlineMs: 300_000,
        deadlineMs: 1_800_000,
        orphanGraceMs: 300_000,
        healing: { limit: 5, windowMs: 300_000 },
        githubWriteIntervalMs: 1000,
      },
      orphans: { remove: true, volumes: false },
      bindMounts: [],
    })
  })

  test('DOCKER_HOST says where the host is', () => {
    expect(defaultServerConfig({ dockerHost: 'tcp://127.0.0.1:2375' }).hosts).toEqual([
      { name: 'local', endpoint: { kind: 'tcp', host: '127.0.0.1', port: 2375, tls: null } },
    ])
  })

  test('a DOCKER_HOST that is no endpoint is refused without repeating it', () => {
    const start = () => defaultServerConfig({ dockerHost: 'tcp://user:hunter2@host:1' })
    expect(start).toThrow('the tcp endpoint is not a host and a port from 1 to 65535')
  })
})

describe('with a file', () => {
  test('a file that only says what it is means the defaults', () => {
    expect(parse('')).toEqual({ config: defaultServerConfig({ dockerHost: null }), problems: [] })
  })

  test('every supported key is read', () => {
    const text = `repos: [{ repo: acme/config, branch: main }, { repo: acme/more }]
hosts:
  web-1: { endpoint: unix:///run/docker.sock }
  web-2:
    endpoint: "tcp://[fd00::6]:2376"
    tls: { ca: { file: /c/ca.pem }, cert: { file: /c/cert.pem }, key: { file: /c/key.pem } }
images: { helper: "busybox:1", site: { image: "nginx:1.27", command: [serve, "--dir={root}"] } }
schedule: { sweep: "0 * * * *", stuck: "* * * * *", poll: 1m, repos: 30s }
limits: { perHost: 1, total: 2, progressDeadline: 2m, deadline: 1h, orphanGrace: 1m, healings: 2, healingWindow: 1m, githubWriteInterval: 0s }
orphans: { remove: false, volumes: true }
policy: { bindMounts: [/srv/data] }
`
    expect(parse(text).config).toEqual({
      repos: [
        { repo: 'acme/config', branch: 'main' },
        { repo: 'acme/more', branch: null },
      ],
      hosts: [
        { name: 'web-1', endpoint: { kind: 'unix', socketPath: '/run/docker.sock' } },
        {
          name: 'web-2',
          endpoint: {
            kind: 'tcp',
            host: 'fd00::6',
            port: 2376,
            tls: { caFile: '/c/ca.pem', certFile: '/c/cert.pem', keyFile: '/c/key.pem' },
          },
        },
      ],
      images: { helper: 'busybox:1', site: { image: 'nginx:1.27', command: ['serve', '--dir={root}'] } },
      schedule: { sweep: '0 * * * *', stuck: '* * * * *', pollMs: 60_000, reposMs: 30_000 },
      limits: {
        perHost: 1,
        total: 2,
        progressDeadlineMs: 120_000,
        deadlineMs: 3_600_000,
        orphanGraceMs: 60_000,
        healing: { limit: 2, windowMs: 60_000 },
        githubWriteIntervalMs: 0,
      },
      orphans: { remove: false, volumes: true },
      bindMounts: ['/srv/data'],
    })
  })

  test('every mistake is reported at its place', () => {
    const text = `registries: { ghcr.io: {} }
hosts:
  web-1: { endpoint: "ssh://deploy@10.0.0.7", identity: { file: /k } }
  web-2: { endpoint: "tcp://10.0.0.6" }
  web-3: { endpoint: "tcp://10.0.0.6:2376", tls: { ca: { env: CA }, cert: { file: c.pem }, key: { file: /k } } }
images: { site: { image: "nginx:1.27", command: [serve] } }
schedule: { sweep: "* * * * * *", poll: 0s }
policy: { bindMounts: [/srv/../etc], privileged: true }
`
    expect(problemLines(text)).toEqual([
      '3:1 `registries` is not supported yet | Use images that need no login, or load them onto the host beforehand',
      '5:22 /hosts/web-1/endpoint: `ssh://` endpoints are not supported yet | ' +
        'Write unix:///var/run/docker.sock or tcp://10.0.0.6:2376',
      '5:47 /hosts/web-1: `identity` is not supported yet | Use a unix:// or tcp:// endpoint',
      '6:22 /hosts/web-2/endpoint: the tcp endpoint is not a host and a port from 1 to 65535 | ' +
        'Write unix:///var/run/docker.sock or tcp://10.0.0.6:2376',
      '7:58 /hosts/web-3/tls/ca: `env` is not supported yet | Use `{file: /absolute/path}`',
      '7:83 /hosts/web-3/tls/cert/file: "c.pem" is not an absolute path | ' +
        'Write an absolute path, such as /etc/towline/ca.pem',
      '9:20 /schedule/sweep: "* * * * * *" is not a cron expression of five fields | ' +
        'Write minute, hour, day, month and weekday, such as "*/5 * * * *"',
      '9:41 /schedule/poll: "0s" is shorter than a millisecond | Write a duration such as 30s',
      '10:24 /policy/bindMounts/0: "/srv/../etc" is not an absolute path in its shortest form | ' +
        'Write it from / on, without "..", "." or a slash at the end',
      '10:38 /policy: `privileged` is not supported yet | Remove it; nothing runs privileged',
    ])
  })

  test('what a schema cannot say is reported too', () => {
    const text = `hosts: { web-1: { endpoint: "unix:///run/docker.sock", tls: { ca: { file: /a }, cert: { file: /b }, key: { file: /c } } } }
images: { site: { image: "nginx:1.27", command: [serve] } }
`
    expect(problemLines(text)).toEqual([
      '3:56 /hosts/web-1: `tls` stands beside an endpoint that is not tcp | Remove it, or write a tcp:// endpoint',
      '4:40 /images/site/command: no argument holds `{root}`, the folder to serve | ' +
        'Write such as ["caddy","file-server","--root","{root}","--listen",":80"]',
    ])
  })

  test('an empty file and a second document are refused', () => {
    expect(parseServerConfig({ path: 'server.yaml', text: '', dockerHost: null }).problems).toMatchObject([
      { line: 1, message: 'the file is empty' },
    ])
    expect(problemLines(`---\n${head}`)).toEqual([
      '4:1 a second document stands here | Keep one document in this file',
    ])
  })
})
