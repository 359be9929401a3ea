import type { ServerCommandOptions } from './command.ts'

/** `towline cancel <deployment>`: ends an open deployment; the release before is put back. Exits 0 once that is asked for. */
export async function cancel({ subject, server, print, signal }: ServerCommandOptions): Promise<number> {
  const path = `/api/deployments/${encodeURIComponent(subject ?? '')}/cancel`
  const answer = await server.post<{ target: string }>(path, { signal })
  print.value(answer)
  print.line(
    `${print.style('bold', answer.target)}: ${subject} is being ended; the release before is put back.`,
  )
  return 0
}
