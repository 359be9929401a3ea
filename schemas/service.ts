import { type Static, Type } from 'typebox'
import { DependsOn, Hosts, Name, Paused, Rollout } from './app.ts'
import {
  Arguments,
  Environment,
  Healthcheck,
  Labels,
  Ports,
  Resources,
  Restart,
  Volumes,
} from './container.ts'
import { defaults } from './defaults.ts'
import { ApiVersion, closed, documentOf } from './document.ts'
import { duration } from './duration.ts'
import { ImageReference } from './name.ts'

export const Service = documentOf(
  {
    apiVersion: ApiVersion,
    kind: Type.Literal('Service', { title: 'a kind', examples: ['Service'] }),
    name: Name,
    hosts: Type.Optional(Hosts),
    dependsOn: Type.Optional(DependsOn),
    paused: Type.Optional(Paused),
    image: Type.String({ ...ImageReference, description: 'Image the containers are made from.' }),
    pull_policy: Type.Optional(
      Type.Enum(['missing', 'if_not_present', 'always', 'never'], {
        default: defaults.pullPolicy,
        title: 'missing, if_not_present, always or never',
        description: 'When to ask the registry. `if_not_present` is another word for `missing`.',
      }),
    ),
    entrypoint: Type.Optional(
      Type.Array(Arguments.items, { ...Arguments, description: "Replaces the image's entrypoint." }),
    ),
    command: Type.Optional(
      Type.Array(Arguments.items, { ...Arguments, description: "Replaces the image's command." }),
    ),
    environment: Type.Optional(Environment),
    user: Type.Optional(
      Type.Union(
        [
          Type.String({ pattern: '^[A-Za-z0-9_.-]{1,64}(?::[A-Za-z0-9_.-]{1,64})?$', ...userWording() }),
          Type.Integer({ minimum: 0, maximum: 4_294_967_295, ...userWording() }),
        ],
        { ...userWording(), description: 'User, and group, to run as.' },
      ),
    ),
    working_dir: Type.Optional(
      Type.String({
        pattern: '^/',
        maxLength: 4096,
        format: 'absolute-path',
        title: 'an absolute path',
        description: 'Folder the command starts in.',
        examples: ['/app'],
      }),
    ),
    ports: Type.Optional(Ports),
    volumes: Type.Optional(Volumes),
    healthcheck: Type.Optional(Healthcheck),
    restart: Type.Optional(Restart),
    labels: Type.Optional(Labels),
    stop_signal: Type.Optional(
      Type.String({
        pattern: '^SIG[A-Z]{2,6}[0-9]{0,2}(?:[+-][0-9]{1,2})?$',
        title: 'a signal',
        description: 'Signal that stops a container. Default: what the image says, else SIGTERM.',
        examples: ['SIGTERM', 'SIGQUIT'],
      }),
    ),
    stop_grace_period: Type.Optional(
      duration({
        description: 'Time a container has to stop before it is killed.',
        default: defaults.stopGracePeriod,
      }),
    ),
    deploy: Type.Optional(
      closed({
        replicas: Type.Optional(
          Type.Integer({
            minimum: 1,
            maximum: 50,
            default: defaults.replicas,
            title: 'a whole number from 1 to 50',
            description: 'Containers on each host.',
          }),
        ),
        resources: Type.Optional(Resources),
        update_config: Type.Optional(
          closed({
            order: Type.Optional(
              Type.Enum(['start-first', 'stop-first'], {
                title: 'start-first or stop-first',
                description:
                  'Whether the new containers start before the old ones stop. ' +
                  'Default: stop-first with a fixed host port or a writable volume, else start-first.',
              }),
            ),
            failure_action: Type.Optional(
              Type.Literal('rollback', {
                default: 'rollback',
                title: 'rollback, the only action supported',
                description: 'A release that fails is always rolled back.',
              }),
            ),
            monitor: Type.Optional(
              duration({
                description: 'Time the new release must stay ready before the deployment counts.',
                default: defaults.serviceMonitor,
              }),
            ),
          }),
        ),
      }),
    ),
    rollout: Type.Optional(Rollout),
  },
  { description: 'Containers of one image.' },
)

export type Service = Static<typeof Service>

function userWording() {
  return { title: 'a user, or user and group', examples: ['node', '1000:1000'] }
}
