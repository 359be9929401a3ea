import { stripVTControlCharacters } from 'node:util'

/** Longest line kept, in characters: a screen or two, where a minified stack trace would fill a report. */
const lineLimit = 1_000

/**
 * The last lines of what a program wrote, oldest first, fit to be shown: no control characters, no empty lines at the
 * end, none longer than 1,000 characters.
 */
export function lastLines(output: string, count: number): string[] {
  const text = stripVTControlCharacters(output).trimEnd()
  return text === '' ? [] : text.split('\n').slice(-count).map(printable)
}

function printable(line: string): string {
  const visible = line.replaceAll('\t', ' ').replace(/\p{Cc}/gu, '')
  return visible.length > lineLimit ? `${visible.slice(0, lineLimit)}…` : visible
}
