/** Specs that journeys push, by the path they stand at. */

export const healthTest = ['CMD', 'wget', '-q', '-O', '/dev/null', 'http://127.0.0.1:8080/healthz']

const healthcheck = { test: healthTest, interval: '500ms', retries: 2 }

/** Settings of a Service that takes three seconds to answer, and may. */
export const slow = { image: 'towline-demo/slow:1', healthcheck: { ...healthcheck, start_period: '30s' } }

/** A spec as JSON, which is YAML too. It counts as soon as it answers. */
export function service(name: string, settings: object = {}): Record<string, string> {
  return spec({
    kind: 'Service',
    name,
    image: 'towline-demo/hello:1',
    ports: ['8080'],
    healthcheck,
    stop_grace_period: '1s',
    deploy: { update_config: { monitor: '0s' } },
    ...settings,
  })
}

export function site(name: string, settings: object): Record<string, string> {
  return spec({
    kind: 'Site',
    name,
    ports: ['80'],
    deploy: { update_config: { monitor: '0s' } },
    ...settings,
  })
}

function spec(content: { name: string; kind: string; [key: string]: unknown }): Record<string, string> {
  return {
    [`apps/${content.name}.yaml`]: `${JSON.stringify({ apiVersion: 'towline/v1', ...content }, null, 2)}\n`,
  }
}
