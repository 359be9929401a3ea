import { type Static, Type } from 'typebox'
import { defaults } from './defaults.ts'
import { ApiVersion, closed, documentOf } from './document.ts'
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
  },
  { description: 'Settings of a config repo.' },
)

export type Towline = Static<typeof Towline>
