import type { Place } from './finding.ts'
import type { ServiceSpec, SiteSpec } from './spec.ts'

/** A spec whose hosts are not resolved yet: null asks for the defaults. */
export type SpecDraft = ServiceDraft | SiteDraft
export type ServiceDraft = Draft<ServiceSpec>
export type SiteDraft = Draft<SiteSpec>

type Draft<T extends { hosts: string[] }> = Omit<T, 'hosts'> & { hosts: string[] | null }

/** Where the parts of a spec stand that other files may prove wrong. Lists run along with the spec's own. */
export type Places = {
  document: Place
  name: Place
  hosts: Place[]
  dependsOn: Place[]
  ports: Place[]
  mounts: Place[]
  /** null for anything but a Site from a folder. */
  sourceFiles: Place | null
}
