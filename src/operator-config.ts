import { readFile } from 'node:fs/promises'
import { openDockerHost } from './docker/host.ts'
import type { DockerHost } from './engine/ports.ts'
import type { LocalEnvironment } from './environment.ts'
import { TowlineError } from './rollout/error.ts'
import { defaultServerConfig, type HostConfig, parseServerConfig, type ServerConfig } from './spec/server.ts'

/**
 * What `server.yaml` says, or the defaults where there is none.
 * @throws TowlineError `operator` with every problem at its line.
 */
export async function loadServerConfig({
  configPath,
  dockerHost,
}: Pick<LocalEnvironment, 'configPath' | 'dockerHost'>): Promise<ServerConfig> {
  if (configPath === null) return defaultServerConfig({ dockerHost })
  const text = await readFile(configPath, 'utf8').catch((error: unknown) => {
    throw new TowlineError(`server.yaml could not be read from ${configPath}`, {
      fault: 'operator',
      hint: 'Correct TOWLINE_CONFIG, or unset it to work without a server.yaml.',
      cause: error,
    })
  })
  const { config, problems } = parseServerConfig({ path: configPath, text, dockerHost })
  if (config) return config
  const lines = problems.map(
    ({ path, line, column, message, hint }) => `- ${path}:${line}:${column} ${message}${hint && `. ${hint}`}`,
  )
  throw new TowlineError(`server.yaml cannot be used:\n${lines.join('\n')}`, { fault: 'operator' })
}

/** The Docker hosts of `server.yaml`, by name. Nothing is sent to them yet. */
export async function openHosts(config: ServerConfig, owner: string): Promise<Map<string, DockerHost>> {
  const hosts = new Map<string, DockerHost>()
  for (const { name, endpoint } of config.hosts) {
    const resolved = await readTls(endpoint)
    hosts.set(
      name,
      openDockerHost({ name, endpoint: resolved, owner, images: { helper: config.images.helper } }),
    )
  }
  return hosts
}

async function readTls(endpoint: HostConfig['endpoint']) {
  if (endpoint.kind === 'unix' || endpoint.tls === null) return { ...endpoint, tls: null }
  const { caFile, certFile, keyFile } = endpoint.tls
  const [ca, cert, key] = await Promise.all([readPem(caFile), readPem(certFile), readPem(keyFile)])
  return { ...endpoint, tls: { ca, cert, key } }
}

async function readPem(path: string): Promise<string> {
  return readFile(path, 'utf8').catch((error: unknown) => {
    throw new TowlineError(`the TLS file ${path} could not be read`, {
      fault: 'operator',
      hint: 'Correct the path in server.yaml.',
      cause: error,
    })
  })
}
