import type { ServerCommandOptions } from './command.ts'

/** `towline retry <deployment>`: a new attempt, as the Re-run button makes one. Exits 0 once it is queued. */
export async function retry({ subject, server, print, signal }: ServerCommandOptions): Promise<number> {
  const path = `/api/deployments/${encodeURIComponent(subject ?? '')}/retry`
  const answer = await server.post<{ target: string; deploymentId: string }>(path, { signal })
  print.value(answer)
  print.line(`${print.style('bold', answer.target)}: ${answer.deploymentId} is queued.`)
  return 0
}
