import type { FastifyInstance, FastifyReply } from 'fastify'
import type { TargetRecord } from '../engine/records.ts'
import type { EngineStatus } from '../engine/status.ts'
import type { DeploymentSummary } from './answers.ts'
import { listDeployments, viewDeployment } from './deployment-view.ts'
import { renderMetrics } from './metrics.ts'
import {
  type CatchUpFound,
  contextOf,
  type GitHubStatus,
  listStuck,
  type Snapshot,
  type StuckFound,
  viewHealth,
  viewStats,
} from './monitoring.ts'
import { deploymentsQuery, describeApi, noQuery, triggerQuery } from './openapi.ts'
import { problem } from './problem.ts'
import { summarizeTarget, viewTargetRecord } from './target-view.ts'

/** What became of a command: `refused` says why nothing was done. */
export type CommandAnswer = { kind: 'accepted'; deploymentId: string } | { kind: 'refused'; reason: string }

/** What the API reads and what it may ask for. */
export type ApiParts = {
  status: () => Promise<EngineStatus>
  targets: () => Promise<TargetRecord[]>
  target: (key: string) => Promise<TargetRecord | null>
  /** Open deployments that do not get on, as the last look for them found. */
  stuck: () => readonly StuckFound[]
  github: () => GitHubStatus
  /** How the last look for missed webhooks went; null before the first has ended. */
  catchUp: () => CatchUpFound | null
  /** Looks at everything now; what it found is answered as it is. With `dryRun` it changes nothing. */
  sweep: (options: { deep: true; dryRun: boolean }) => Promise<object>
  /** Looks at a target again, also where healing had given up. False where nobody knows it. */
  reconcile: (key: string) => Promise<boolean>
  cancel: (deployment: { id: string; target: string }) => Promise<CommandAnswer>
  retry: (deployment: { id: string; target: string }) => Promise<CommandAnswer>
  version: string
  /** Milliseconds since the epoch. */
  nowMs: () => number
}

/** All routes behind the token. What they answer is built field by field; records themselves never leave. */
export function serveApi(scope: FastifyInstance, parts: ApiParts): void {
  serveMonitoring(scope, parts)
  serveTargets(scope, parts)
  serveDeployments(scope, parts)
  const description = describeApi(parts.version)
  scope.get('/openapi.json', { schema: { querystring: noQuery } }, () => description)
}

function serveMonitoring(scope: FastifyInstance, parts: ApiParts): void {
  const schema = { querystring: noQuery }
  scope.get('/api/monitoring/health', { schema }, async () => viewHealth(await look(parts)))
  scope.get('/api/monitoring/stats', { schema }, async () => viewStats(await look(parts)))
  scope.get('/api/monitoring/deployments/stuck', { schema }, async () => listStuck(await look(parts)))
  scope.get('/metrics', { schema }, async (_request, reply) => {
    const { contentType, text } = await renderMetrics(await look(parts))
    return reply.type(contentType).send(text)
  })
  scope.post<{ Querystring: { dryRun: boolean } }>(
    '/api/monitoring/reconcile/trigger',
    { schema: { querystring: triggerQuery } },
    ({ query }) => parts.sweep({ deep: true, dryRun: query.dryRun }),
  )
}

function serveTargets(scope: FastifyInstance, parts: ApiParts): void {
  const schema = { querystring: noQuery }
  scope.get('/api/targets', { schema }, async () => {
    const snapshot = await look(parts)
    const context = contextOf(snapshot)
    const sorted = snapshot.targets.toSorted((a, b) => (a.key < b.key ? -1 : 1))
    return { targets: sorted.map((record) => summarizeTarget(record, context)) }
  })
  scope.get<{ Params: { key: string } }>('/api/targets/:key', { schema }, async ({ params }, reply) => {
    const record = await parts.target(params.key)
    if (!record) return unknownTarget(reply, params.key)
    const context = contextOf({ status: await parts.status(), nowMs: parts.nowMs() })
    return viewTargetRecord(record, context)
  })
  scope.post<{ Params: { key: string } }>(
    '/api/targets/:key/reconcile',
    { schema },
    async ({ params }, reply) => {
      if (!(await parts.reconcile(params.key))) return unknownTarget(reply, params.key)
      return reply.status(202).send({ status: 'accepted', target: params.key })
    },
  )
}

type DeploymentsQuery = {
  target?: string
  state?: DeploymentSummary['state']
  limit: number
  cursor?: string
}

function serveDeployments(scope: FastifyInstance, parts: ApiParts): void {
  const schema = { querystring: noQuery }
  scope.get<{ Querystring: DeploymentsQuery }>(
    '/api/deployments',
    { schema: { querystring: deploymentsQuery } },
    async ({ query }, reply) => {
      const list = listDeployments(await parts.targets(), query)
      return (
        list ?? problem(reply, 400, 'The cursor is none this API gave out. Send `next` of the page before.')
      )
    },
  )
  scope.get<{ Params: { id: string } }>('/api/deployments/:id', { schema }, async ({ params }, reply) => {
    const found = await findDeployment(parts, params.id)
    if (!found) return unknownDeployment(reply, params.id)
    return viewDeployment(found.deployment, found.report)
  })
  scope.post<{ Params: { id: string } }>(
    '/api/deployments/:id/cancel',
    { schema },
    async ({ params }, reply) => {
      const found = await findDeployment(parts, params.id)
      if (!found) return unknownDeployment(reply, params.id)
      const answer = await parts.cancel(found.deployment)
      if (answer.kind === 'refused') return problem(reply, 409, answer.reason)
      return reply.status(202).send({ status: 'accepted', target: found.deployment.target })
    },
  )
  scope.post<{ Params: { id: string } }>(
    '/api/deployments/:id/retry',
    { schema },
    async ({ params }, reply) => {
      const found = await findDeployment(parts, params.id)
      if (!found) return unknownDeployment(reply, params.id)
      const answer = await parts.retry(found.deployment)
      if (answer.kind === 'refused') return problem(reply, 409, answer.reason)
      const { target } = found.deployment
      return reply.status(202).send({ status: 'accepted', target, deploymentId: answer.deploymentId })
    },
  )
}

async function look(parts: ApiParts): Promise<Snapshot> {
  const [status, targets] = await Promise.all([parts.status(), parts.targets()])
  return {
    status,
    targets,
    stuck: parts.stuck(),
    github: parts.github(),
    catchUp: parts.catchUp(),
    version: parts.version,
    nowMs: parts.nowMs(),
  }
}

async function findDeployment(parts: ApiParts, id: string) {
  for (const { deployments, reports } of await parts.targets()) {
    const deployment = deployments.find((candidate) => candidate.id === id)
    if (deployment) return { deployment, report: reports[id] ?? null }
  }
  return null
}

function unknownTarget(reply: FastifyReply, key: string) {
  return problem(reply, 404, `There is no target ${key}. GET /api/targets names all.`)
}

function unknownDeployment(reply: FastifyReply, id: string) {
  return problem(reply, 404, `There is no deployment ${id}, or it is so long ago that it was let go.`)
}
