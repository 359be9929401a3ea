import { Counter, collectDefaultMetrics, Gauge, Registry } from 'prom-client'
import { contextOf, listStuck, type Snapshot, stuckCounts, viewDurations, viewHealth } from './monitoring.ts'
import { judgeTarget } from './target-view.ts'

/**
 * The text Prometheus reads. All of it is made from one snapshot at each scrape: what is counted is counted once, by the
 * engine, and a target that is gone leaves no series behind.
 */
export async function renderMetrics(snapshot: Snapshot): Promise<{ contentType: string; text: string }> {
  const registry = new Registry()
  for (const metric of [...counters(snapshot), ...gauges(snapshot)]) register(registry, metric)
  const merged = Registry.merge([registry, processMetrics()])
  return { contentType: merged.contentType, text: await merged.metrics() }
}

type Sample = { labels?: Record<string, string>; value: number }
type Metric = { kind: 'counter' | 'gauge'; name: string; help: string; samples: Sample[] }

function counters(snapshot: Snapshot): Metric[] {
  const { counts } = snapshot.status
  const stuck = stuckCounts(snapshot.status)
  return [
    counter('towline_deployments_total', 'Deployments that ended, by result.', [
      { labels: { result: 'succeeded' }, value: counts.deploymentsSucceeded },
      { labels: { result: 'failed' }, value: counts.deploymentsFailed },
      { labels: { result: 'superseded' }, value: counts.deploymentsSuperseded },
      { labels: { result: 'cancelled' }, value: counts.deploymentsCancelled },
    ]),
    counter('towline_deployments_resumed_total', 'Deployments a start found unfinished and went on with.', [
      { value: counts.deploymentsResumed },
    ]),
    counter(
      'towline_stuck_total',
      'Deployments ended because they did not get on, by reason.',
      Object.entries(stuck).map(([reason, value]) => ({ labels: { reason }, value })),
    ),
    counter('towline_drift_detected_total', 'Differences found between a host and an applied release.', [
      { value: counts.driftDetected },
    ]),
    counter('towline_healings_total', 'Healings that ended, by outcome.', [
      { labels: { outcome: 'succeeded' }, value: counts.healingsSucceeded },
      { labels: { outcome: 'failed' }, value: counts.healingsFailed },
      { labels: { outcome: 'given_up' }, value: counts.healingsGivenUp },
    ]),
    counter('towline_orphans_removed_total', 'Things of ours that nothing explained and that were removed.', [
      { value: counts.orphansRemoved },
    ]),
    counter('towline_targets_pruned_total', 'Targets removed because their app left the config repo.', [
      { value: counts.targetsPruned },
    ]),
    counter('towline_deliveries_recovered_total', 'Webhooks that were lost and found again at GitHub.', [
      { value: counts.deliveriesRecovered },
    ]),
    counter('towline_sweeps_total', 'Looks at everything.', [{ value: counts.sweeps }]),
    counter(
      'towline_fence_rejections_total',
      'Writes refused because their claim was no longer the newest.',
      [{ value: counts.fenceRejections }],
    ),
  ]
}

function gauges(snapshot: Snapshot): Metric[] {
  const { status, targets, nowMs } = snapshot
  const health = viewHealth(snapshot)
  const context = contextOf(snapshot)
  const secondsSince = (iso: string | null) =>
    iso === null ? 0 : Math.max(0, (nowMs - Date.parse(iso)) / 1_000)
  return [
    gauge('towline_info', 'Version of this process.', [{ labels: { version: snapshot.version }, value: 1 }]),
    gauge('towline_recovered', '1 once all that was unfinished at the start was looked at.', [
      { value: status.recovered ? 1 : 0 },
    ]),
    gauge(
      'towline_host_unknown_seconds',
      'For how long a host has given no answer; 0 while it does.',
      status.hosts.map(({ host, unknownSince }) => ({ labels: { host }, value: secondsSince(unknownSince) })),
    ),
    gauge('towline_queue_depth', 'Targets that wait for a look.', [{ value: status.queue.waiting }]),
    gauge('towline_queue_running', 'Targets that are worked on.', [{ value: status.queue.running }]),
    gauge(
      'towline_target_info',
      'One series a target, always 1; its health is a label.',
      targets.map((record) => ({
        labels: {
          target: record.key,
          repo: record.target.repo,
          app: record.target.app,
          host: record.target.host,
          health: judgeTarget(record, context).health,
        },
        value: 1,
      })),
    ),
    gauge('towline_deployments_open', 'Deployments that are not at their end.', [
      { value: targets.flatMap(({ deployments }) => deployments.filter(({ result }) => !result)).length },
    ]),
    gauge('towline_stuck_deployments', 'Open deployments that do not get on.', [
      { value: listStuck(snapshot).open.length },
    ]),
    gauge(
      'towline_deployment_duration_seconds',
      'How long the last deployments that succeeded took, by kind.',
      viewDurations(targets).flatMap(({ kind, p50Ms, p95Ms }) => [
        { labels: { kind, quantile: '0.5' }, value: p50Ms / 1_000 },
        { labels: { kind, quantile: '0.95' }, value: p95Ms / 1_000 },
      ]),
    ),
    gauge('towline_orphans', 'Things of ours that nothing explains.', [{ value: status.orphans.length }]),
    gauge(
      'towline_github_unreachable_seconds',
      'For how long GitHub has given no good answer; 0 while it does.',
      [{ value: secondsSince(health.github.unreachableSince) }],
    ),
    gauge('towline_checkrun_outbox_lag_seconds', 'How long the oldest end waits that GitHub was not told.', [
      { value: health.github.outboxLagMs / 1_000 },
    ]),
    gauge(
      'towline_last_sweep_timestamp_seconds',
      'When everything was last looked at.',
      status.lastSweep ? [{ value: Date.parse(status.lastSweep.at) / 1_000 }] : [],
    ),
    gauge(
      'towline_last_sweep_duration_seconds',
      'How long that took.',
      status.lastSweep ? [{ value: status.lastSweep.durationMs / 1_000 }] : [],
    ),
  ]
}

function counter(name: string, help: string, samples: Sample[]): Metric {
  return { kind: 'counter', name, help, samples }
}

function gauge(name: string, help: string, samples: Sample[]): Metric {
  return { kind: 'gauge', name, help, samples }
}

function register(registry: Registry, { kind, name, help, samples }: Metric): void {
  const labelNames = Object.keys(samples[0]?.labels ?? {})
  // A metric without samples is left out: prom-client would show 0, which is an answer and may be wrong.
  if (samples.length === 0) return
  const metric = new (kind === 'counter' ? Counter : Gauge)({ name, help, labelNames, registers: [registry] })
  for (const { labels = {}, value } of samples) metric.inc(labels, value)
}

let ofProcess: Registry | null = null

/** Memory, processor, event loop. Once for the process it is about: it hooks into the garbage collector. */
function processMetrics(): Registry {
  if (ofProcess === null) {
    ofProcess = new Registry()
    collectDefaultMetrics({ register: ofProcess })
  }
  return ofProcess
}
