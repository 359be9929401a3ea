import { createServer } from 'node:http'
import { expect, test } from 'vitest'
import { type FaultControl, startGitHubProxy } from './fault-proxy.ts'

test('passes on and counts, and names the calls without their ids', async () => {
  await using scene = await startScene()
  await scene.ask('/before')
  scene.proxy.count()
  await scene.ask('/api/v3/repos/acme/config/check-runs/17')
  await scene.ask(`/api/v3/repos/acme/config/commits/${'a'.repeat(40)}/check-runs?page=2`)
  expect(await scene.ask('/acme/config.git/info/refs?service=git-upload-pack')).toBe('a whole answer')
  expect(scene.proxy.calls()).toEqual([
    'GET /api/v3/repos/{}/check-runs/{}',
    'GET /api/v3/repos/{}/commits/{}/check-runs',
    'GET /{}.git/info/refs?service=git-upload-pack',
  ])
})

test('strikes before the other side hears of the n-th request, and passes nothing on until it is cleared', async () => {
  await using scene = await startScene()
  let heardAtStrike: number | null = null
  scene.proxy.count({
    n: 2,
    moment: 'before',
    act: () => {
      heardAtStrike = scene.heard()
    },
  })
  await scene.ask('/1')
  await expect(scene.ask('/2')).rejects.toThrow()
  await expect(scene.ask('/3')).rejects.toThrow()
  expect([heardAtStrike, scene.heard()]).toEqual([1, 1])
  scene.proxy.clear()
  expect(await scene.ask('/4')).toBe('a whole answer')
})

test('strikes after the other side did the n-th request, and nobody hears its answer', async () => {
  await using scene = await startScene()
  let heardAtStrike: number | null = null
  scene.proxy.count({
    n: 1,
    moment: 'after',
    act: () => {
      heardAtStrike = scene.heard()
    },
  })
  await expect(scene.ask('/1')).rejects.toThrow()
  expect(heardAtStrike).toBe(1)
})

test('refuses, holds and cuts what matches, delays it, and nothing else', async () => {
  await using scene = await startScene()
  scene.proxy.refuse(/refused/)
  scene.proxy.cut(/cut/)
  scene.proxy.delay(/late/, 20)
  scene.proxy.hold(/held/, 'after')
  expect(await scene.ask('/refused')).toContain('refused on purpose')
  await expect(scene.ask('/cut')).rejects.toThrow()
  expect(await scene.ask('/late')).toBe('a whole answer')
  expect(await scene.ask('/other')).toBe('a whole answer')
  const held = scene.ask('/held', AbortSignal.timeout(100))
  await expect(held).rejects.toThrow()
  expect(scene.proxy.stoppedCount()).toBe(2)
})

type Scene = AsyncDisposable & {
  proxy: FaultControl
  ask(path: string, signal?: AbortSignal): Promise<string>
  /** Requests the server behind the proxy got. */
  heard(): number
}

async function startScene(): Promise<Scene> {
  let heard = 0
  const server = createServer((_req, res) => {
    heard += 1
    res.end('a whole answer')
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  const port = typeof address === 'object' && address ? address.port : 0
  const proxy = await startGitHubProxy(`http://127.0.0.1:${port}`)
  return {
    proxy,
    ask: async (path, signal) =>
      (await fetch(`http://${proxy.host}${path}`, { signal: signal ?? null })).text(),
    heard: () => heard,
    async [Symbol.asyncDispose]() {
      await proxy[Symbol.asyncDispose]()
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
