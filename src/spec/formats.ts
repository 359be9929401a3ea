import { validate as isCron } from 'node-cron'
import { TowlineError } from '../rollout/error.ts'
import { parseDuration, parsePositiveDuration } from './duration.ts'
import { parseEndpoint } from './endpoint.ts'
import { parseMemory } from './memory.ts'
import { checkGlob, checkInside, isPlainAbsolute } from './paths.ts'
import { parsePort } from './port.ts'
import { parseVolume } from './volume.ts'

/** The parsers behind the `format`s of our own in the schemas. Each throws a TowlineError on a text it refuses. */
export const formats: Record<string, (text: string) => unknown> = {
  'duration-text': parseDuration,
  'positive-duration-text': parsePositiveDuration,
  memory: parseMemory,
  port: parsePort,
  volume: parseVolume,
  endpoint: parseEndpoint,
  glob: checkGlob,
  'inner-path': checkInside,
  'absolute-path': checkAbsolute,
  'date-time': parseTime,
  cron: checkCron,
}

/** ISO time of an RFC 3339 date and time. @throws TowlineError `input` where it is none. */
export function parseTime(text: string): string {
  const time = /^\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?:Z|[+-]\d\d:\d\d)$/i.test(text)
    ? Date.parse(text)
    : Number.NaN
  if (!Number.isNaN(time)) return new Date(time).toISOString()
  throw refuse(
    `${JSON.stringify(text)} is not a date and time with a time zone`,
    'Write one such as 2026-12-01T00:00:00Z',
  )
}

function checkAbsolute(text: string): string {
  if (isPlainAbsolute(text)) return text
  throw refuse(
    `${JSON.stringify(text)} is not an absolute path in its shortest form`,
    'Write it from / on, without "..", "." or a slash at the end',
  )
}

/** Five fields; a sweep by the second would never end. */
function checkCron(text: string): string {
  if (text.split(' ').length === 5 && isCron(text)) return text
  throw refuse(
    `${JSON.stringify(text)} is not a cron expression of five fields`,
    'Write minute, hour, day, month and weekday, such as "*/5 * * * *"',
  )
}

function refuse(message: string, hint: string): TowlineError {
  return new TowlineError(message, { fault: 'input', hint })
}
