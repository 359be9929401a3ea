import { TowlineError } from './rollout/error.ts'

/** What both the server and the commands on a folder need. */
export type LocalEnvironment = {
  configPath: string | null
  dataFolder: string
  dockerHost: string | null
}

/** What the environment says, with defaults filled in. Secrets are here and nowhere in any output. */
export type Environment = LocalEnvironment & {
  appId: number
  /** PEM text, or the path of a PEM file. */
  privateKey: { text: string } | { path: string }
  webhookSecret: string
  gheHost: string | null
  gheProtocol: string
  host: string
  port: number
  logLevel: LogLevel
  logFormat: 'json' | 'pretty'
  apiToken: string | null
}

export const logLevels = ['trace', 'debug', 'info', 'warn', 'error', 'fatal'] as const
export type LogLevel = (typeof logLevels)[number]

type Variables = Record<string, string | undefined>

/**
 * Reads the server's settings.
 * @throws TowlineError `operator` that names everything missing or wrong at once.
 */
export function readEnvironment(variables: Variables): Environment {
  const problems: string[] = []
  const given = (name: string) => readVariable(variables, name)
  const required = (name: string, what: string) => {
    const value = given(name)
    if (value === null) problems.push(`${name} is not set: ${what}`)
    return value ?? ''
  }
  const oneOf = <T extends string>(name: string, allowed: readonly T[], standard: T): T => {
    const value = given(name)
    const known = allowed.find((each) => each === value)
    if (value !== null && known === undefined)
      problems.push(`${name} is "${value}", not one of ${allowed.join(', ')}`)
    return known ?? standard
  }
  const whole = (name: string, value: string | null, standard: number) => {
    if (value === null) return standard
    if (!/^\d{1,9}$/.test(value)) problems.push(`${name} is "${value}", not a whole number`)
    return Number(value)
  }
  const appId = whole('APP_ID', required('APP_ID', "the App's id, a number on its settings page") || null, 0)
  const privateKeyText = given('PRIVATE_KEY')
  const privateKeyPath = given('PRIVATE_KEY_PATH')
  if (privateKeyText === null && privateKeyPath === null) {
    problems.push(
      "neither PRIVATE_KEY nor PRIVATE_KEY_PATH is set: the App's private key, or the path of its PEM file",
    )
  }
  const webhookSecret = required(
    'WEBHOOK_SECRET',
    'the secret the App signs its webhooks with; any long random text',
  )
  if (given('DATABASE_URL') !== null) {
    problems.push(
      'DATABASE_URL is set, but PostgreSQL is not supported yet: unset it to use the embedded store',
    )
  }
  const environment: Environment = {
    appId,
    privateKey:
      privateKeyText !== null ? { text: unescapeKey(privateKeyText) } : { path: privateKeyPath ?? '' },
    webhookSecret,
    gheHost: given('GHE_HOST'),
    gheProtocol: oneOf('GHE_PROTOCOL', ['https', 'http'], 'https'),
    host: given('HOST') ?? '0.0.0.0',
    port: whole('PORT', given('PORT'), 3000),
    logLevel: oneOf('LOG_LEVEL', logLevels, 'info'),
    logFormat: oneOf('LOG_FORMAT', ['json', 'pretty'], 'json'),
    apiToken: given('TOWLINE_TOKEN'),
    ...readLocalEnvironment(variables),
  }
  if (problems.length > 0) {
    throw new TowlineError(`Towline cannot start:\n${problems.map((problem) => `- ${problem}`).join('\n')}`, {
      fault: 'operator',
      hint: 'Set these in the environment; the README lists them all.',
    })
  }
  return environment
}

export function readLocalEnvironment(variables: Variables): LocalEnvironment {
  return {
    configPath: readVariable(variables, 'TOWLINE_CONFIG'),
    dataFolder: readVariable(variables, 'TOWLINE_DATA') ?? './data',
    dockerHost: readVariable(variables, 'DOCKER_HOST'),
  }
}

/** Where a command finds the server, and what it shows it. */
export type ClientEnvironment = { serverUrl: string; apiToken: string | null }

/** @throws TowlineError `operator` where TOWLINE_URL is no address. */
export function readClientEnvironment(variables: Variables): ClientEnvironment {
  const given = readVariable(variables, 'TOWLINE_URL') ?? 'http://127.0.0.1:3000'
  const url = URL.parse(given)
  if (url?.protocol === 'http:' || url?.protocol === 'https:') {
    return { serverUrl: given.replace(/\/+$/, ''), apiToken: readVariable(variables, 'TOWLINE_TOKEN') }
  }
  throw new TowlineError('TOWLINE_URL is not an address', {
    fault: 'operator',
    hint: 'Write it such as http://127.0.0.1:3000 or https://towline.example.com.',
  })
}

/** An empty variable counts as not set, as in a Compose file that passes on what may be missing. */
function readVariable(variables: Variables, name: string): string | null {
  return variables[name]?.trim() || null
}

/** Keys arrive with line breaks written as `\n`, or in base64, where a shell or a secret store wants one line. */
function unescapeKey(key: string): string {
  if (key.includes('-----BEGIN')) return key.replaceAll('\\n', '\n')
  const decoded = Buffer.from(key, 'base64').toString('utf8')
  return decoded.includes('-----BEGIN') ? decoded : key
}

/**
 * Refuses a Node.js that TypeScript without a build, and the versions Towline is tested on, do not fit.
 * @throws TowlineError `operator`
 */
export function checkNodeVersion(version: string): void {
  const major = Number(version.split('.')[0])
  if (major === supportedNodeMajor) return
  throw new TowlineError(`this is Node.js ${version}; Towline runs on Node.js ${supportedNodeMajor}`, {
    fault: 'operator',
    hint: 'Start it with `npm start`: the project brings its own Node.js.',
  })
}

const supportedNodeMajor = 24
