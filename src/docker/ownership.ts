import { TowlineError } from '../rollout/error.ts'
import { ownerLabel } from './labels.ts'

/**
 * Passes what carries this installation's owner id. Names alone never make a thing ours.
 *
 * @throws TowlineError `operator` naming what is in the way.
 */
export function refuseForeign(
  labels: Record<string, string> | null | undefined,
  options: { owner: string; subject: string; host: string },
): void {
  const found = labels?.[ownerLabel]
  if (found === options.owner) return
  const whose = found === undefined ? 'was not made by Towline' : `belongs to another Towline (${found})`
  throw new TowlineError(`There is a ${options.subject} on ${options.host} already, and it ${whose}`, {
    fault: 'operator',
    hint: `Remove or rename the ${options.subject}; Towline touches only what is its own.`,
  })
}
