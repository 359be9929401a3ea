import { describeStore } from '../store/store.contract.ts'
import { memoryStore } from './memory-store.fixture.ts'

// The engine is tested on this store, so it must not promise more or less than a real one.
describeStore('the store of the tests', async () => {
  let aheadMs = 0
  const store = memoryStore({ nowMs: () => Date.now() + aheadMs })
  return {
    store,
    elapse: async (ms) => {
      aheadMs += ms
    },
    reopen: async () => store,
    dispose: () => store.close(),
  }
})
