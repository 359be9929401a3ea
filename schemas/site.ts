import { type Static, Type } from 'typebox'
import { DependsOn, Hosts, Name, Paused, Rollout } from './app.ts'
import { Healthcheck, Labels, Ports, Resources } from './container.ts'
import { defaults } from './defaults.ts'
import { ApiVersion, closed, documentOf, mapOf } from './document.ts'
import { duration } from './duration.ts'

const filePath = {
  format: 'inner-path',
  minLength: 1,
  maxLength: 1024,
  title: 'a path of 1 to 1024 characters',
}

export const Site = documentOf(
  {
    apiVersion: ApiVersion,
    kind: Type.Literal('Site', { title: 'a kind', examples: ['Site'] }),
    name: Name,
    hosts: Type.Optional(Hosts),
    dependsOn: Type.Optional(DependsOn),
    paused: Type.Optional(Paused),
    source: closed(
      {
        files: Type.Optional(
          Type.String({
            ...filePath,
            description: 'A folder of the config repo, from its root.',
            examples: ['sites/docs'],
          }),
        ),
        inline: Type.Optional(
          mapOf(Type.String(filePath), Type.String({ title: 'the text of a file (quote it)' }), {
            minProperties: 1,
            maxProperties: 100,
            title: 'a map of 1 to 100 files',
            description: 'The files themselves: path and text.',
            examples: [{ 'index.html': '<h1>hello</h1>' }],
          }),
        ),
      },
      {
        minProperties: 1,
        maxProperties: 1,
        title: 'a map with exactly one of `files` and `inline`',
        description: 'Where the files come from.',
        examples: [{ files: 'sites/docs' }],
      },
    ),
    root: Type.Optional(
      Type.String({
        ...filePath,
        default: defaults.root,
        description: 'Folder inside the source that is served.',
        examples: ['public'],
      }),
    ),
    ports: Ports,
    healthcheck: Type.Optional(Healthcheck),
    labels: Type.Optional(Labels),
    deploy: Type.Optional(
      closed({
        resources: Type.Optional(Resources),
        update_config: Type.Optional(
          closed({
            monitor: Type.Optional(
              duration({
                description: 'Time the new release must stay ready before the deployment counts.',
                default: defaults.siteMonitor,
              }),
            ),
          }),
        ),
      }),
    ),
    rollout: Type.Optional(Rollout),
  },
  { description: 'Static files, served from a link that is switched in one move.' },
)

export type Site = Static<typeof Site>
