/** What a Node.js process has on its heap after everything nobody refers to was collected. */

/** Environment of a process whose heap is to be read: it opens its inspector on a free port and says where. */
export const heapEnvironment = { NODE_OPTIONS: '--inspect=127.0.0.1:0' }

/** Collects all garbage, then reads the heap in MiB. `output` is what the process wrote: it names the inspector's address. */
export async function readHeapMib(output: string): Promise<number> {
  const address = /Debugger listening on (ws:\S+)/.exec(output)?.[1]
  if (address === undefined) throw new Error('the process did not say where its inspector listens')
  const socket = new WebSocket(address)
  try {
    await once(socket, 'open')
    await ask(socket, 'HeapProfiler.collectGarbage')
    const { usedSize } = await ask<{ usedSize: number }>(socket, 'Runtime.getHeapUsage')
    return usedSize / 2 ** 20
  } finally {
    socket.close()
    await once(socket, 'close')
  }
}

/** One request of the Chrome DevTools Protocol. Nothing else is asked meanwhile, so the next answer is its own. */
async function ask<T>(socket: WebSocket, method: string): Promise<T> {
  const answered = once<MessageEvent>(socket, 'message')
  socket.send(JSON.stringify({ id: 1, method }))
  const { data } = await answered
  const { result, error } = JSON.parse(String(data)) as { result?: T; error?: { message: string } }
  if (result === undefined) throw new Error(`${method}: ${error?.message ?? data}`)
  return result
}

async function once<E extends Event>(socket: WebSocket, name: 'open' | 'message' | 'close'): Promise<E> {
  return new Promise((resolve, reject) => {
    const signal = AbortSignal.timeout(answerTimeoutMs)
    signal.addEventListener('abort', () => reject(new Error(`the inspector: no ${name} in time`)))
    socket.addEventListener('error', () => reject(new Error('the connection to the inspector broke')))
    socket.addEventListener(name, (event) => resolve(event as E), { once: true })
  })
}

/** Collecting a heap of some hundred MiB takes well under a second. */
const answerTimeoutMs = 30_000
