import { type TSchemaOptions, Type } from 'typebox'

/** A length of time as Compose writes it. A bare number counts seconds. */
export function duration(options: TSchemaOptions & { description: string; default?: string }) {
  return Type.Union(
    [
      Type.String({ pattern, maxLength: 40, format: 'duration-text', ...wording }),
      Type.Integer({ minimum: 0, maximum: 86_400, ...wording }),
    ],
    { ...wording, ...options },
  )
}

/** The same where zero would mean nothing. */
export function positiveDuration(options: TSchemaOptions & { description: string; default?: string }) {
  return Type.Union(
    [
      Type.String({ pattern, maxLength: 40, format: 'positive-duration-text', ...positiveWording }),
      Type.Integer({ minimum: 1, maximum: 86_400, ...positiveWording }),
    ],
    { ...positiveWording, ...options },
  )
}

const pattern = '^(?:[0-9]+(?:\\.[0-9]+)?(?:us|ms|s|m|h))+$'
const examples = ['90s', '1m30s', '500ms']
const wording = { title: 'a duration of at most 24 hours', examples }
const positiveWording = { title: 'a duration of 1 ms to 24 hours', examples }
