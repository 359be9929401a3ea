import { expect, test } from 'vitest'
import { repositoryOf, withTag } from './images.ts'

test.each([
  ['nginx', 'nginx:latest', 'nginx'],
  ['nginx:1.27', 'nginx:1.27', 'nginx'],
  ['docker.io/library/nginx', 'docker.io/library/nginx:latest', 'nginx'],
  ['docker.io/acme/shop:2', 'docker.io/acme/shop:2', 'acme/shop'],
  ['registry:5000/acme/shop', 'registry:5000/acme/shop:latest', 'registry:5000/acme/shop'],
  ['ghcr.io/acme/shop:v1', 'ghcr.io/acme/shop:v1', 'ghcr.io/acme/shop'],
])('%s means %s of %s', (reference, tagged, repository) => {
  expect(withTag(reference)).toBe(tagged)
  expect(repositoryOf(reference)).toBe(repository)
})

test('an image id gets no tag', () => {
  const id = `sha256:${'a'.repeat(64)}`
  expect(withTag(id)).toBe(id)
})
