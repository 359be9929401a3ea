import * as answers from './answers.ts'

type Parameter = {
  name: string
  in: 'path' | 'query'
  required: boolean
  description: string
  schema: object
}
type Operation = {
  summary: string
  answers: { status: number; schema: keyof typeof schemas | 'text'; description: string }[]
  /** Statuses answered with a problem document. */
  problems: number[]
  parameters?: Parameter[]
  /** Served without the token. */
  open?: boolean
}

const schemas = {
  Accepted: answers.Accepted,
  Deployment: answers.DeploymentView,
  DeploymentList: answers.DeploymentList,
  Health: answers.HealthView,
  Problem: answers.Problem,
  Retried: answers.Retried,
  Stats: answers.StatsView,
  Status: answers.Status,
  StuckList: answers.StuckList,
  Sweep: answers.SweepAnswer,
  Target: answers.TargetView,
  TargetList: answers.TargetList,
}

const targetKey: Parameter = {
  name: 'key',
  in: 'path',
  required: true,
  description: 'Key of a target, URL-encoded: `acme%2Fconfig%3Ashop%40web-1`',
  schema: { type: 'string' },
}
const deploymentId: Parameter = {
  name: 'id',
  in: 'path',
  required: true,
  description: 'Id of a deployment',
  schema: { type: 'string' },
}

/** What `GET /api/deployments` takes; the route itself checks by it. */
export const deploymentsQuery = {
  type: 'object',
  additionalProperties: false,
  properties: {
    target: { type: 'string', maxLength: 512, description: 'Only those of this target' },
    state: { type: 'string', enum: answers.deploymentStates, description: 'Only those in this state' },
    limit: { type: 'integer', minimum: 1, maximum: 100, default: 20, description: 'How many' },
    cursor: { type: 'string', maxLength: 1024, description: '`next` of the page before' },
  },
}

export const triggerQuery = {
  type: 'object',
  additionalProperties: false,
  properties: {
    dryRun: { type: 'boolean', default: false, description: 'Say what would be done and change nothing' },
  },
}

/** For routes that take no query: a misspelt one is an error, not a surprise. */
export const noQuery = { type: 'object', additionalProperties: false, properties: {} }

/** Every route of this version, by path and method. */
export const operations: Record<string, Record<string, Operation>> = {
  '/healthz': {
    get: { summary: 'Whether the process answers', answers: [ok('Status')], problems: [], open: true },
  },
  '/readyz': {
    get: { summary: 'Whether it takes work', answers: [ok('Status')], problems: [503], open: true },
  },
  '/metrics': {
    get: { summary: 'Metrics as Prometheus reads them', answers: [ok('text')], problems: [400] },
  },
  '/openapi.json': {
    get: { summary: 'This description', answers: [], problems: [] },
  },
  '/api/github/webhooks': {
    post: {
      summary: 'Webhooks of GitHub, proven by their signature',
      answers: [{ status: 202, schema: 'Status', description: 'Verified and stored' }],
      problems: [400, 401, 413, 500],
      open: true,
    },
  },
  '/api/monitoring/health': {
    get: {
      summary: 'Whether all is well, each trouble with what to do, hosts, orphans',
      answers: [ok('Health')],
      problems: [400],
    },
  },
  '/api/monitoring/stats': {
    get: { summary: 'Counts, durations, queue', answers: [ok('Stats')], problems: [400] },
  },
  '/api/monitoring/deployments/stuck': {
    get: {
      summary: 'Deployments that do not get on, and those ended for it in the last 24 hours',
      answers: [ok('StuckList')],
      problems: [400],
    },
  },
  '/api/monitoring/reconcile/trigger': {
    post: {
      summary: 'Look at everything now',
      answers: [ok('Sweep')],
      problems: [400, 413],
      parameters: parametersOf(triggerQuery),
    },
  },
  '/api/targets': {
    get: { summary: 'All targets, by key', answers: [ok('TargetList')], problems: [400] },
  },
  '/api/targets/{key}': {
    get: {
      summary: 'One target: releases, drift, history',
      answers: [ok('Target')],
      problems: [400, 404],
      parameters: [targetKey],
    },
  },
  '/api/targets/{key}/reconcile': {
    post: {
      summary: 'Look at one target again now, also where healing had given up',
      answers: [accepted('Accepted')],
      problems: [400, 404],
      parameters: [targetKey],
    },
  },
  '/api/deployments': {
    get: {
      summary: 'Deployments, newest first',
      answers: [ok('DeploymentList')],
      problems: [400],
      parameters: parametersOf(deploymentsQuery),
    },
  },
  '/api/deployments/{id}': {
    get: {
      summary: 'One deployment: history, changes, result',
      answers: [ok('Deployment')],
      problems: [400, 404],
      parameters: [deploymentId],
    },
  },
  '/api/deployments/{id}/cancel': {
    post: {
      summary: 'End an open deployment and put the release before back',
      answers: [accepted('Accepted')],
      problems: [400, 404, 409],
      parameters: [deploymentId],
    },
  },
  '/api/deployments/{id}/retry': {
    post: {
      summary: 'A new attempt of a deployment that ended, as the Re-run button makes one',
      answers: [accepted('Retried')],
      problems: [400, 404, 409],
      parameters: [deploymentId],
    },
  },
}

/** The OpenAPI 3.1 description of all routes. */
export function describeApi(version: string): object {
  const paths = Object.fromEntries(
    Object.entries(operations).map(([path, methods]) => [
      path,
      Object.fromEntries(
        Object.entries(methods).map(([method, operation]) => [method, describeOperation(operation)]),
      ),
    ]),
  )
  return {
    openapi: '3.1.0',
    info: { title: 'Towline', version, license: { name: 'Apache-2.0', identifier: 'Apache-2.0' } },
    paths,
    components: {
      schemas,
      securitySchemes: {
        token: {
          type: 'http',
          scheme: 'bearer',
          description: 'TOWLINE_TOKEN; where none is set, callers on loopback need none',
        },
      },
    },
  }
}

function describeOperation({ summary, answers: given, problems, parameters = [], open = false }: Operation) {
  const refusals = [...problems, ...(open ? [] : [401, 403]), ...(problems.includes(500) ? [] : [500])]
  const good = given.length > 0 ? given : [{ status: 200, schema: null, description: 'OpenAPI 3.1' }]
  return {
    summary,
    ...(parameters.length > 0 && { parameters }),
    ...(!open && { security: [{ token: [] }] }),
    responses: Object.fromEntries([
      ...good.map(({ status, schema, description }) => [status, { description, content: contentOf(schema) }]),
      ...refusals
        .sort((a, b) => a - b)
        .map((status) => [
          status,
          { description: 'A problem document (RFC 9457)', content: contentOf('Problem') },
        ]),
    ]),
  }
}

function contentOf(schema: keyof typeof schemas | 'text' | null) {
  if (schema === 'text') return { 'text/plain': { schema: { type: 'string' } } }
  if (schema === null) return { 'application/json': { schema: { type: 'object' } } }
  const type = schema === 'Problem' ? 'application/problem+json' : 'application/json'
  return { [type]: { schema: { $ref: `#/components/schemas/${schema}` } } }
}

function ok(schema: keyof typeof schemas | 'text') {
  return { status: 200, schema, description: 'OK' }
}

function accepted(schema: keyof typeof schemas) {
  return { status: 202, schema, description: 'Stored; the work follows' }
}

function parametersOf(query: { properties: Record<string, { description: string }> }): Parameter[] {
  return Object.entries(query.properties).map(([name, { description, ...schema }]) => ({
    name,
    in: 'query',
    required: false,
    description,
    schema,
  }))
}
