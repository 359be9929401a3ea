import { createServer, type IncomingHttpHeaders } from 'node:http'

type ReceivedWebhook = { headers: IncomingHttpHeaders; body: string }

export type WebhookSink = AsyncDisposable & {
  url: string
  received: ReceivedWebhook[]
  /** What the sink answers from now on. */
  answer: number
  /** Bodies of one event, parsed, oldest first. */
  payloads(event: string): Record<string, unknown>[]
}

/** An HTTP server on loopback that keeps what is posted to it. */
export async function startWebhookSink(): Promise<WebhookSink> {
  const received: ReceivedWebhook[] = []
  const server = createServer((req, res) => {
    const chunks: Buffer[] = []
    req.on('data', (chunk: Buffer) => chunks.push(chunk))
    req.on('end', () => {
      received.push({ headers: req.headers, body: Buffer.concat(chunks).toString('utf8') })
      res.writeHead(sink.answer).end('noted')
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('the sink has no port')
  const sink: WebhookSink = {
    url: `http://127.0.0.1:${address.port}/api/github/webhooks`,
    received,
    answer: 202,
    payloads: (event) =>
      received.filter((one) => one.headers['x-github-event'] === event).map((one) => JSON.parse(one.body)),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
  return sink
}
