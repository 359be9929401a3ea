import { type Static, Type } from 'typebox'
import { Arguments } from './container.ts'
import { defaults } from './defaults.ts'
import { ApiVersion, closed, documentOf, mapOf } from './document.ts'
import { duration, positiveDuration } from './duration.ts'
import { HostName, ImageReference } from './name.ts'

const absolutePath = { pattern: '^/', maxLength: 4096, format: 'absolute-path', title: 'an absolute path' }

const fromFile = closed(
  { file: Type.String({ ...absolutePath, examples: ['/etc/towline/ca.pem'] }) },
  { title: 'a map with `file`', examples: [{ file: '/etc/towline/ca.pem' }] },
)

const siteImage = {
  title: 'an image, or a map with `image` and `command`',
  examples: ['caddy:2-alpine'],
}

/** `server.yaml`: what the operator decides and no config repo can change. */
export const Server = documentOf(
  {
    apiVersion: ApiVersion,
    kind: Type.Literal('Server', { title: 'the kind of this file', examples: ['Server'] }),
    repos: Type.Optional(
      Type.Array(
        closed({
          repo: Type.String({
            pattern: '^[A-Za-z0-9][A-Za-z0-9-]{0,38}/[A-Za-z0-9._-]{1,100}$',
            title: 'a repository',
            examples: ['acme/config'],
          }),
          branch: Type.Optional(
            Type.String({
              pattern: '^[A-Za-z0-9_][A-Za-z0-9_./-]*$',
              maxLength: 200,
              title: 'a branch',
              description: "Default: the repository's default branch.",
              examples: ['main'],
            }),
          ),
        }),
        {
          minItems: 1,
          maxItems: 1000,
          title: 'a list of 1 to 1000 repositories',
          description: 'Config repos. Default: every repository the App is installed on.',
          examples: [[{ repo: 'acme/config', branch: 'main' }]],
        },
      ),
    ),
    hosts: Type.Optional(
      mapOf(
        HostName,
        closed({
          endpoint: Type.String({
            maxLength: 4096,
            format: 'endpoint',
            title: 'an endpoint',
            description: '`unix:///path` or `tcp://host:port`.',
            examples: ['unix:///var/run/docker.sock', 'tcp://10.0.0.6:2376'],
          }),
          tls: Type.Optional(
            closed(
              { ca: fromFile, cert: fromFile, key: fromFile },
              { description: 'Certificates of a tcp endpoint.' },
            ),
          ),
        }),
        {
          minProperties: 1,
          maxProperties: 500,
          title: 'a map of 1 to 500 hosts',
          description:
            'Docker hosts by name. Default: one host `local` on DOCKER_HOST or the default socket.',
          examples: [{ 'web-1': { endpoint: 'unix:///var/run/docker.sock' } }],
        },
      ),
    ),
    images: Type.Optional(
      closed(
        {
          helper: Type.Optional(
            Type.String({
              ...ImageReference,
              default: defaults.images.helper,
              description: 'Image that switches links on a host; needs `sh` and `mv -T`.',
            }),
          ),
          site: Type.Optional(
            Type.Union(
              [
                ImageReference,
                closed(
                  {
                    image: ImageReference,
                    command: Type.Optional(
                      Type.Array(Arguments.items, {
                        ...Arguments,
                        default: defaults.images.site.command,
                        description:
                          'Command of the file server; `{root}` stands for the folder to serve. That folder is behind a link which is swapped: the server must look it up for each request, as Caddy and nginx do and BusyBox httpd does not.',
                      }),
                    ),
                  },
                  siteImage,
                ),
              ],
              {
                ...siteImage,
                default: defaults.images.site.image,
                description: 'Image that serves the files of Sites.',
              },
            ),
          ),
        },
        { description: 'Images Towline itself uses.' },
      ),
    ),
    schedule: Type.Optional(
      closed(
        {
          sweep: Type.Optional(
            Type.String({
              maxLength: 100,
              default: defaults.schedule.sweep,
              format: 'cron',
              title: 'a cron expression',
              description: 'When to look at everything again, as cron in UTC.',
              examples: [defaults.schedule.sweep],
            }),
          ),
          stuck: Type.Optional(
            Type.String({
              maxLength: 100,
              default: defaults.schedule.stuck,
              format: 'cron',
              title: 'a cron expression',
              description: 'When to look for deployments that do not get on, as cron in UTC.',
              examples: [defaults.schedule.stuck],
            }),
          ),
          poll: Type.Optional(
            positiveDuration({
              description:
                'How often a container is looked at while it is waited for, where no event says more.',
              default: defaults.schedule.poll,
            }),
          ),
          repos: Type.Optional(
            positiveDuration({
              description:
                'How often GitHub is asked for new commits and for what it could not deliver: for a server its webhooks cannot reach. Default: never, webhooks and the sweep do.',
            }),
          ),
        },
        { description: 'When to look again.' },
      ),
    ),
    limits: Type.Optional(
      closed(
        {
          perHost: Type.Optional(count(defaults.limits.perHost, 'Deployments at a time on one host.')),
          total: Type.Optional(count(defaults.limits.total, 'Deployments at a time in all.')),
          progressDeadline: Type.Optional(
            positiveDuration({
              description:
                'Time one phase of a deployment may take without getting on, where its spec does not say.',
              default: defaults.limits.progressDeadline,
            }),
          ),
          deadline: Type.Optional(
            duration({
              description: 'Time a deployment may take in all.',
              default: defaults.limits.deadline,
            }),
          ),
          orphanGrace: Type.Optional(
            positiveDuration({
              description: 'How long a thing of ours that nothing explains is left before it is removed.',
              default: defaults.limits.orphanGrace,
            }),
          ),
          healings: Type.Optional(
            count(
              defaults.limits.healings,
              'How often one container, link or release is put right within `healingWindow`; then it is reported and left for an hour.',
            ),
          ),
          healingWindow: Type.Optional(
            positiveDuration({
              description: 'The time within which `healings` counts.',
              default: defaults.limits.healingWindow,
            }),
          ),
          githubWriteInterval: Type.Optional(
            duration({
              description: 'Time between two writes to GitHub.',
              default: defaults.limits.githubWriteInterval,
            }),
          ),
        },
        { description: 'Bounds.' },
      ),
    ),
    orphans: Type.Optional(
      closed(
        {
          remove: Type.Optional(
            Type.Boolean({
              default: defaults.orphans.remove,
              title: 'true or false',
              description: 'Whether they are removed, or only reported.',
            }),
          ),
          volumes: Type.Optional(
            Type.Boolean({
              default: defaults.orphans.volumes,
              title: 'true or false',
              description: 'Whether volumes are removed too, with the data in them.',
            }),
          ),
        },
        { description: 'Things of this installation that no app and no record explains any more.' },
      ),
    ),
    policy: Type.Optional(
      closed(
        {
          bindMounts: Type.Optional(
            Type.Array(Type.String({ ...absolutePath, examples: ['/srv/data'] }), {
              maxItems: 100,
              uniqueItems: true,
              default: [],
              title: 'a list of at most 100 different absolute paths',
              description: 'Folders of the hosts that specs may mount, with all below them.',
              examples: [['/srv/data']],
            }),
          ),
        },
        { description: 'What config repos may do.' },
      ),
    ),
  },
  { description: 'Settings of the server.' },
)

export type Server = Static<typeof Server>

function count(value: number, description: string) {
  return Type.Integer({
    minimum: 1,
    maximum: 1000,
    default: value,
    title: 'a whole number from 1 to 1000',
    description,
  })
}
