/** What is counted since the process started. */
export const counters = [
  'deploymentsSucceeded',
  'deploymentsFailed',
  'deploymentsSuperseded',
  'deploymentsCancelled',
  'deploymentsResumed',
  'stuckDeadline',
  'stuckProgress',
  'stuckClaim',
  'driftDetected',
  'healingsSucceeded',
  'healingsFailed',
  'healingsGivenUp',
  'orphansRemoved',
  'targetsPruned',
  'deliveriesRecovered',
  'sweeps',
  'fenceRejections',
] as const

export type Counter = (typeof counters)[number]

/** Counts for an operator; nothing is decided by them. */
export type Statistics = {
  count(counter: Counter, by?: number): void
  read(): Record<Counter, number>
}

export function createStatistics(): Statistics {
  const values = Object.fromEntries(counters.map((counter) => [counter, 0])) as Record<Counter, number>
  return {
    count: (counter, by = 1) => {
      values[counter] += by
    },
    read: () => ({ ...values }),
  }
}
