import { Type } from 'typebox'
import { defaults } from './defaults.ts'
import { closed } from './document.ts'
import { positiveDuration } from './duration.ts'
import { HostList, SpecName } from './name.ts'

/* What a Service and a Site have in common. */

export const Name = Type.String({ ...SpecName, description: 'Name of the app, once in the config repo.' })

export const Hosts = Type.Array(HostList.items, {
  ...HostList,
  description: "Hosts to run on. Default: `defaults.hosts` of towline.yaml, else the server's only host.",
})

export const DependsOn = Type.Array(SpecName, {
  maxItems: 50,
  uniqueItems: true,
  title: 'a list of at most 50 different names of specs',
  description: 'Specs that are deployed before this one.',
  examples: [['db']],
})

export const Paused = Type.Union(
  [
    Type.Boolean({ title: 'true or false' }),
    closed({
      reason: Type.String({ minLength: 1, maxLength: 200, title: 'a reason of 1 to 200 characters' }),
      until: Type.Optional(
        Type.String({
          format: 'date-time',
          title: 'a date and time with a time zone',
          description: 'When the pause ends by itself.',
          examples: ['2026-12-01T00:00:00Z'],
        }),
      ),
    }),
  ],
  {
    title: 'true, false or a map with a reason',
    description: 'While paused, nothing is deployed or healed.',
    examples: [{ reason: 'migration', until: '2026-12-01T00:00:00Z' }],
  },
)

export const Rollout = closed(
  {
    progressDeadline: Type.Optional(
      positiveDuration({
        description:
          'How long one phase may take without getting on, e.g. until a release is ready. Default: `limits.progressDeadline` of server.yaml.',
      }),
    ),
    keepReleases: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 50,
        default: defaults.keepReleases,
        title: 'a whole number from 1 to 50',
        description: 'Releases kept for a rollback, the active one included.',
      }),
    ),
    recreateVolumes: Type.Optional(
      Type.Boolean({
        default: defaults.recreateVolumes,
        title: 'true or false',
        description:
          'Whether a volume that vanished from its host is made again, empty. Otherwise the app is left as it is and the loss is reported.',
      }),
    ),
  },
  { description: 'How a deployment proceeds.' },
)
