import { expect, test } from 'vitest'
import { pullProgress } from './pull-progress.ts'

const downloading = (id: string, current: number, total: number) => ({
  id,
  status: 'Downloading',
  progressDetail: { current, total },
})

test('layers count by their bytes', () => {
  const progress = pullProgress()
  progress({ id: 'small', status: 'Pulling fs layer' })
  progress({ id: 'large', status: 'Pulling fs layer' })
  progress(downloading('large', 0, 900))
  progress(downloading('small', 100, 100))
  expect(progress({ id: 'small', status: 'Pull complete' }).fraction).toBeCloseTo(0.1)
  expect(progress({ id: 'large', status: 'Pull complete' })).toEqual({ fraction: 1, text: '2 of 2 layers' })
})

test('a download that is complete still has to be unpacked', () => {
  const progress = pullProgress()
  progress(downloading('a', 10, 10))
  const { fraction } = progress({ id: 'a', status: 'Download complete' })
  expect(fraction).toBeLessThan(1)
  expect(
    progress({ id: 'a', status: 'Extracting', progressDetail: { current: 5, total: 10 } }).fraction,
  ).toBeGreaterThan(fraction)
})

test('the fraction never falls, though layers turn up late', () => {
  const progress = pullProgress()
  const before = progress(downloading('a', 10, 10)).fraction
  expect(progress({ id: 'b', status: 'Waiting' }).fraction).toBe(before)
})

test('layers that are there already are done', () => {
  expect(pullProgress()({ id: 'a', status: 'Already exists' }).fraction).toBe(1)
})

test('lines that say nothing of a layer change nothing', () => {
  const progress = pullProgress()
  expect(progress({ status: 'Pulling from library/nginx', id: 'latest' }).fraction).toBe(0)
  expect(progress({ status: 'Digest: sha256:abc' }).fraction).toBe(0)
  expect(progress('text').fraction).toBe(0)
  expect(progress({ id: 'a', status: 'Extracting', progressDetail: {} })).toEqual({
    fraction: 0,
    text: '0 of 0 layers',
  })
})
