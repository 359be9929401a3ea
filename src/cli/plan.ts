import { planRepo, type TargetPlan } from '../engine/dry-run.ts'
import type { CommandOptions } from './command.ts'
import { type Print, printProblems } from './print.ts'
import { openWorkspace } from './workspace.ts'

/** `towline plan <dir>`: what `apply` would do. Exits 0 for no change, 2 for changes, 1 for problems. */
export async function plan(options: CommandOptions): Promise<number> {
  const { print, signal } = options
  const workspace = await openWorkspace(options)
  try {
    const { targets, problems } = await planRepo(workspace, { ...workspace, signal })
    print.value({ targets, problems })
    printProblems(print, problems)
    for (const target of targets) printTarget(print, target)
    const due = targets.filter(({ action }) => ['deploy', 'heal', 'remove'].includes(action))
    print.line(
      due.length === 0 ? 'Nothing to change.' : `${due.length} of ${targets.length} targets would change.`,
    )
    if (problems.length > 0 || targets.some(({ action }) => action === 'blocked')) return 1
    return due.length > 0 ? 2 : 0
  } finally {
    await workspace.close()
  }
}

const colours = {
  deploy: 'green',
  heal: 'yellow',
  remove: 'red',
  none: 'dim',
  paused: 'dim',
  blocked: 'red',
} as const

function printTarget(print: Print, { target, action, reason, steps, drift }: TargetPlan): void {
  print.line(`${print.style(colours[action], action.padEnd(7))} ${print.style('bold', target)}: ${reason}`)
  for (const { subject, field, expected, found } of drift) {
    print.line(`  ${subject}: ${field} is ${found}, should be ${expected}`)
  }
  for (const step of steps) print.line(`  ${step}`)
}
