import { type Static, Type } from 'typebox'
import { defaults } from './defaults.ts'
import { ApiVersion, closed, documentOf } from './document.ts'
import { duration } from './duration.ts'
import { HostList } from './name.ts'

/** `towline.yaml` at the root of a config repo: what the repo decides. */
export const Towline = documentOf(
  {
    apiVersion: Type.Optional(ApiVersion),
    kind: Type.Optional(Type.Literal('Towline', { title: 'the kind of this file', examples: ['Towline'] })),
    specs: Type.Optional(
      Type.Array(
        Type.String({
          minLength: 1,
          maxLength: 200,
          format: 'glob',
          title: 'a glob of 1 to 200 characters',
          examples: [defaults.specs[0]],
        }),
        {
          minItems: 1,
          maxItems: 20,
          uniqueItems: true,
          default: defaults.specs,
          title: 'a list of 1 to 20 different globs',
          description:
            'Which files of the repo are specs: globs from its root, with `*`, `**`, `?` and `{a,b}`.',
          examples: [defaults.specs],
        },
      ),
    ),
    defaults: Type.Optional(
      closed(
        {
          hosts: Type.Optional(
            Type.Array(HostList.items, { ...HostList, description: 'Hosts of the specs that name none.' }),
          ),
        },
        { description: 'What holds for specs that say nothing.' },
      ),
    ),
    prune: Type.Optional(
      closed(
        {
          enabled: Type.Optional(
            Type.Boolean({
              default: defaults.prune.enabled,
              title: 'true or false',
              description: 'Whether an app whose spec is deleted is taken off its hosts.',
            }),
          ),
          delay: Type.Optional(
            duration({
              description: 'How long after its spec went; until then putting the spec back undoes it.',
              default: defaults.prune.delay,
            }),
          ),
          max: Type.Optional(
            Type.Integer({
              minimum: 1,
              maximum: 1000,
              default: defaults.prune.max,
              title: 'a whole number from 1 to 1000',
              description: 'Most targets at a time; where more are due none is removed.',
            }),
          ),
          volumes: Type.Optional(
            Type.Boolean({
              default: defaults.prune.volumes,
              title: 'true or false',
              description: 'Whether their volumes are removed too, with the data in them.',
            }),
          ),
        },
        { description: 'What becomes of apps whose spec is deleted.' },
      ),
    ),
  },
  { description: 'Settings of a config repo.' },
)

export type Towline = Static<typeof Towline>
