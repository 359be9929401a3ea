import type { ContainerInfo } from 'dockerode'
import { expect, test } from 'vitest'
import type { ContainerSpec } from '../rollout/release.ts'
import { createPayload, fromList } from './containers.ts'

const spec: ContainerSpec = {
  name: 'shop-1',
  role: 'app',
  image: `acme/shop@sha256:${'a'.repeat(64)}`,
  entrypoint: null,
  command: ['serve', '--fast'],
  environment: { NODE_ENV: 'production', EMPTY: '' },
  user: null,
  workingDir: null,
  ports: [
    { hostIp: null, hostPort: 80, containerPort: 8080, protocol: 'tcp' },
    { hostIp: '127.0.0.1', hostPort: null, containerPort: 8080, protocol: 'tcp' },
  ],
  mounts: [{ type: 'volume', source: 'data', target: '/data', readOnly: false }],
  healthcheck: { test: ['CMD', 'true'], intervalMs: 5_000, timeoutMs: 1_500, retries: 3, startPeriodMs: 0 },
  restart: { name: 'unless-stopped', maxRetries: 5 },
  cpus: 0.25,
  memoryBytes: 1_000,
  network: 'towline',
  aliases: ['shop'],
  stopSignal: 'SIGINT',
  stopGraceMs: 1_500,
  labels: { 'towline.owner': 'o' },
  logMaxSize: '10m',
  logMaxFiles: 3,
}

test('a spec becomes the body the Engine takes, in its units', () => {
  const payload = createPayload(spec)
  expect(payload).toMatchObject({
    name: 'shop-1',
    Image: spec.image,
    Cmd: ['serve', '--fast'],
    Env: ['NODE_ENV=production', 'EMPTY='],
    ExposedPorts: { '8080/tcp': {} },
    Healthcheck: { Test: ['CMD', 'true'], Interval: 5e9, Timeout: 1.5e9, Retries: 3, StartPeriod: 0 },
    StopSignal: 'SIGINT',
    StopTimeout: 2,
    NetworkingConfig: { EndpointsConfig: { towline: { Aliases: ['shop'] } } },
    HostConfig: {
      Init: true,
      NanoCpus: 250_000_000,
      Memory: 1_000,
      PortBindings: {
        '8080/tcp': [
          { HostIp: '', HostPort: '80' },
          { HostIp: '127.0.0.1', HostPort: '' },
        ],
      },
      Mounts: [{ Type: 'volume', Source: 'data', Target: '/data', ReadOnly: false }],
      LogConfig: { Type: 'json-file', Config: { 'max-size': '10m', 'max-file': '3' } },
    },
  })
})

test('what the spec leaves to the image is not in the body at all', () => {
  const payload = createPayload({ ...spec, healthcheck: null, command: null, stopSignal: null })
  for (const key of ['Healthcheck', 'Cmd', 'Entrypoint', 'User', 'WorkingDir', 'StopSignal']) {
    expect(payload).not.toHaveProperty(key)
  }
})

test('only on-failure has a retry count: the Engine refuses it with any other policy', () => {
  expect(createPayload(spec).HostConfig?.RestartPolicy).toEqual({ Name: 'unless-stopped' })
  const onFailure = createPayload({ ...spec, restart: { name: 'on-failure', maxRetries: 5 } })
  expect(onFailure.HostConfig?.RestartPolicy).toEqual({ Name: 'on-failure', MaximumRetryCount: 5 })
})

test.each([
  ['Up 3 seconds (health: starting)', 'starting'],
  ['Up 2 minutes (healthy)', 'healthy'],
  ['Up 2 minutes (unhealthy)', 'unhealthy'],
  ['Up 2 minutes', 'none'],
  ['Up 2 minutes (Paused)', 'none'],
  ['Exited (1) 3 seconds ago', 'none'],
])('a list that says "%s" means %s', (Status, health) => {
  expect(fromList({ ...listed, Status }).health).toBe(health)
})

test('a port open on IPv4 and IPv6 is one port, and one that is not published is none', () => {
  const port = { PrivatePort: 8080, PublicPort: 80, Type: 'tcp' }
  const Ports = [
    { ...port, IP: '0.0.0.0' },
    { ...port, IP: '::' },
    { IP: '', PrivatePort: 9090, PublicPort: 0, Type: 'tcp' },
  ]
  expect(fromList({ ...listed, Ports }).ports).toEqual([
    { hostIp: null, hostPort: 80, containerPort: 8080, protocol: 'tcp' },
  ])
})

test('mounts are those somebody asked for, not the volumes an image brings along', () => {
  const mount = {
    Type: 'volume',
    Source: '/var/lib/docker/volumes/x',
    Driver: 'local',
    Mode: 'z',
    Propagation: '',
  }
  const Mounts = [
    { ...mount, Name: 'data', Destination: '/data', RW: false },
    { ...mount, Name: 'f'.repeat(64), Destination: '/var/lib/redis', RW: true },
    { ...mount, Type: 'bind', Source: '/etc/shop', Destination: '/config', RW: true },
  ]
  expect(fromList({ ...listed, Mounts }).mounts).toEqual([
    { type: 'volume', source: 'data', target: '/data', readOnly: true },
    { type: 'bind', source: '/etc/shop', target: '/config', readOnly: false },
  ])
})

const listed: ContainerInfo = {
  Id: 'abc',
  Names: ['/shop-1'],
  Image: spec.image,
  ImageID: 'sha256:1',
  Command: 'serve',
  Created: 0,
  Ports: [],
  Labels: {},
  State: 'running',
  Status: 'Up',
  HostConfig: { NetworkMode: 'towline' },
  NetworkSettings: { Networks: {} },
  Mounts: [],
}
