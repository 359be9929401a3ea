/**
 * A key of the design that this version does not have yet. `instead` says what to use now. `standsFor` names a
 * required key whose absence this key explains, so that one mistake gives one problem.
 */
export type LaterKey = { instead: string; standsFor?: string }

type LaterKeys = Record<string, LaterKey>

const onEveryApp: LaterKeys = {
  hooks: { instead: "Run the task from the image's entrypoint, or by hand" },
  preview: { instead: 'Remove it; pull requests get no preview' },
  'rollout.drain': { instead: 'Use `stop_grace_period` to give a Service time to stop' },
  'healthcheck.start_interval': { instead: 'Use `interval`' },
}

/** Keys that are planned, by kind of document; `*` stands for any key or index. */
export const laterKeys: Record<'Service' | 'Site' | 'Towline' | 'Server', LaterKeys> = {
  Service: {
    ...onEveryApp,
    routes: { instead: 'Publish a port with `ports: ["8080:80"]` and route to it yourself' },
    source: { instead: 'Build the image elsewhere and name it with `image`', standsFor: 'image' },
    build: { instead: 'Build the image elsewhere and name it with `image`', standsFor: 'image' },
    env_file: { instead: 'Write the variables under `environment`' },
    'environment.*.secret': { instead: 'Give the container its secret by a bind mount server.yaml allows' },
    accessories: { instead: 'Write a Service of its own and name it in `dependsOn`' },
    privileged: { instead: 'Remove it; containers run without extra rights' },
    cap_add: { instead: 'Remove it; containers run without extra rights' },
    devices: { instead: 'Remove it; containers run without extra rights' },
    network_mode: { instead: 'Remove it, and publish ports with `ports`' },
    networks: { instead: "Remove it; all apps of a host share Towline's network" },
    secrets: { instead: 'Give the container its secret by a bind mount server.yaml allows' },
    configs: { instead: 'Put the file into the image' },
    logging: { instead: 'Remove it; logs are kept in 3 files of 10 MB' },
  },
  Site: {
    ...onEveryApp,
    routes: {
      instead: 'Publish a port with `ports: ["8080:80"]` and route to it yourself',
      standsFor: 'ports',
    },
    'source.git': { instead: 'Put the files into the config repo and use `source: {files: <folder>}`' },
    'source.archive': { instead: 'Put the files into the config repo and use `source: {files: <folder>}`' },
    'source.s3': { instead: 'Put the files into the config repo and use `source: {files: <folder>}`' },
    build: { instead: 'Build the files elsewhere and commit them under `source: {files: <folder>}`' },
  },
  Towline: {
    previews: { instead: 'Remove it; pull requests get no preview' },
    windows: { instead: 'Use `paused` in a spec' },
  },
  Server: {
    registries: { instead: 'Use images that need no login, or load them onto the host beforehand' },
    networkPool: { instead: "Set `default-address-pools` in the Docker daemon's settings" },
    'hosts.*.identity': { instead: 'Use a unix:// or tcp:// endpoint' },
    'hosts.*.knownHosts': { instead: 'Use a unix:// or tcp:// endpoint' },
    'hosts.*.tls.*.env': { instead: 'Use `{file: /absolute/path}`', standsFor: 'file' },
    'images.proxy': { instead: 'Remove it; routes are not supported yet' },
    'policy.privileged': { instead: 'Remove it; nothing runs privileged' },
    'policy.hostNetwork': { instead: 'Remove it; nothing runs on the host network' },
    'policy.capabilities': { instead: 'Remove it; nothing gets extra capabilities' },
    'policy.devices': { instead: 'Remove it; nothing gets devices' },
  },
}
