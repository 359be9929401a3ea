import { TowlineError } from '../rollout/error.ts'
import { isPlainAbsolute } from './paths.ts'
import type { SpecMount } from './spec.ts'

/**
 * A volume in Compose's short form: `name:/path[:ro]` or `/host/path:/path[:ro]`.
 * @throws TowlineError `input` where it is none.
 */
export function parseVolume(text: string): SpecMount {
  const [source = '', target = '', mode = 'rw', ...rest] = text.split(':')
  if (target === '') {
    throw refuse(`"${text}" has no source`, 'Name the volume, such as data:/var/lib/app')
  }
  if (rest.length > 0 || (mode !== 'ro' && mode !== 'rw')) {
    throw refuse(`"${text}" has an option that is not ro or rw`, 'End it with :ro, :rw or nothing')
  }
  if (!isPlainAbsolute(target) || target === '/') {
    throw refuse(
      `"${text}" has no absolute path in the container`,
      'Write the path in full, such as /var/lib/app',
    )
  }
  return { type: mountType(source, text), source, target, readOnly: mode === 'ro' }
}

function mountType(source: string, text: string): SpecMount['type'] {
  if (source.startsWith('/')) {
    if (isPlainAbsolute(source)) return 'bind'
    throw refuse(`"${text}" has a host path with "..", "." or an empty segment`, 'Write the path in full')
  }
  if (/^[.~]|\//.test(source)) {
    throw refuse(
      `"${text}" is a bind mount of a relative path`,
      'Use a named volume (data:/path) or an absolute path the server allows',
    )
  }
  if (/^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/.test(source)) return 'volume'
  throw refuse(
    `"${text}" has a volume name that is not letters, digits, dots, underscores or hyphens`,
    'Write a name of at most 64 characters, such as data',
  )
}

function refuse(message: string, hint: string): TowlineError {
  return new TowlineError(message, { fault: 'input', hint })
}
