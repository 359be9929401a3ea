import { expect, test } from 'vitest'
import { parseRepoSettings } from './settings.ts'

const off = { enabled: false, delayMs: 3_600_000, max: 3, volumes: false }
const standard = { specs: ['apps/**/*.{yaml,yml}'], defaults: { hosts: null }, prune: off }

function parse(text: string) {
  const { settings, problems } = parseRepoSettings({ path: 'towline.yaml', text })
  return { settings, problems: problems.map(({ line, message, hint }) => `${line} ${message} | ${hint}`) }
}

test('a repo without settings, and one with an empty file, get the defaults', () => {
  expect(parseRepoSettings(null)).toEqual({ settings: standard, problems: [] })
  expect(parse('')).toEqual({ settings: standard, problems: [] })
})

test('globs and default hosts are read', () => {
  expect(parse('apiVersion: towline/v1\nspecs: ["*.yaml"]\ndefaults: { hosts: [web-1] }\n')).toEqual({
    settings: { specs: ['*.yaml'], defaults: { hosts: ['web-1'] }, prune: off },
    problems: [],
  })
})

test('pruning is off until it is asked for, and has bounds of its own', () => {
  expect(parse('prune: { enabled: true }\n').settings.prune).toEqual({ ...off, enabled: true })
  expect(parse('prune: { enabled: true, delay: 0s, max: 10, volumes: true }\n').settings.prune).toEqual({
    enabled: true,
    delayMs: 0,
    max: 10,
    volumes: true,
  })
})

test('a mistake leaves the defaults and is reported', () => {
  expect(parse('specs: ["../*.yaml"]\nprune: true\ndefualts: {}\n')).toEqual({
    settings: standard,
    problems: [
      '1 /specs/0: "../*.yaml" leaves its folder by ".." | ' +
        'Write a path from the root with at most 6 stars and 2 pairs of braces, such as apps/**/*.{yaml,yml}',
      '2 /prune: true is not a map | Write a map',
      '3 unknown key `defualts` | Did you mean `defaults`?',
    ],
  })
})
