/** Share of a layer's work that is the download; the rest is unpacking. */
const downloadShare = 0.7

type Layer = { done: number; totalBytes: number | null }

/** Statuses that end a layer's part, with how much of the layer is then done. Source: moby, `distribution/pull_v2.go`. */
const milestones: Record<string, number> = {
  'Pulling fs layer': 0,
  Waiting: 0,
  'Verifying Checksum': downloadShare,
  'Download complete': downloadShare,
  'Pull complete': 1,
  'Already exists': 1,
}

/**
 * Follows a pull's progress lines. Layers count by their bytes; one whose size is not known yet counts as the mean
 * of the others. The fraction never falls.
 */
export function pullProgress(): (line: unknown) => { fraction: number; text: string } {
  const layers = new Map<string, Layer>()
  let fraction = 0
  return (line) => {
    note(layers, line)
    fraction = Math.max(fraction, fractionOf([...layers.values()]))
    const complete = [...layers.values()].filter(({ done }) => done === 1).length
    return { fraction, text: `${complete} of ${layers.size} layers` }
  }
}

function note(layers: Map<string, Layer>, line: unknown): void {
  const { id, status, progressDetail } = line as {
    id?: unknown
    status?: unknown
    progressDetail?: { current?: unknown; total?: unknown }
  }
  if (typeof id !== 'string' || typeof status !== 'string') return
  const milestone = milestones[status]
  const layer = layers.get(id) ?? { done: 0, totalBytes: null }
  if (milestone !== undefined) {
    layers.set(id, { ...layer, done: milestone })
    return
  }
  const share = shareOf(progressDetail?.current, progressDetail?.total)
  if (share === null) return
  if (status === 'Downloading') {
    layers.set(id, { done: downloadShare * share, totalBytes: Number(progressDetail?.total) })
  }
  if (status === 'Extracting') {
    layers.set(id, { ...layer, done: downloadShare + (1 - downloadShare) * share })
  }
}

function shareOf(current: unknown, total: unknown): number | null {
  if (typeof current !== 'number' || typeof total !== 'number' || total <= 0) return null
  return Math.min(1, current / total)
}

function fractionOf(layers: readonly Layer[]): number {
  const known = layers.flatMap(({ totalBytes }) => (totalBytes === null ? [] : [totalBytes]))
  const mean = known.length === 0 ? 1 : known.reduce((sum, bytes) => sum + bytes, 0) / known.length
  let done = 0
  let total = 0
  for (const layer of layers) {
    const weight = layer.totalBytes ?? mean
    done += weight * layer.done
    total += weight
  }
  return total === 0 ? 0 : done / total
}
