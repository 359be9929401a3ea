import { defaults } from '../../schemas/defaults.ts'
import type { Towline } from '../../schemas/towline.ts'
import { parseDuration } from './duration.ts'
import { inOrder } from './finding.ts'
import { readOneDocument } from './source-document.ts'
import type { Problem, PruneSettings, RepoSettings } from './spec.ts'
import { validate } from './validate.ts'

/** Where a config repo keeps its settings. */
export const settingsPath = 'towline.yaml'

/**
 * What `towline.yaml` says; null stands for a repo without one. Where it has problems the defaults hold, which is no
 * base to deploy from. Never throws.
 */
export function parseRepoSettings(file: { path: string; text: string } | null): {
  settings: RepoSettings
  problems: Problem[]
} {
  const standard: RepoSettings = {
    specs: [...defaults.specs],
    defaults: { hosts: null },
    prune: readPrune(undefined),
  }
  if (file === null) return { settings: standard, problems: [] }
  const { first, problems } = readOneDocument(file)
  if (!first?.value) return { settings: standard, problems: inOrder(problems) }
  const { document, findings } = validate('Towline', first.value)
  if (!document || problems.length > 0) {
    return { settings: standard, problems: inOrder([...problems, ...(findings ?? []).map(first.problemOf)]) }
  }
  const settings = {
    specs: document.specs ?? standard.specs,
    defaults: { hosts: document.defaults?.hosts ?? null },
    prune: readPrune(document.prune),
  }
  return { settings, problems: [] }
}

function readPrune(prune: Towline['prune']): PruneSettings {
  return {
    enabled: prune?.enabled ?? defaults.prune.enabled,
    delayMs: parseDuration(prune?.delay ?? defaults.prune.delay),
    max: prune?.max ?? defaults.prune.max,
    volumes: prune?.volumes ?? defaults.prune.volumes,
  }
}
