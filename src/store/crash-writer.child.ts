/**
 * A process to be killed: opens the store in its first argument, then counts a target up for ever and writes a line to
 * its output after each change that was acknowledged.
 */

import { openEmbeddedStore } from './embedded.ts'
import { exampleKey, exampleTarget } from './examples.contract.ts'

const store = await openEmbeddedStore({
  folder: process.argv[2] ?? '',
  onDamage: ({ file, reason }) => console.log(`damaged ${file}: ${reason}`),
})
const found = (await store.readTarget(exampleKey))?.healing?.failureCount ?? 0
console.log(`open ${found}`)

for (let count = found + 1; count < found + 1_000_000; count++) {
  const guid = `guid-${count}`
  await store.updateTarget(exampleKey, (record) => ({
    ...(record ?? exampleTarget()),
    healing: {
      failureCount: count,
      notBefore: '',
      lastDrift: [],
      lastHealedAt: null,
      healedAt: {},
      degraded: null,
    },
  }))
  if (count % 10 === 0) {
    await store.addDelivery({
      guid,
      receivedAt: '2026-11-21T10:00:00.000Z',
      hint: { kind: 'repo', repo: 'a/b' },
      processedAt: null,
    })
    console.log(`delivered ${guid}`)
  }
  console.log(`stored ${count}`)
}
