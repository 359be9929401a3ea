import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createServer } from 'node:tls'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { openDockerHost } from './host.ts'

const run = promisify(execFile)
const signal = new AbortController().signal
let folder: string
let port: number
let close: () => void

/** A Docker Engine behind mutual TLS, as `dockerd --tlsverify` serves it. */
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'towline-tls-'))
  await makeAuthority('ca')
  await makeAuthority('stranger')
  await makeCertificate('server', 'ca')
  await makeCertificate('client', 'ca')
  await makeCertificate('outsider', 'stranger')
  const options = { ca: await pem('ca.pem'), cert: await pem('server.pem'), key: await pem('server.key') }
  const server = createServer({ ...options, requestCert: true, rejectUnauthorized: true }, (secure) => {
    const plain = connect(inject('dockerSocket'))
    secure.pipe(plain).pipe(secure)
    for (const stream of [secure, plain]) stream.on('error', () => stream.destroy())
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  port = typeof address === 'object' && address ? address.port : 0
  close = () => server.close()
})

afterAll(async () => {
  close()
  await rm(folder, { recursive: true, force: true })
})

test('a host behind mutual TLS is observed', async () => {
  const host = await openTlsHost({ ca: 'ca', client: 'client' })
  const observed = await host.observe({ signal })
  expect(observed).toMatchObject({ host: 'remote', containers: [] })
})

test('a client that the Engine does not know is refused', async () => {
  const host = await openTlsHost({ ca: 'ca', client: 'outsider' })
  await expect(host.observe({ signal })).rejects.toMatchObject({ name: 'TowlineError' })
})

test('an Engine that another authority vouches for is not spoken to', async () => {
  const host = await openTlsHost({ ca: 'stranger', client: 'client' })
  await expect(host.observe({ signal })).rejects.toMatchObject({ fault: 'operator' })
})

async function openTlsHost(names: { ca: string; client: string }) {
  const tls = {
    ca: await pem(`${names.ca}.pem`),
    cert: await pem(`${names.client}.pem`),
    key: await pem(`${names.client}.key`),
  }
  return openDockerHost({
    name: 'remote',
    endpoint: { kind: 'tcp', host: '127.0.0.1', port, tls },
    owner: 'test-tls-owner',
    images: { helper: 'towline-demo/busybox:1' },
  })
}

function pem(name: string): Promise<string> {
  return readFile(join(folder, name), 'utf8')
}

async function makeAuthority(name: string): Promise<void> {
  const key = [
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:prime256v1',
    '-nodes',
    '-keyout',
    `${name}.key`,
  ]
  await openssl(['req', '-x509', ...key, '-out', `${name}.pem`, '-days', '2', '-subj', `/CN=${name}`])
}

async function makeCertificate(name: string, authority: string): Promise<void> {
  const key = [
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:prime256v1',
    '-nodes',
    '-keyout',
    `${name}.key`,
  ]
  const signed = ['-CA', `${authority}.pem`, '-CAkey', `${authority}.key`, '-days', '2']
  const extension = [
    '-addext',
    'subjectAltName=IP:127.0.0.1',
    '-addext',
    'basicConstraints=critical,CA:FALSE',
  ]
  await openssl([
    'req',
    '-x509',
    ...key,
    ...signed,
    ...extension,
    '-out',
    `${name}.pem`,
    '-subj',
    `/CN=${name}`,
  ])
}

function openssl(args: string[]): Promise<unknown> {
  return run('openssl', args, { cwd: folder, timeout: 30_000 })
}
