import type { schemaVersion } from '../engine/records.ts'

/** Turns a document of one version, of whichever kind, into the next version's. */
export type Migration = (document: unknown) => unknown

/** The version written. Its type is the engine's constant, so raising that one breaks the build until this follows. */
export const writtenSchema: typeof schemaVersion = 2

/** In order: the first leads from version 1 to 2. As many as there are versions before the one written. */
export const migrations: readonly Migration[] = [addRecovery]

/** Brings a document of an older version to the newest one. */
export function migrate(document: unknown, from: number, steps: readonly Migration[]): unknown {
  return steps.slice(from - 1).reduce((older, step) => step(older), document)
}

/** Version 2 knows what healing gave up, drift that was told, and apps that are to be removed. */
function addRecovery(document: unknown): unknown {
  const record = document as Record<string, unknown>
  if (Array.isArray(record.deployments)) {
    const healing = record.healing ? { ...record.healing, healedAt: {}, degraded: null } : null
    return { ...record, version: 2, healing, drift: null, untoldDrifts: [], removal: null }
  }
  if (Array.isArray(record.revisions)) {
    const revisions = record.revisions.map((revision: object) => ({
      ...revision,
      removals: [],
      pruneRefused: null,
    }))
    return { ...record, version: 2, revisions }
  }
  return document
}
