import { expect, test, vi } from 'vitest'
import { createAccess, split } from './access.ts'
import { startApp } from './github-api.fixture.ts'

const { signal } = new AbortController()

test('configured repos have the branch of server.yaml, else the default branch at GitHub', async () => {
  await using started = await startApp(({ path }) => {
    if (path === '/repos/acme/b/installation') return { body: { id: 5 } }
    if (path === '/repos/acme/b') return { body: { default_branch: 'trunk' } }
    return null
  })
  const configured = [
    { repo: 'acme/a', branch: 'live' },
    { repo: 'acme/b', branch: null },
  ]
  const access = createAccess(started.app.probot, { configured })
  expect(await access.repos({ signal })).toEqual([
    { repo: 'acme/a', branch: 'live' },
    { repo: 'acme/b', branch: 'trunk' },
  ])
})

test('without configuration all repos of all installations that are not suspended are known', async () => {
  await using started = await startApp(({ path, query }) => {
    if (path === '/app/installations') {
      return { body: [{ id: 5 }, { id: 6, suspended_at: '2026-01-01T00:00:00Z' }] }
    }
    const page = Number(query.get('page') ?? 1)
    return path === '/installation/repositories' && page === 1
      ? { body: { total_count: 1, repositories: [{ full_name: 'acme/config', default_branch: 'main' }] } }
      : null
  })
  const access = createAccess(started.app.probot, { configured: null })
  expect(await access.repos({ signal })).toEqual([{ repo: 'acme/config', branch: 'main' }])
  const tokens = started.requests.filter(({ path }) => path.endsWith('/access_tokens'))
  expect(tokens.map(({ path }) => path)).toEqual(['/app/installations/5/access_tokens'])
})

test("a repo's token is of its installation, which is asked for once", async () => {
  await using started = await startApp(({ path }) =>
    path === '/repos/acme/config/installation' ? { body: { id: 5 } } : null,
  )
  const access = createAccess(started.app.probot, { configured: [] })
  expect(await access.token('acme/config', { signal })).toBe('token-for-tests')
  expect(await access.token('acme/config', { signal })).toBe('token-for-tests')
  expect(started.requests.map(({ path }) => path)).toEqual([
    '/repos/acme/config/installation',
    '/app/installations/5/access_tokens',
  ])
})

test('a repo the App is not installed on is for the operator', async () => {
  await using started = await startApp(() => null)
  const access = createAccess(started.app.probot, { configured: [] })
  await expect(access.token('acme/secret', { signal })).rejects.toMatchObject({
    fault: 'operator',
    hint: 'Check that the repository exists and the App is installed on it.',
  })
})

test('a full name is split into owner and repo', () => {
  expect(split('acme/config')).toEqual({ owner: 'acme', repo: 'config' })
})

test('a request whose token was refused is sent once more, with a new one', async () => {
  let refusalCount = 0
  await using started = await startApp(({ path }) => {
    if (path.endsWith('/installation')) return { body: { id: 5 } }
    if (refusalCount > 0) return { body: { default_branch: 'trunk' } }
    refusalCount += 1
    return { status: 401, body: { message: 'Bad credentials' } }
  })
  const access = createAccess(started.app.probot, { configured: [{ repo: 'acme/b', branch: null }] })
  await access.token('acme/b', { signal })
  // Octokit itself repeats what is refused within five seconds of a token's birth: GitHub's replicas may lag.
  vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 10_000 })
  const repos = await access.repos({ signal }).finally(() => vi.useRealTimers())
  expect(repos).toEqual([{ repo: 'acme/b', branch: 'trunk' }])
  expect(started.requests.filter(({ path }) => path.endsWith('/access_tokens'))).toHaveLength(2)
})
