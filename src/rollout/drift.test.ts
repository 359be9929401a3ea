import { expect, test } from 'vitest'
import { containerDrift } from './drift.ts'
import { observedContainer } from './observed.fixture.ts'
import type { ObservedContainer } from './observed.ts'
import { containerSpec } from './release.fixture.ts'
import type { ContainerSpec, PortBinding } from './release.ts'

const spec = containerSpec({
  name: 'shop-1',
  ports: [{ hostIp: null, hostPort: 8080, containerPort: 80, protocol: 'tcp' }],
  mounts: [
    { type: 'volume', source: 'data', target: '/data', readOnly: false },
    { type: 'bind', source: '/etc/shop', target: '/config', readOnly: true },
  ],
  environment: { MODE: 'production', TOKEN: 'hidden-value' },
  cpus: 0.5,
  memoryBytes: 64_000_000,
})

function differences(over: Partial<ObservedContainer>, from: ContainerSpec = spec): string[] {
  return containerDrift(from, observedContainer(from, over)).map(
    ({ subject, field, expected, found }) => `${subject} | ${field} | ${expected} | ${found}`,
  )
}

function settings(over: Partial<NonNullable<ObservedContainer['settings']>>): Partial<ObservedContainer> {
  const { restart, cpus, memoryBytes, environment } = spec
  return { settings: { restart, cpus, memoryBytes, environment, ...over } }
}

test('a container that is as its spec says does not differ', () => {
  expect(differences({})).toEqual([])
})

test('each difference names the container, the field, what is expected and what was found', () => {
  expect(differences({ networks: ['bridge', 'other'] })).toEqual([
    'container shop-1 | network | towline-net | bridge, other',
  ])
  expect(differences({ networks: [] })).toEqual(['container shop-1 | network | towline-net | none'])
  expect(differences({ mounts: [] })).toEqual([
    'container shop-1 | mounts | /etc/shop:/config:ro, data:/data | none',
  ])
  expect(differences(settings({ cpus: null, memoryBytes: 1 }))).toEqual([
    'container shop-1 | cpus | 0.5 | unlimited',
    'container shop-1 | memory | 64000000 | 1',
  ])
  expect(differences(settings({ restart: { name: 'on-failure', maxRetries: 1 } }))).toEqual([
    'container shop-1 | restart policy | unless-stopped | on-failure:1',
  ])
  expect(differences({ labels: { ...spec.labels, 'towline.app': 'blog' } })).toEqual([
    'container shop-1 | label towline.app | shop | blog',
  ])
})

test('another input is a difference; who made a container and when is none', () => {
  const { labels } = spec
  expect(differences({ labels: { ...labels, 'towline.input': 'another' } })).toEqual([
    'container shop-1 | label towline.input | new-hash | another',
  ])
  const born = { 'towline.deployment': 'd-1', 'towline.commit': 'c0ffee', 'towline.epoch': '1' }
  const made = containerSpec({ labels: { ...labels, ...born } })
  const earlier = { 'towline.deployment': 'd-0', 'towline.commit': 'beef', 'towline.epoch': '0' }
  expect(differences({ labels: { ...labels, ...earlier } }, made)).toEqual([])
})

test('a label that is gone is a difference', () => {
  const { 'towline.input': _, ...labels } = spec.labels
  expect(differences({ labels })).toEqual(['container shop-1 | label towline.input | new-hash | missing'])
})

test('labels, networks and environment that others added are no difference', () => {
  expect(differences({ labels: { ...spec.labels, 'org.opencontainers.image.title': 'nginx' } })).toEqual([])
  expect(differences({ networks: ['towline-net', 'monitoring'] })).toEqual([])
  expect(differences(settings({ environment: { ...spec.environment, PATH: '/bin' } }))).toEqual([])
})

test('a changed variable is named, its value never is', () => {
  const lines = differences(settings({ environment: { MODE: 'production', TOKEN: 'leaked-value' } }))
  expect(lines).toEqual(['container shop-1 | environment TOKEN | the value of the spec | another value'])
})

test('mounts are the same in any order, and read-only counts', () => {
  expect(differences({ mounts: spec.mounts.toReversed() })).toEqual([])
  const writable = spec.mounts.map((mount) => ({ ...mount, readOnly: false }))
  expect(differences({ mounts: writable })).toHaveLength(1)
})

const tcp: PortBinding = { hostIp: null, hostPort: 8080, containerPort: 80, protocol: 'tcp' }

test.each<[string, PortBinding[]]>([
  ['0.0.0.0', [{ ...tcp, hostIp: '0.0.0.0' }]],
  ['::', [{ ...tcp, hostIp: '::' }]],
  [
    'both, as Docker lists it',
    [
      { ...tcp, hostIp: '0.0.0.0' },
      { ...tcp, hostIp: '::' },
    ],
  ],
  ['no address', [{ ...tcp, hostIp: '' }]],
])('a port on every address is the same however Docker says it: %s', (_how, ports) => {
  expect(differences({ ports })).toEqual([])
})

test('a port on another address, number or protocol differs', () => {
  expect(differences({ ports: [{ ...tcp, hostIp: '127.0.0.1' }] })).toEqual([
    'container shop-1 | ports | 8080:80/tcp | 127.0.0.1:8080:80/tcp',
  ])
  expect(differences({ ports: [{ ...tcp, hostPort: 8081 }] })).toHaveLength(1)
  expect(differences({ ports: [{ ...tcp, protocol: 'udp' }] })).toHaveLength(1)
  expect(differences({ ports: [] })).toEqual(['container shop-1 | ports | 8080:80/tcp | none'])
})

test('a host port Docker chose is the free choice that was asked for', () => {
  const free = containerSpec({ ports: [{ ...tcp, hostPort: null }] })
  expect(differences({ ports: [{ ...tcp, hostPort: 49_153 }] }, free)).toEqual([])
  expect(differences({ ports: [{ ...tcp, hostPort: 49_153, containerPort: 81 }] }, free)).toEqual([
    'container shop-new-1 | ports | any:80/tcp | 49153:81/tcp',
  ])
  expect(differences({ ports: [{ ...tcp, hostPort: 49_153, protocol: 'udp' }] }, free)).toEqual([
    'container shop-new-1 | ports | any:80/tcp | 49153:80/udp',
  ])
})

test('a port published both where the spec says and where Docker chose is as asked', () => {
  const both = containerSpec({ ports: [tcp, { ...tcp, hostPort: null }] })
  const ports = [tcp, { ...tcp, hostPort: 49_153 }]
  expect(differences({ ports }, both)).toEqual([])
  expect(differences({ ports: ports.slice(1) }, both)).toEqual([
    'container shop-new-1 | ports | 8080:80/tcp, any:80/tcp | any:80/tcp',
  ])
})

test('ports of a container that does not run are not compared: Docker lists none', () => {
  expect(differences({ state: 'exited', ports: [] })).toEqual([])
})

test('settings are compared only where the host was looked at deeply', () => {
  expect(differences({ settings: null })).toEqual([])
})
