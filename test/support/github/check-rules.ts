import { Ajv, type ErrorObject, type ValidateFunction } from 'ajv'
import { invalidRequest, type Refusal, validationFailed } from './answer.ts'
import {
  type Action,
  type Conclusion,
  conclusions,
  type Output,
  type Status,
  statuses,
} from './check-state.ts'

/**
 * What GitHub's Checks API takes, field by field. Source: GitHub REST, "Create a check run" and "Update a check run".
 * Stricter than GitHub: unknown fields are refused, and what only GitHub or GitHub Actions may set is no value at all.
 */
export type CheckRunFields = {
  details_url?: string
  external_id?: string
  status?: Status
  conclusion?: Conclusion
  started_at?: string
  completed_at?: string
  output?: Output
  actions?: Action[]
}
export type CheckRunCreate = CheckRunFields & { name: string; head_sha: string }
export type CheckRunUpdate = CheckRunFields & { name?: string }

/** @throws Refusal 422 in GitHub's words. */
export function parseCheckRunCreate(body: unknown): CheckRunCreate {
  if (!isCreate(body)) throw firstProblem(isCreate)
  checkTogether(body)
  return body
}

/** @throws Refusal 422 in GitHub's words. */
export function parseCheckRunUpdate(body: unknown): CheckRunUpdate {
  if (!isUpdate(body)) throw firstProblem(isUpdate)
  checkTogether(body)
  return body
}

/** Rules over more than one field, the same for both requests. */
function checkTogether(fields: CheckRunFields): void {
  if (
    fields.conclusion === undefined &&
    (fields.status === 'completed' || fields.completed_at !== undefined)
  ) {
    throw validationFailed('CheckRun', 'conclusion', 'is required where the check run is completed')
  }
  for (const annotation of fields.output?.annotations ?? []) {
    const hasColumns = annotation.start_column !== undefined || annotation.end_column !== undefined
    if (annotation.end_line < annotation.start_line) {
      throw validationFailed('CheckRun', 'annotations', 'end_line is before start_line')
    }
    if (hasColumns && annotation.start_line !== annotation.end_line) {
      throw validationFailed(
        'CheckRun',
        'annotations',
        'columns are only allowed where start_line is end_line',
      )
    }
    for (const field of ['message', 'raw_details'] as const) {
      if (Buffer.byteLength(annotation[field] ?? '') > annotationTextBytes) {
        throw validationFailed('CheckRun', 'annotations', `${field} is longer than 64 KB`)
      }
    }
  }
}

const annotationTextBytes = 64 * 1024

const text = { type: 'string' }
const markdown = { type: 'string', maxLength: 65_535 }
const time = { type: 'string', format: 'date-time' }
const position = { type: 'integer', minimum: 1 }

const annotation = {
  type: 'object',
  additionalProperties: false,
  required: ['path', 'start_line', 'end_line', 'annotation_level', 'message'],
  properties: {
    path: { type: 'string', minLength: 1 },
    start_line: position,
    end_line: position,
    start_column: position,
    end_column: position,
    annotation_level: { type: 'string', enum: ['notice', 'warning', 'failure'] },
    message: { type: 'string', minLength: 1 },
    title: { type: 'string', maxLength: 255 },
    raw_details: text,
  },
}

const outputProperties = {
  title: text,
  summary: markdown,
  text: markdown,
  annotations: { type: 'array', maxItems: 50, items: annotation },
}

const action = {
  type: 'object',
  additionalProperties: false,
  required: ['label', 'description', 'identifier'],
  properties: {
    label: { type: 'string', maxLength: 20 },
    description: { type: 'string', maxLength: 40 },
    identifier: { type: 'string', maxLength: 20 },
  },
}

const fields = {
  details_url: text,
  external_id: text,
  status: { type: 'string', enum: statuses },
  conclusion: { type: 'string', enum: conclusions },
  started_at: time,
  completed_at: time,
  actions: { type: 'array', maxItems: 3, items: action },
}

function output(required: string[]): object {
  return { type: 'object', additionalProperties: false, required, properties: outputProperties }
}

const ajv = new Ajv({ verbose: true })
ajv.addFormat('date-time', /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/)

const isCreate: ValidateFunction<CheckRunCreate> = ajv.compile({
  type: 'object',
  additionalProperties: false,
  required: ['name', 'head_sha'],
  properties: {
    ...fields,
    name: { type: 'string', minLength: 1 },
    head_sha: text,
    output: output(['title', 'summary']),
  },
})

const isUpdate: ValidateFunction<CheckRunUpdate> = ajv.compile({
  type: 'object',
  additionalProperties: false,
  properties: { ...fields, name: { type: 'string', minLength: 1 }, output: output(['summary']) },
})

function firstProblem(validate: ValidateFunction): Refusal {
  const [error] = validate.errors ?? []
  return invalidRequest(error ? describeProblem(error) : 'The body does not fit.')
}

function describeProblem(error: ErrorObject): string {
  const at = `properties${error.instancePath}`
  const found = JSON.stringify(error.data)
  switch (error.keyword) {
    case 'required':
      return `"${error.params.missingProperty}" wasn't supplied.`
    case 'additionalProperties':
      return `"${error.params.additionalProperty}" is not a permitted key.`
    case 'type':
      return `For '${at}', ${found} is not ${error.params.type === 'string' ? 'a string' : `of type ${error.params.type}`}.`
    case 'enum':
      return `For '${at}', ${found} is not a member of ${JSON.stringify(error.params.allowedValues)}.`
    case 'maxItems':
      return `No more than ${error.params.limit} items are allowed; ${lengthOf(error.data)} were supplied.`
    case 'maxLength':
      return `Only ${error.params.limit} characters are allowed; ${lengthOf(error.data)} were supplied.`
    default:
      return `For '${at}', ${found} ${error.message}.`
  }
}

function lengthOf(value: unknown): number {
  return Array.isArray(value) || typeof value === 'string' ? value.length : 0
}
