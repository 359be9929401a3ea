import { Type } from 'typebox'
import { defaults } from './defaults.ts'
import { closed, mapOf } from './document.ts'
import { duration, positiveDuration } from './duration.ts'
import { memory } from './memory.ts'

/* Settings of a container. Names and meanings are the Compose Specification's. */

const text = { title: 'a string (quote it)' }

const port = { title: 'a port in the short form', examples: ['8080:80', '80', '127.0.0.1:9100:9100/udp'] }

export const Ports = Type.Array(
  Type.Union(
    [
      Type.String({ maxLength: 80, format: 'port', ...port }),
      Type.Integer({ minimum: 1, maximum: 65_535, ...port }),
    ],
    {
      ...port,
    },
  ),
  {
    minItems: 1,
    maxItems: 50,
    title: 'a list of 1 to 50 ports',
    description:
      'Published ports, `[[ip:]host:]container[/protocol]`. Without a host port, Docker chooses one.',
    examples: [['8080:80']],
  },
)

export const Volumes = Type.Array(
  Type.String({
    maxLength: 4096,
    format: 'volume',
    title: 'a volume in the short form',
    examples: ['data:/var/lib/app', '/srv/data:/data:ro'],
  }),
  {
    maxItems: 50,
    title: 'a list of at most 50 volumes',
    description:
      'Named volumes `name:/path[:ro]` and bind mounts `/host/path:/path[:ro]`. Bind mounts must be allowed in server.yaml.',
    examples: [['data:/var/lib/app']],
  },
)

const variable = Type.String({
  pattern: '^[A-Za-z_][A-Za-z0-9_.-]*$',
  maxLength: 256,
  title: 'the name of a variable',
  examples: ['NODE_ENV'],
})

const plainValue = Type.Unsafe<string | number | boolean>({
  type: ['string', 'number', 'boolean'],
  title: 'a string, number or boolean',
})

export const Environment = Type.Union(
  [
    mapOf(variable, plainValue, { maxProperties: 500, title: 'a map of at most 500 variables' }),
    Type.Array(
      Type.String({
        pattern: '^[A-Za-z_][A-Za-z0-9_.-]*=',
        title: 'a variable with its value, KEY=value',
        examples: ['NODE_ENV=production'],
      }),
      {
        maxItems: 500,
        title: 'a list of at most 500 variables',
      },
    ),
  ],
  {
    title: 'a map or a list of variables',
    description:
      'Environment variables, as a map or as a list of `KEY=value`. Values are taken as they stand.',
    examples: [{ NODE_ENV: 'production' }],
  },
)

export const Labels = mapOf(
  Type.String({
    pattern: '^(?!towline\\.)[A-Za-z0-9]',
    maxLength: 256,
    title: 'a label of your own (`towline.` is kept for Towline)',
    examples: ['com.example.team'],
  }),
  plainValue,
  {
    maxProperties: 100,
    title: 'a map of at most 100 labels',
    description: 'Labels of the containers. None may start with `towline.`.',
    examples: [{ 'com.example.team': 'web' }],
  },
)

export const Arguments = Type.Array(Type.String(text), {
  minItems: 1,
  maxItems: 200,
  title: 'a list of 1 to 200 strings',
  examples: [['node', 'server.js']],
})

export const Healthcheck = closed(
  {
    test: Type.Optional(
      Type.Union(
        [
          Type.Array(Type.String(text), { minItems: 1, maxItems: 200, title: 'a list of 1 to 200 strings' }),
          Type.String({ minLength: 1, title: 'a command line' }),
        ],
        {
          title: 'a test',
          description: '`[CMD, …]`, `[CMD-SHELL, line]`, `[NONE]`, or a line for the shell.',
          examples: [['CMD', 'wget', '-q', '--spider', 'http://127.0.0.1:3000/']],
        },
      ),
    ),
    interval: Type.Optional(
      positiveDuration({ description: 'Time between two tests.', default: defaults.healthcheck.interval }),
    ),
    timeout: Type.Optional(
      positiveDuration({ description: 'Time a test may take.', default: defaults.healthcheck.timeout }),
    ),
    retries: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 100,
        default: defaults.healthcheck.retries,
        title: 'a whole number from 1 to 100',
        description: 'Failures in a row that make the container unhealthy.',
      }),
    ),
    start_period: Type.Optional(
      duration({
        description: 'Time to start in, during which failures do not count.',
        default: defaults.healthcheck.start_period,
      }),
    ),
    disable: Type.Optional(
      Type.Boolean({ title: 'true or false', description: 'Turns off the health check of the image.' }),
    ),
  },
  { description: "How to tell that a container works. Without it, a Service's image decides." },
)

export const Restart = Type.String({
  pattern: '^(?:no|always|unless-stopped|on-failure(?::[1-9][0-9]{0,3})?)$',
  default: defaults.restart,
  title: 'a restart policy (only on-failure takes a count)',
  description: '`no`, `always`, `unless-stopped`, `on-failure` or `on-failure:<tries>`.',
  examples: ['unless-stopped', 'on-failure:3'],
})

export const Resources = closed(
  {
    limits: Type.Optional(
      closed({
        cpus: Type.Optional(
          Type.Union(
            [
              Type.String({ pattern: '^[0-9]{1,4}(?:\\.[0-9]{1,9})?$', ...cpuWording() }),
              Type.Number({ minimum: 0, maximum: 9999, ...cpuWording() }),
            ],
            { ...cpuWording(), description: 'CPUs a container may use. Default: no limit.' },
          ),
        ),
        memory: Type.Optional(
          memory({ description: 'Memory a container may use, at least 6M. Default: no limit.' }),
        ),
      }),
    ),
  },
  { description: 'Limits of each container.' },
)

function cpuWording() {
  return { title: 'a number of CPUs', examples: ['0.5', '2'] }
}
