import { createHash } from 'node:crypto'

/** What a file's text turned out to be. A newer document is whole, but not ours to read. */
export type Unframed =
  | { kind: 'sound'; schema: number; document: unknown }
  | { kind: 'newer'; schema: number }
  | { kind: 'damaged'; reason: string }

const headerPattern = /^\{"schema":(?<schema>[1-9]\d*),"sha256":"(?<sha256>[0-9a-f]{64})"\}$/

/**
 * A document as it stands on disk: one header line, then its JSON. The checksum covers version and body, so a changed
 * digit of the version is damage and not a newer version. Header and checksum stay as they are in every version.
 */
export function frame(document: unknown, schema: number): string {
  const body = JSON.stringify(document)
  return `{"schema":${schema},"sha256":"${checksum(schema, body)}"}\n${body}`
}

/** Reads a framed document; `newestSchema` is the highest version that can be understood. Never throws. */
export function unframe(text: string, newestSchema: number): Unframed {
  if (text === '') return { kind: 'damaged', reason: 'it is empty' }
  const headerEnd = text.indexOf('\n')
  const header = headerPattern.exec(text.slice(0, Math.max(headerEnd, 0)))?.groups
  if (!header?.schema) return { kind: 'damaged', reason: 'its first line is not a header' }
  const schema = Number(header.schema)
  const body = text.slice(headerEnd + 1)
  if (checksum(schema, body) !== header.sha256) {
    return { kind: 'damaged', reason: 'its checksum does not match: it was cut short or changed' }
  }
  if (schema > newestSchema) return { kind: 'newer', schema }
  return { kind: 'sound', schema, document: JSON.parse(body) }
}

function checksum(schema: number, body: string): string {
  return createHash('sha256').update(`${schema}\n${body}`).digest('hex')
}
