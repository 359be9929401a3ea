import type { schemaVersion } from '../engine/records.ts'

/** Turns a document of one version, of whichever kind, into the next version's. */
export type Migration = (document: unknown) => unknown

/** The version written. Its type is the engine's constant, so raising that one breaks the build until this follows. */
export const writtenSchema: typeof schemaVersion = 1

/** In order: the first leads from version 1 to 2. As many as there are versions before the one written. */
export const migrations: readonly Migration[] = []

/** Brings a document of an older version to the newest one. */
export function migrate(document: unknown, from: number, steps: readonly Migration[]): unknown {
  return steps.slice(from - 1).reduce((older, step) => step(older), document)
}
