import { Ajv2020, type ErrorObject, type ValidateFunction } from 'ajv/dist/2020.js'
import { type LaterKey, laterKeys } from '../../schemas/later.ts'
import { Server } from '../../schemas/server.ts'
import { Service } from '../../schemas/service.ts'
import { Site } from '../../schemas/site.ts'
import { Towline } from '../../schemas/towline.ts'
import { TowlineError } from '../rollout/error.ts'
import type { Finding } from './finding.ts'
import { formats } from './formats.ts'
import { suggest } from './suggest.ts'

type Kind = keyof typeof laterKeys

type Documents = { Service: Service; Site: Site; Towline: Towline; Server: Server }

/** More errors than this are not looked at; sorting them into unions is quadratic. */
const maxErrors = 1000

/** Checks a document against the schema of its kind: the document, or everything that is wrong with it. */
export function validate<K extends Kind>(
  kind: K,
  value: object,
): { document: Documents[K]; findings: null } | { document: null; findings: Finding[] } {
  const check = checks[kind]
  if (check(value)) return { document: value as Documents[K], findings: null }
  return { document: null, findings: findingsOf(kind, (check.errors ?? []).slice(0, maxErrors)) }
}

const ajv = new Ajv2020({ allErrors: true, verbose: true, allowUnionTypes: true })
for (const [name, parse] of Object.entries(formats)) {
  ajv.addFormat(name, { type: 'string', validate: (text: string) => refusalOf(parse, text) === null })
}

const checks: { [K in Kind]: ValidateFunction } = {
  Service: ajv.compile(Service),
  Site: ajv.compile(Site),
  Towline: ajv.compile(Towline),
  Server: ajv.compile(Server),
}

function findingsOf(kind: Kind, errors: ErrorObject[]): Finding[] {
  const findings = leafErrors(errors).map((error) => ({ error, finding: findingOf(kind, error) }))
  const explained = new Set(findings.flatMap(({ error }) => explainedBy(kind, error)))
  const bySubject = new Map<string, Finding>()
  for (const { error, finding } of findings) {
    if (error.keyword === 'required' && explained.has(subjectOf(error, missingKey(error)))) continue
    const subject = subjectOf(error, finding.key ?? missingKey(error))
    if (!bySubject.has(subject)) bySubject.set(subject, finding)
  }
  return [...bySubject.values()]
}

/**
 * Leaves out wrappers, and for each union all but the branch that was meant: the first whose type fits the value.
 * Where none fits, the union speaks for itself.
 */
function leafErrors(errors: ErrorObject[]): ErrorObject[] {
  let left = errors.filter(({ keyword }) => keyword !== 'propertyNames')
  for (const union of errors.filter(({ keyword }) => keyword === 'anyOf')) {
    const inside = left.filter((error) => branchOf(error, union) !== null)
    const unfit = new Set(
      inside
        .filter((error) => error.instancePath === union.instancePath && isAboutType(error))
        .map((error) => branchOf(error, union)),
    )
    const meant = inside.map((error) => branchOf(error, union)).find((branch) => !unfit.has(branch))
    left = left.filter((error) => {
      if (error === union) return meant === undefined
      const branch = branchOf(error, union)
      return branch === null || branch === meant
    })
  }
  return left
}

function branchOf(error: ErrorObject, union: ErrorObject): string | null {
  const isInside =
    error.schemaPath.startsWith(`${union.schemaPath}/`) &&
    (error.instancePath === union.instancePath || error.instancePath.startsWith(`${union.instancePath}/`))
  return isInside ? (error.schemaPath.slice(union.schemaPath.length + 1).split('/')[0] ?? null) : null
}

function isAboutType({ keyword }: ErrorObject): boolean {
  return keyword === 'type' || keyword === 'const' || keyword === 'enum'
}

function findingOf(kind: Kind, error: ErrorObject): Finding {
  const at = segmentsOf(error.instancePath)
  switch (error.keyword) {
    case 'additionalProperties':
      return unknownKey(kind, error)
    case 'required':
      return {
        at,
        message: `\`${missingKey(error)}\` is missing`,
        hint: hintOf(propertyOf(error, missingKey(error) ?? ''), `Add \`${missingKey(error)}\``),
      }
    case 'format': {
      const parse = formats[String(error.params.format)]
      const refusal = parse && refusalOf(parse, String(error.data))
      if (!refusal) return notWhatItShouldBe(at, error)
      return error.propertyName === undefined
        ? { at, ...refusal }
        : { at, key: error.propertyName, ...refusal }
    }
    case 'uniqueItems':
      return {
        at: [...at, String(error.params.i)],
        message: 'stands in the list twice',
        hint: 'Keep one of the two',
      }
    case 'type':
      return laterInside(kind, error) ?? notWhatItShouldBe(at, error)
    default:
      return notWhatItShouldBe(at, error)
  }
}

