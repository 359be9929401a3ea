import { type Static, type TProperties, type TSchema, Type } from 'typebox'
import { phases } from '../rollout/phase.ts'

/*
 * What the API answers, field by field: the types the views are held to, and the schemas /openapi.json shows. Closed,
 * so that a field nobody meant to show is a failing test and not a leak.
 */

function closed<P extends TProperties>(properties: P) {
  return Type.Object(properties, { additionalProperties: false })
}

function orNull<S extends TSchema>(schema: S) {
  return Type.Union([schema, Type.Null()])
}

function oneOf<const T extends string>(...values: T[]) {
  return Type.Unsafe<T>({ type: 'string', enum: values })
}

/** How many there are of each; a word that is missing stands for none. */
function countsOf<const T extends string>(...keys: T[]) {
  const propertyNames = { enum: keys }
  return Type.Unsafe<{ [K in T]?: number }>({ type: 'object', propertyNames, additionalProperties: count })
}

const text = Type.String()
const count = Type.Integer({ minimum: 0 })
const time = Type.String({ pattern: '^\\d{4}-\\d{2}-\\d{2}T', description: 'ISO 8601, UTC' })
const timeOrNull = orNull(time)
const phase = oneOf(...phases)
const stuckReason = oneOf('deadline', 'progress', 'claim')

/** How far a deployment is: still open, or how it ended. */
export const deploymentStates = ['open', 'succeeded', 'failed', 'superseded', 'cancelled'] as const

/** One word for a target. The first that fits, in this order. */
const targetHealths = [
  'unknown',
  'deploying',
  'degraded',
  'drifted',
  'failed',
  'removing',
  'unwanted',
  'paused',
  'healthy',
  'pending',
] as const

const deploymentFields = {
  id: text,
  target: text,
  commit: text,
  specHash: text,
  attempt: Type.Integer({ minimum: 1 }),
  trigger: oneOf('push', 'rerun', 'sweep', 'cli', 'api', 'rebuild'),
  state: oneOf(...deploymentStates),
  phase,
  progress: Type.Integer({ minimum: 0, maximum: 100 }),
  message: text,
  releaseId: orNull(text),
  resumedCount: count,
  createdAt: time,
  startedAt: timeOrNull,
  phaseUpdatedAt: time,
  deadlineAt: time,
  endedAt: timeOrNull,
}

export const DeploymentSummary = closed(deploymentFields)
export type DeploymentSummary = Static<typeof DeploymentSummary>

const DeploymentResult = Type.Union([
  closed({ kind: Type.Literal('succeeded') }),
  closed({
    kind: Type.Literal('failed'),
    phase,
    fault: oneOf('temporary', 'input', 'operator', 'rejected', 'cancelled', 'stale', 'bug'),
    reason: text,
    hint: text,
    logTail: Type.Array(text),
    stuck: orNull(stuckReason),
    previous: text,
  }),
  closed({ kind: Type.Literal('superseded'), phase, by: text }),
  closed({ kind: Type.Literal('cancelled'), phase, reason: text }),
])

export const DeploymentView = closed({
  ...deploymentFields,
  image: orNull(closed({ reference: text, pinned: text })),
  inputHash: orNull(text),
  changes: Type.Array(text),
  history: Type.Array(closed({ phase, progress: Type.Integer(), at: time, message: text })),
  result: orNull(DeploymentResult),
  checkRun: orNull(
    closed({
      id: orNull(Type.Integer()),
      done: Type.Boolean({ description: 'True once its final state stands at GitHub' }),
    }),
  ),
})
export type DeploymentView = Static<typeof DeploymentView>

export const DeploymentList = closed({
  deployments: Type.Array(DeploymentSummary),
  next: orNull(Type.String({ description: 'Send as `cursor` for the page after this one' })),
})
export type DeploymentList = Static<typeof DeploymentList>

const targetFields = {
  key: text,
  repo: text,
  app: text,
  host: text,
  preview: orNull(Type.Integer()),
  kind: orNull(oneOf('Service', 'Site')),
  health: oneOf(...targetHealths),
  reason: text,
  desired: orNull(closed({ commit: text, specHash: text })),
  attempted: orNull(
    closed({ deploymentId: text, specHash: text, attempt: Type.Integer(), commit: orNull(text) }),
  ),
  applied: orNull(closed({ deploymentId: text, specHash: text, commit: text, releaseId: text, at: time })),
  lastDeployment: orNull(DeploymentSummary),
  drift: orNull(
    closed({
      id: text,
      commit: text,
      openedAt: time,
      endedAt: timeOrNull,
      degradedReason: orNull(text),
      entryCount: count,
    }),
  ),
  healing: orNull(
    closed({
      failureCount: count,
      notBefore: time,
      lastHealedAt: timeOrNull,
      degraded: orNull(closed({ since: time, reason: text })),
    }),
  ),
  removal: orNull(closed({ since: time, removeAfter: time, commit: text })),
  paused: orNull(closed({ reason: text, until: timeOrNull })),
}

export const TargetSummary = closed(targetFields)
export type TargetSummary = Static<typeof TargetSummary>

export const TargetList = closed({ targets: Type.Array(TargetSummary) })
export type TargetList = Static<typeof TargetList>

