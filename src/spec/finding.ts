import type { Problem } from './spec.ts'

/** Something wrong at a path of a document, before its place in the file is known. */
export type Finding = {
  /** Keys and indexes from the document's root, as text. Names what the message is about. */
  at: readonly string[]
  /** The key below `at` that is wrong, where it is the key and not its value. */
  key?: string
  message: string
  hint: string
}

/** A range within one line; both count from 1, `endColumn` points behind the last character. */
export type Place = Pick<Problem, 'line' | 'column' | 'endLine' | 'endColumn'>

/** Most problems reported for one file. Who has more will see the rest after mending these. */
const maxProblems = 100

/** Problems in the order of the file, bounded. */
export function inOrder(problems: readonly Problem[]): Problem[] {
  return problems.toSorted((a, b) => a.line - b.line || a.column - b.column).slice(0, maxProblems)
}

/** Longest message: what a person wrote may be as long as the file. */
const maxMessageLength = 500

/** A finding's message with the path it is about in front, bounded. */
export function messageOf({ at, message }: Finding): string {
  const text = at.length === 0 ? message : `${pointerOf(at)}: ${message}`
  return text.length > maxMessageLength ? `${text.slice(0, maxMessageLength - 1)}…` : text
}

function pointerOf(path: readonly string[]): string {
  return path.map((segment) => `/${segment.replaceAll('~', '~0').replaceAll('/', '~1')}`).join('')
}
