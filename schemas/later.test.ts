import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { laterKeys } from './later.ts'
import { Server } from './server.ts'
import { Service } from './service.ts'
import { Site } from './site.ts'
import { Towline } from './towline.ts'

const schemas = { Service, Site, Towline, Server }
const reference = readFileSync(new URL('../docs/spec.md', import.meta.url), 'utf8')

describe.each(Object.entries(laterKeys))('later keys of a %s', (kind, keys) => {
  test.each(Object.keys(keys))('%s stands in the reference', (path) => {
    expect(reference).toContain(`\`${path}\``)
  })

  test('none is a key that is supported already', () => {
    const known = Object.keys(Object.entries(schemas).find(([name]) => name === kind)?.[1].properties ?? {})
    expect(known.filter((key) => key in keys)).toEqual([])
  })
})
