/** What holds where a document says nothing. Written as an author would write it, so that editors can show it. */
export const defaults = {
  pullPolicy: 'missing',
  restart: 'unless-stopped',
  stopGracePeriod: '10s',
  replicas: 1,
  /** Swarm's default for `update_config.monitor`. */
  serviceMonitor: '5s',
  /** A static file server has nothing to warm up: it answers at once or is wrong. */
  siteMonitor: '2s',
  keepReleases: 5,
  recreateVolumes: false,
  root: '.',
  /** Docker's own, from the `HEALTHCHECK` instruction. */
  healthcheck: { interval: '30s', timeout: '30s', retries: 3, start_period: '0s' },
  siteHealthcheck: {
    test: ['CMD', 'wget', '-q', '--spider', 'http://127.0.0.1:80/'],
    interval: '30s',
    timeout: '10s',
    retries: 3,
    start_period: '40s',
  },
  specs: ['apps/**/*.{yaml,yml}'],
  images: {
    helper: 'busybox:1.37-musl',
    site: {
      image: 'caddy:2-alpine',
      command: ['caddy', 'file-server', '--root', '{root}', '--listen', ':80'],
    },
  },
  schedule: { sweep: '*/5 * * * *', stuck: '*/2 * * * *', poll: '10s' },
  limits: {
    perHost: 4,
    total: 16,
    progressDeadline: '5m',
    deadline: '30m',
    orphanGrace: '5m',
    /** doco-cd's bound on restarts. */
    healings: 5,
    healingWindow: '5m',
    githubWriteInterval: '1s',
  },
  orphans: { remove: true, volumes: false },
  prune: { enabled: false, delay: '1h', max: 3, volumes: false },
} as const