function notWhatItShouldBe(at: string[], error: ErrorObject): Finding {
  const { propertyName, data, parentSchema } = error
  if (propertyName !== undefined) {
    return {
      at,
      key: propertyName,
      message: `the key ${show(propertyName)} is not ${titleOf(parentSchema)}`,
      hint: hintOf(parentSchema, 'Write'),
    }
  }
  const found = /^(?:min|max)(?:Items|Properties)$/.test(error.keyword) ? count(data) : show(data)
  return { at, message: `${found} is not ${titleOf(parentSchema)}`, hint: hintOf(parentSchema, 'Write') }
}

function unknownKey(kind: Kind, error: ErrorObject): Finding {
  const key = String(error.params.additionalProperty)
  const at = segmentsOf(error.instancePath)
  const later = laterKey(kind, [...at, key])
  if (later) return { at, key, message: `\`${key}\` is not supported yet`, hint: later.instead }
  const known = keysOf(error.parentSchema)
  const meant = suggest(key, known)
  return {
    at,
    key,
    message: `unknown key \`${key.slice(0, 60)}\``,
    hint: meant ? `Did you mean \`${meant}\`?` : `Known here: ${known.join(', ')}`,
  }
}

/** A map where a plain value belongs may be a form that comes later, such as `{secret: …}`. */
function laterInside(kind: Kind, { data, instancePath }: ErrorObject): Finding | null {
  const at = segmentsOf(instancePath)
  for (const key of typeof data === 'object' && data !== null ? Object.keys(data) : []) {
    const later = laterKey(kind, [...at, key])
    if (later) return { at, key, message: `\`${key}\` is not supported yet`, hint: later.instead }
  }
  return null
}

/** Required keys whose absence an unknown key explains: it is their misspelling, or stands for them later. */
function explainedBy(kind: Kind, error: ErrorObject): string[] {
  if (error.keyword !== 'additionalProperties') return []
  const key = String(error.params.additionalProperty)
  const standsFor = laterKey(kind, [...segmentsOf(error.instancePath), key])?.standsFor
  const meant = standsFor ?? suggest(key, keysOf(error.parentSchema))
  return meant ? [subjectOf(error, meant)] : []
}

function laterKey(kind: Kind, path: readonly string[]): LaterKey | null {
  const found = Object.entries(laterKeys[kind]).find(([pattern]) => {
    const segments = pattern.split('.')
    return (
      segments.length === path.length &&
      segments.every((segment, index) => segment === '*' || segment === path[index])
    )
  })
  return found?.[1] ?? null
}

function subjectOf({ instancePath }: ErrorObject, key: string | undefined): string {
  return key === undefined ? instancePath : `${instancePath}\n${key}`
}

function missingKey({ keyword, params }: ErrorObject): string | undefined {
  return keyword === 'required' ? String(params.missingProperty) : undefined
}

type SchemaPart = { [keyword: string]: unknown }

function titleOf(schema: SchemaPart | undefined): string {
  return typeof schema?.title === 'string' ? schema.title : 'what belongs here'
}

function hintOf(schema: SchemaPart | undefined, verb: string): string {
  const examples = Array.isArray(schema?.examples) ? schema.examples : []
  const shown = examples.map((example) => (typeof example === 'string' ? example : JSON.stringify(example)))
  const such = shown.length === 0 ? '' : `, such as ${shown.join(' or ')}`
  return verb === 'Write' ? `Write ${titleOf(schema)}${such}` : `${verb}${such}`
}

function propertyOf({ parentSchema }: ErrorObject, key: string): SchemaPart | undefined {
  const properties: Record<string, SchemaPart> = parentSchema?.properties ?? {}
  return properties[key]
}

function keysOf(schema: SchemaPart | undefined): string[] {
  return Object.keys(schema?.properties ?? {})
}

/** A value in few words. What stands between `//` and `@` may be a password. */
function show(value: unknown): string {
  if (value === null || value === undefined) return 'nothing'
  if (Array.isArray(value)) return 'a list'
  if (typeof value === 'object') return 'a map'
  if (typeof value !== 'string') return String(value)
  const text = JSON.stringify(value.replace(/\/\/[^/@\s]*@/g, '//…@'))
  return text.length > 80 ? `${text.slice(0, 79)}…` : text
}

function count(value: unknown): string {
  const entryCount = Object.keys(Object(value)).length
  const what = Array.isArray(value) ? 'list' : 'map'
  return entryCount === 0 ? `an empty ${what}` : `a ${what} of ${entryCount}`
}

function segmentsOf(pointer: string): string[] {
  return pointer
    .split('/')
    .slice(1)
    .map((segment) => segment.replaceAll('~1', '/').replaceAll('~0', '~'))
}

function refusalOf(parse: (text: string) => unknown, text: string): { message: string; hint: string } | null {
  try {
    parse(text)
    return null
  } catch (error) {
    if (error instanceof TowlineError) return { message: error.message, hint: error.hint }
    throw error
  }
}
