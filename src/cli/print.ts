import { styleText } from 'node:util'
import type { Problem } from '../spec/spec.ts'

/** How a command speaks: lines for people, or one JSON value a line for machines. */
export type Print = {
  json: boolean
  line(text: string): void
  /** A value for machines; nothing where people read. */
  value(value: unknown): void
  error(text: string): void
  style(style: 'green' | 'red' | 'yellow' | 'dim' | 'bold', text: string): string
}

/** As much of a stream as a command needs. */
export type Output = { write(text: string): unknown; isTTY?: boolean }

/** Colours only on a terminal. With `json` only values reach the output; errors go to the error stream either way. */
export function createPrint(options: { json: boolean; output: Output; errors: Output }): Print {
  const { json, output, errors } = options
  const colours = output.isTTY === true && !json
  return {
    json,
    line: (text) => void (json || output.write(`${text}\n`)),
    value: (value) => void (json && output.write(`${JSON.stringify(value)}\n`)),
    error: (text) => void errors.write(`${text}\n`),
    style: (style, text) => (colours ? styleText(style, text, { validateStream: false }) : text),
  }
}

/** Problems as compilers print them: `path:line:column message`, what would be right below. */
export function printProblems(print: Print, problems: Problem[]): void {
  for (const { path, line, column, message, hint } of problems) {
    print.line(`${print.style('bold', `${path}:${line}:${column}`)} ${print.style('red', message)}`)
    if (hint) print.line(`  ${hint}`)
  }
}
