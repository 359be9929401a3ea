import Docker from 'dockerode'
import { expect, inject, test } from 'vitest'
import { startRegistry } from '../support/registry.ts'
import { startTown } from '../support/town.ts'

const dockerSocket = inject('dockerSocket')
const docker = new Docker({ socketPath: dockerSocket })

const service = (image: string, pullPolicy = 'missing') => `apiVersion: towline/v1
kind: Service
name: pulled
image: ${image}
pull_policy: ${pullPolicy}
ports: ["8080"]
healthcheck: { test: [CMD, wget, -q, --spider, "http://127.0.0.1:8080/"], interval: 1s }
deploy: { update_config: { monitor: 0s } }
`

test('an image is pulled from a real registry, its digest recorded, and a moved tag followed where the spec asks', async () => {
  await using registry = await startRegistry(dockerSocket)
  await using town = await startTown({ dockerSocket })
  const one = await registry.publish('towline-demo/hello:1', 'hello:stable')

  const first = await town.push({ write: { 'apps/pulled.yaml': service(`${registry.host}/hello:stable`) } })
  const run = await town.checkRun(first, 'towline / pulled@local')
  expect(run.conclusion, run.summary ?? '').toBe('success')
  expect(run.text).toContain(`${registry.host}/hello@${one}`)
  expect(await town.fetchApp('pulled')).toContain('version 1')

  const two = await registry.publish('towline-demo/hello:2', 'hello:stable')
  const second = await town.push({
    write: { 'apps/pulled.yaml': service(`${registry.host}/hello:stable`, 'always') },
  })
  const moved = await town.checkRun(second, 'towline / pulled@local')
  expect(moved.conclusion, moved.summary ?? '').toBe('success')
  expect(moved.text).toContain(`${registry.host}/hello@${two}`)
  expect(await town.fetchApp('pulled')).toContain('version 2')

  const pinned = await town.push({ write: { 'apps/pulled.yaml': service(`${registry.host}/hello@${one}`) } })
  expect((await town.checkRun(pinned, 'towline / pulled@local')).conclusion).toBe('success')
  expect(await town.fetchApp('pulled')).toContain('version 1')
  await removeImages(registry.host)
})

test('an image the registry does not have fails in pulling_source, and the old release serves on', async () => {
  await using registry = await startRegistry(dockerSocket)
  await using town = await startTown({ dockerSocket })
  await registry.publish('towline-demo/hello:1', 'hello:1')
  const good = await town.push({ write: { 'apps/pulled.yaml': service(`${registry.host}/hello:1`) } })
  expect((await town.checkRun(good, 'towline / pulled@local')).conclusion).toBe('success')

  const bad = await town.push({ write: { 'apps/pulled.yaml': service(`${registry.host}/hello:nowhere`) } })
  const run = await town.checkRun(bad, 'towline / pulled@local')
  expect(run.conclusion).toBe('failure')
  expect(run.title).toMatch(/^failed in pulling_source: No registry gave image .*hello:nowhere/)
  expect(run.summary).toContain('was never touched and serves')
  expect(await town.fetchApp('pulled')).toContain('version 1')
  await removeImages(registry.host)
})

/** Names of a registry that is gone would only mislead the next test. */
async function removeImages(host: string): Promise<void> {
  const images = await docker.listImages()
  const names = images.flatMap(({ RepoTags, RepoDigests }) => [...(RepoTags ?? []), ...(RepoDigests ?? [])])
  for (const name of names.filter((each) => each.startsWith(host))) {
    await docker
      .getImage(name)
      .remove({ force: true })
      .catch(() => {})
  }
}
