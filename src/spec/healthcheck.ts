import type { Service } from '../../schemas/service.ts'
import type { Healthcheck } from '../rollout/release.ts'
import { parseDuration } from './duration.ts'
import type { Finding } from './finding.ts'

type HealthcheckText = NonNullable<Service['healthcheck']>

type HealthcheckDefaults = {
  test?: readonly string[]
  interval: string
  timeout: string
  retries: number
  start_period: string
}

/** Docker's health check of a checked document, with what the document leaves out. */
export function readHealthcheck(text: HealthcheckText, defaults: HealthcheckDefaults): Healthcheck {
  return {
    test: readTest(text, defaults),
    intervalMs: parseDuration(text.interval ?? defaults.interval),
    timeoutMs: parseDuration(text.timeout ?? defaults.timeout),
    retries: text.retries ?? defaults.retries,
    startPeriodMs: parseDuration(text.start_period ?? defaults.start_period),
  }
}

/** What a health check's test lacks that a schema cannot say. */
export function checkHealthcheck(
  text: HealthcheckText | undefined,
  { testIsOptional }: { testIsOptional: boolean },
): Finding[] {
  if (text === undefined || text.disable) return []
  if (text.test === undefined) {
    if (testIsOptional) return []
    return [
      {
        at: ['healthcheck'],
        message: '`test` is missing',
        hint: 'Add `test: [CMD, <program>, <argument>]`, or `disable: true`',
      },
    ]
  }
  if (typeof text.test === 'string') return []
  const [form, ...rest] = text.test
  const fits =
    (form === 'CMD' && rest.length > 0) ||
    (form === 'CMD-SHELL' && rest.length === 1) ||
    (form === 'NONE' && rest.length === 0)
  if (fits) return []
  return [
    {
      at: ['healthcheck', 'test'],
      message: `a list that starts with ${JSON.stringify(form)} and has ${text.test.length} entries is not a test`,
      hint: 'Write [CMD, <program>, <argument>], [CMD-SHELL, <line>] or [NONE]',
    },
  ]
}

function readTest(text: HealthcheckText, defaults: HealthcheckDefaults): string[] {
  if (text.disable) return ['NONE']
  const test = text.test ?? defaults.test ?? []
  return typeof test === 'string' ? ['CMD-SHELL', test] : [...test]
}
