import { expect, test } from 'vitest'
import { validateAgainstOpenApi } from './openapi.ts'

const checkRuns = '/api/v3/repos/acme/config/check-runs'
const run = { name: 'deploy', head_sha: 'a'.repeat(40) }

test.each([
  ['POST', checkRuns, { ...run, status: 'in_progress', output: { title: 't', summary: 's' } }],
  ['PATCH', `${checkRuns}/7`, { status: 'completed', conclusion: 'success' }],
  ['GET', '/api/v3/repos/acme/config/commits/feature/x/check-runs?filter=latest&per_page=100&app_id=3', null],
  ['GET', '/api/v3/repos/acme/config/branches/feature/x', null],
  ['POST', '/api/v3/app/installations/1/access_tokens', { permissions: { contents: 'read' } }],
  ['GET', '/api/v3/app/hook/deliveries?per_page=100&cursor=v1_12', null],
  ['POST', '/acme/config.git/git-upload-pack', null],
])('%s %s fits', (method, path, body) => {
  expect(validateAgainstOpenApi([{ method, path, body }])).toEqual([])
})

test.each([
  ['POST', checkRuns, { ...run, status: 'done' }, '/status'],
  ['POST', checkRuns, { name: 'deploy' }, 'head_sha'],
  ['POST', checkRuns, { ...run, output: { title: 't', summary: 'x'.repeat(65_536) } }, '65535'],
  ['POST', checkRuns, null, 'needs a body'],
  ['GET', '/api/v3/repos/acme/config/commits/main/check-runs?filter=newest', null, 'query filter'],
  ['GET', '/api/v3/repos/acme/config/commits/main/check-runs?per_pages=3', null, 'per_pages'],
  ['GET', '/api/v3/repos/acme/config', {}, 'takes no body'],
  ['GET', '/api/v3/no/such/thing', null, 'no such operation'],
  ['DELETE', checkRuns, null, 'no such operation'],
])('%s %s with %j is a problem', (method, path, body, words) => {
  const problems = validateAgainstOpenApi([{ method, path, body }])
  expect(problems).toHaveLength(1)
  expect(problems[0]?.message).toContain(words)
})
