/** Enough to keep the disk busy at start, far below the usual limit of 1,024 open files. */
const batchSize = 64

/** Runs `work` for every item, a batch at a time. */
export async function inBatches<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  for (let start = 0; start < items.length; start += batchSize) {
    await Promise.all(items.slice(start, start + batchSize).map(work))
  }
}
