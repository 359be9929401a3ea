/** Limit of a check run's summary and of its text, in characters (GitHub REST, checks). */
export const textLimit = 65_535

/** GitHub documents no limit for a title; 255 is what its interface shows. */
const titleLimit = 255

/** A title that is shown whole. */
export function titleOf(text: string): string {
  return text.length > titleLimit ? `${text.slice(0, titleLimit - 1)}…` : text
}

/** Text from outside (messages, names, log lines) as plain Markdown text: no markup, no @mention, no table break. */
export function plain(text: string): string {
  return text
    .replace(/[\\`*_{}[\]<>#|~!]/g, '\\$&')
    .replaceAll('@', '&#64;')
    .replace(/\s*\n\s*/g, ' ')
}

/** A code span that survives backticks and line breaks inside. */
export function code(text: string): string {
  const line = text.replace(/\s*\n\s*/g, ' ').replaceAll('|', '\\|')
  const longest = Math.max(0, ...[...line.matchAll(/`+/g)].map(([run]) => run.length))
  const fence = '`'.repeat(longest + 1)
  return longest === 0 ? `${fence}${line}${fence}` : `${fence} ${line} ${fence}`
}

/** A fenced block that no line inside can close. */
export function block(lines: string[]): string {
  const longest = Math.max(
    2,
    ...lines.flatMap((line) => [...line.matchAll(/`+/g)].map(([run]) => run.length)),
  )
  const fence = '`'.repeat(longest + 1)
  return [`${fence}text`, ...lines, fence].join('\n')
}

export function table(head: string[], rows: string[][]): string {
  const line = (cells: string[]) => `| ${cells.join(' | ')} |`
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n')
}

/** Cuts to a limit and says that it did. */
export function truncate(text: string, limit: number): string {
  if (text.length <= limit) return text
  const note = '\n\n… cut: the rest is in the server log.'
  return text.slice(0, limit - note.length) + note
}

/** `340 ms`, `4.2 s`, `3 min 10 s`. Rounded before it is split, so that no part ever reads as a whole one of the next. */
export function duration(ms: number): string {
  const wholeMs = Math.max(0, Math.round(ms))
  if (wholeMs < 1_000) return `${wholeMs} ms`
  const tenths = Math.round(wholeMs / 100)
  if (tenths < 600) return `${(tenths / 10).toFixed(1)} s`
  const seconds = Math.round(wholeMs / 1_000)
  return `${Math.floor(seconds / 60)} min ${seconds % 60} s`
}
