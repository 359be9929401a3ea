/**
 * A check run as GitHub's Checks API takes it, in our own words. Limits: title 255, summary and text 65,535
 * characters each, 50 annotations a request (later requests append). Source: GitHub REST, `POST /repos/{owner}/{repo}/check-runs`.
 */
export type CheckRun = {
  name: string
  headSha: string
  externalId: string
  status: 'queued' | 'in_progress' | 'completed'
  conclusion: 'success' | 'failure' | 'neutral' | 'cancelled' | null
  startedAt: string | null
  completedAt: string | null
  title: string
  summary: string
  text: string
  /** All of them; the GitHub room sends them in pages of 50. */
  annotations: Annotation[]
}

/** `startColumn` and `endColumn` only where start and end line are the same, as GitHub demands. */
export type Annotation = {
  path: string
  startLine: number
  endLine: number
  startColumn: number | null
  endColumn: number | null
  level: 'failure' | 'warning' | 'notice'
  title: string
  message: string
}
