import { expect, test } from 'vitest'
import { checkNodeVersion, readEnvironment, readLocalEnvironment } from './environment.ts'
import { TowlineError } from './rollout/error.ts'

const pem = '-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----'
const enough = { APP_ID: '17', PRIVATE_KEY: pem, WEBHOOK_SECRET: 'a-secret' }

function refusalOf(read: () => unknown): TowlineError {
  try {
    read()
  } catch (error) {
    if (error instanceof TowlineError) return error
  }
  throw new Error('it was not refused')
}

test('three variables are enough, and the rest has defaults', () => {
  expect(readEnvironment(enough)).toEqual({
    appId: 17,
    privateKey: { text: pem },
    webhookSecret: 'a-secret',
    gheHost: null,
    gheProtocol: 'https',
    host: '0.0.0.0',
    port: 3000,
    logLevel: 'info',
    logFormat: 'json',
    apiToken: null,
    configPath: null,
    dataFolder: './data',
    dockerHost: null,
  })
})

test('every variable is read', () => {
  const variables = {
    APP_ID: '17',
    PRIVATE_KEY_PATH: '/run/key.pem',
    WEBHOOK_SECRET: 'a-secret',
    GHE_HOST: 'ghe.example',
    GHE_PROTOCOL: 'http',
    HOST: '127.0.0.1',
    PORT: '8080',
    LOG_LEVEL: 'debug',
    LOG_FORMAT: 'pretty',
    TOWLINE_TOKEN: 'api-token',
    TOWLINE_CONFIG: '/etc/server.yaml',
    TOWLINE_DATA: '/var/lib/towline',
    DOCKER_HOST: 'tcp://10.0.0.1:2375',
  }
  expect(readEnvironment(variables)).toEqual({
    appId: 17,
    privateKey: { path: '/run/key.pem' },
    webhookSecret: 'a-secret',
    gheHost: 'ghe.example',
    gheProtocol: 'http',
    host: '127.0.0.1',
    port: 8080,
    logLevel: 'debug',
    logFormat: 'pretty',
    apiToken: 'api-token',
    configPath: '/etc/server.yaml',
    dataFolder: '/var/lib/towline',
    dockerHost: 'tcp://10.0.0.1:2375',
  })
})

test('all that is missing or wrong is named at once, and what would be right', () => {
  const refusal = refusalOf(() =>
    readEnvironment({ PORT: 'http', LOG_LEVEL: 'loud', GHE_PROTOCOL: 'ftp', LOG_FORMAT: 'xml' }),
  )
  expect(refusal.fault).toBe('operator')
  expect(refusal.message.split('\n')).toEqual([
    'Towline cannot start:',
    "- APP_ID is not set: the App's id, a number on its settings page",
    "- neither PRIVATE_KEY nor PRIVATE_KEY_PATH is set: the App's private key, or the path of its PEM file",
    '- WEBHOOK_SECRET is not set: the secret the App signs its webhooks with; any long random text',
    '- GHE_PROTOCOL is "ftp", not one of https, http',
    '- PORT is "http", not a whole number',
    '- LOG_LEVEL is "loud", not one of trace, debug, info, warn, error, fatal',
    '- LOG_FORMAT is "xml", not one of json, pretty',
  ])
})

test.each(['', '   '])('a variable that is empty (%j) counts as not set', (WEBHOOK_SECRET) => {
  const { message } = refusalOf(() => readEnvironment({ ...enough, WEBHOOK_SECRET }))
  expect(message).toContain('WEBHOOK_SECRET is not set')
})

test('an App id that is no number is refused', () => {
  const { message } = refusalOf(() => readEnvironment({ ...enough, APP_ID: 'Iv1.abc' }))
  expect(message).toContain('APP_ID is "Iv1.abc", not a whole number')
})

test('no refusal repeats a secret', () => {
  const { message, hint } = refusalOf(() =>
    readEnvironment({ ...enough, PORT: 'x', TOWLINE_TOKEN: 'hidden' }),
  )
  for (const secret of [pem, 'a-secret', 'hidden']) expect(message + hint).not.toContain(secret)
})

test('PostgreSQL is refused rather than ignored', () => {
  const { message } = refusalOf(() =>
    readEnvironment({ ...enough, DATABASE_URL: 'postgres://u:hidden@db/t' }),
  )
  expect(message).toContain('PostgreSQL is not supported yet')
  expect(message).not.toContain('hidden')
})

test.each([
  ['with \\n for its line breaks', pem.replaceAll('\n', '\\n'), pem],
  ['in base64', Buffer.from(pem).toString('base64'), pem],
  ['that is no key at all, as it is', 'not a key', 'not a key'],
])('a private key is taken %s', (_how, PRIVATE_KEY, text) => {
  expect(readEnvironment({ ...enough, PRIVATE_KEY }).privateKey).toEqual({ text })
})

test('a key in the environment counts before a path', () => {
  expect(readEnvironment({ ...enough, PRIVATE_KEY_PATH: '/key.pem' }).privateKey).toHaveProperty('text')
})

test('commands on a folder need none of the secrets', () => {
  expect(readLocalEnvironment({})).toEqual({ configPath: null, dataFolder: './data', dockerHost: null })
})

test('Node.js 24 is taken and any other refused', () => {
  expect(() => checkNodeVersion('24.12.0')).not.toThrow()
  for (const version of ['22.11.0', '25.0.0', '2.4.0']) {
    expect(refusalOf(() => checkNodeVersion(version))).toMatchObject({
      fault: 'operator',
      message: `this is Node.js ${version}; Towline runs on Node.js 24`,
    })
  }
})
