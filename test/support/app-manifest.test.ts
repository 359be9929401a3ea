import { readFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { parse } from 'yaml'
import { heededEvents } from '../../src/github/hints.ts'
import { webhookPath } from '../../src/monitor/server.ts'

// Keys: https://docs.github.com/en/apps/sharing-github-apps/registering-a-github-app-from-a-manifest

const manifest = parse(await readFile('app.yml', 'utf8'))

test('the manifest has exactly the keys GitHub reads, in its spelling', () => {
  expect(Object.keys(manifest).sort()).toEqual([
    'default_events',
    'default_permissions',
    'description',
    'hook_attributes',
    'name',
    'public',
    'url',
  ])
  expect(Object.keys(manifest.hook_attributes).sort()).toEqual(['active', 'url'])
})

test('webhooks go to the path Towline serves, over TLS', () => {
  const url = new URL(manifest.hook_attributes.url)
  expect(url.pathname).toBe(webhookPath)
  expect(url.protocol).toBe('https:')
  expect(manifest.hook_attributes.active).toBe(true)
})

test('the App asks for what it needs and for nothing else', () => {
  expect(manifest.default_permissions).toEqual({
    checks: 'write',
    contents: 'read',
    deployments: 'write',
    metadata: 'read',
    pull_requests: 'write',
  })
  expect(manifest.public).toBe(false)
})

test('the App subscribes to every event its handlers take', () => {
  const handled = heededEvents.map((event) => event.split('.')[0] ?? '')
  // GitHub sends these to every App; a manifest cannot list them.
  const always = ['installation', 'installation_repositories']
  expect(handled).toContain('push')
  expect(manifest.default_events.toSorted()).toEqual(
    [...new Set(handled)].filter((event) => !always.includes(event)).sort(),
  )
})
