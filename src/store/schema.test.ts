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
