import type { CommandOptions } from './command.ts'
import { printProblems } from './print.ts'
import { openSpecFolder } from './workspace.ts'

/** `towline validate <dir>`: every problem of every spec. Exits 0 without problems, else 1. */
export async function validate(options: CommandOptions): Promise<number> {
  const { print, signal } = options
  const folder = await openSpecFolder(options)
  const { specs, problems } = await folder.specs.read({ ...folder, signal })
  print.value({ specCount: specs.length, problems })
  printProblems(print, problems)
  const counted = `${specs.length} ${specs.length === 1 ? 'spec is' : 'specs are'} good`
  if (problems.length === 0 && specs.length === 0)
    print.line('No specs were found: Towline looks for apps/**/*.{yaml,yml}')
  else if (problems.length === 0) print.line(print.style('green', counted))
  else print.line(`${problems.length} ${problems.length === 1 ? 'problem' : 'problems'}; ${counted}`)
  return problems.length === 0 ? 0 : 1
}