const port = closed({
  hostIp: orNull(text),
  hostPort: orNull(Type.Integer()),
  containerPort: Type.Integer(),
  protocol: oneOf('tcp', 'udp'),
})

export const TargetView = closed({
  ...targetFields,
  spec: orNull(
    closed({
      path: text,
      line: Type.Integer(),
      dependsOn: Type.Array(text),
      image: orNull(text),
      ports: Type.Array(port),
      environmentNames: Type.Array(text),
    }),
  ),
  releases: Type.Array(
    closed({
      id: text,
      deploymentId: text,
      commit: text,
      inputHash: text,
      image: closed({ reference: text, pinned: text }),
      containerNames: Type.Array(text),
      provenAt: time,
      applied: Type.Boolean(),
    }),
  ),
  driftEntries: Type.Array(
    closed({
      subject: text,
      field: text,
      expected: text,
      found: text,
      action: text,
      firstSeenAt: time,
      lastSeenAt: time,
      count,
    }),
  ),
  history: Type.Array(DeploymentSummary),
})
export type TargetView = Static<typeof TargetView>

const hosts = Type.Array(
  closed({ host: text, engineId: orNull(text), unknownSince: timeOrNull, lastSeenAt: timeOrNull }),
)
const lastSweep = orNull(closed({ at: time, durationMs: Type.Number({ minimum: 0 }) }))

const StuckDeployment = closed({
  id: text,
  target: text,
  phase,
  reason: stuckReason,
  since: Type.String({
    description: 'Since when it is without a sign of life; of an ended one, when it was ended',
  }),
  phaseUpdatedAt: Type.String({ description: 'When its phase moved last' }),
  message: text,
  endedAt: timeOrNull,
})
export type StuckDeployment = Static<typeof StuckDeployment>

export const StuckList = closed({
  open: Type.Array(StuckDeployment),
  ended: Type.Array(StuckDeployment),
})
export type StuckList = Static<typeof StuckList>

const Finding = closed({
  kind: oneOf('recovery', 'host', 'github', 'outbox', 'target', 'stuck'),
  severity: oneOf('degraded', 'unknown'),
  subject: text,
  since: timeOrNull,
  message: text,
  hint: text,
})
export type Finding = Static<typeof Finding>

const Orphan = closed({
  host: text,
  kind: oneOf('container', 'network', 'volume', 'image', 'site', 'release'),
  name: text,
  reason: text,
  firstSeenAt: time,
  removeAfter: timeOrNull,
})

const targetCounts = closed({
  total: count,
  byHealth: countsOf(...targetHealths),
})

export const HealthView = closed({
  status: oneOf('healthy', 'degraded', 'unknown'),
  version: text,
  at: time,
  startedAt: time,
  recovered: Type.Boolean(),
  findings: Type.Array(Finding),
  hosts,
  targets: targetCounts,
  github: closed({
    unreachableSince: timeOrNull,
    reason: orNull(text),
    lastAnswerAt: timeOrNull,
    untoldCount: Type.Integer({
      minimum: 0,
      description: 'Deployments that ended and whose end GitHub has not been told',
    }),
    outboxLagMs: Type.Integer({ minimum: 0, description: 'How long the oldest of them waits' }),
    lastCatchUp: orNull(
      closed({
        at: time,
        recoveredCount: Type.Integer({ minimum: 0, description: 'Webhooks that were lost and taken in' }),
        error: orNull(text),
      }),
    ),
  }),
  lastSweep,
  orphans: Type.Array(Orphan),
})
export type HealthView = Static<typeof HealthView>

export const StatsView = closed({
  at: time,
  startedAt: time,
  deployments: closed({
    open: count,
    byPhase: countsOf(...phases),
    byResult: countsOf('succeeded', 'failed', 'superseded', 'cancelled'),
  }),
  durations: Type.Array(
    closed({
      kind: oneOf('Service', 'Site'),
      count: Type.Integer({ minimum: 1 }),
      p50Ms: Type.Number(),
      p95Ms: Type.Number(),
    }),
  ),
  stuck: closed({ now: count, byReason: countsOf('deadline', 'progress', 'claim') }),
  targets: targetCounts,
  counts: Type.Record(text, count),
  queue: closed({ waiting: count, running: count }),
  hosts: closed({ known: count, unknown: count }),
  orphanCount: count,
  lastSweep,
})
export type StatsView = Static<typeof StatsView>

export const Accepted = closed({ status: Type.Literal('accepted'), target: text })
export const Retried = closed({ status: Type.Literal('accepted'), target: text, deploymentId: text })

const SweepDrift = closed({ subject: text, field: text, expected: text, found: text })

/** What a sweep found is answered as the engine gives it, so what it may add is let through. */
export const SweepAnswer = Type.Object({
  hosts: Type.Array(
    Type.Union([
      Type.Object({
        host: text,
        targetCount: count,
        due: Type.Array(Type.Object({ target: text, reason: text, drift: Type.Array(SweepDrift) })),
      }),
      Type.Object({ host: text, error: text, hint: text }),
    ]),
  ),
  repos: Type.Array(Type.Object({ repo: text, error: orNull(text) })),
  orphans: Type.Array(Orphan),
})

export const Status = closed({ status: text })

export const Problem = closed({
  type: Type.Literal('about:blank'),
  title: text,
  status: Type.Integer(),
  detail: text,
})
