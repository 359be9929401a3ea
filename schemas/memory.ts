import { type TSchemaOptions, Type } from 'typebox'

/** A memory limit as Compose writes it; the Docker Engine takes no less than 6 MiB. Units count in steps of 1024. */
export function memory(options: TSchemaOptions & { description: string }) {
  return Type.Union(
    [
      Type.String({
        pattern: '^[0-9]+(?:\\.[0-9]+)?(?:[bB]|[kKmMgG][bB]?)?$',
        maxLength: 20,
        format: 'memory',
        ...wording,
      }),
      Type.Integer({ minimum: 6_291_456, maximum: Number.MAX_SAFE_INTEGER, ...wording }),
    ],
    { ...wording, ...options },
  )
}

const wording = { title: 'a memory limit of at least 6M', examples: ['256M', '1G', '512k'] }
