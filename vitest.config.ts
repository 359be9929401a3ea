import { defineConfig } from 'vitest/config'

// Unit tests need nothing; `docker` and `journeys` start a Docker Engine of their own first.
export default defineConfig({
  test: {
    coverage: {
      provider: 'v8',
      include: ['src/**/*.ts'],
      exclude: ['src/**/*.{test,fixture,contract,child}.ts'],
      reporter: ['text-summary', 'json-summary'],
      thresholds: { lines: 80 },
    },
    projects: [
      {
        extends: true,
        test: {
          name: 'unit',
          include: ['src/**/*.test.ts', 'schemas/**/*.test.ts', 'test/{support,chaos}/**/*.test.ts'],
          exclude: ['src/**/*.docker.test.ts'],
        },
      },
      {
        extends: true,
        test: {
          name: 'docker',
          include: ['src/**/*.docker.test.ts'],
          globalSetup: ['test/support/docker-daemon.setup.ts'],
          testTimeout: 60_000,
          hookTimeout: 120_000,
        },
      },
      {
        extends: true,
        test: {
          name: 'journeys',
          include: ['test/journeys/**/*.test.ts'],
          globalSetup: ['test/support/docker-daemon.setup.ts'],
          testTimeout: 120_000,
          hookTimeout: 180_000,
        },
      },
    ],
  },
})
