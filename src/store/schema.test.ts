import { expect, test } from 'vitest'
import { migrate, migrations, writtenSchema } from './schema.ts'

test('an older document takes each later step once, in order', () => {
  const steps = [2, 3, 4].map((version) => (document: unknown) => `${document} ${version}`)
  expect(migrate('from 1:', 1, steps)).toBe('from 1: 2 3 4')
  expect(migrate('from 3:', 3, steps)).toBe('from 3: 4')
  expect(migrate('from 4:', 4, steps)).toBe('from 4:')
})

test('there is a step from every older version to the one written', () => {
  expect(migrations).toHaveLength(writtenSchema - 1)
})

test('records of version 1 get what version 2 knows, and keep all else', () => {
  const healing = { failureCount: 2, notBefore: 'later', lastDrift: [], lastHealedAt: null }
  const target = { version: 1, key: 'acme/config:shop@web-1', deployments: [], healing }
  expect(migrate(target, 1, migrations)).toEqual({
    ...target,
    version: 2,
    healing: { ...healing, healedAt: {}, degraded: null },
    drift: null,
    untoldDrifts: [],
    removal: null,
  })
  expect(migrate({ ...target, healing: null }, 1, migrations)).toMatchObject({ healing: null })
  const repo = { version: 1, repo: 'acme/config', revisions: [{ commit: 'c0ffee' }] }
  expect(migrate(repo, 1, migrations)).toEqual({
    version: 2,
    repo: 'acme/config',
    revisions: [{ commit: 'c0ffee', removals: [], pruneRefused: null }],
  })
  const installation = { owner: 'owner-1', reservedEpoch: 1_000 }
  expect(migrate(installation, 1, migrations)).toEqual(installation)
})
