import { posix } from 'node:path'
import { TowlineError } from '../rollout/error.ts'

/** What is wrong with a path that shall stay inside a folder; null for nothing. `.` is the folder itself. */
export function whyNotInside(path: string): string | null {
  if (path === '.') return null
  if (path.includes('\0')) return 'holds a NUL character'
  if (path.includes('\\')) return 'holds a backslash'
  if (path.startsWith('/')) return 'is absolute'
  const segments = path.split('/')
  if (segments.includes('..')) return 'leaves its folder by ".."'
  if (segments.includes('') || segments.includes('.')) return 'has an empty segment or "."'
  return null
}

/**
 * Passes a relative path on.
 * @throws TowlineError `input` where it leaves its folder or is not in its shortest form.
 */
export function checkInside(path: string): string {
  const why = whyNotInside(path)
  if (why === null) return path
  throw new TowlineError(`${JSON.stringify(path)} ${why}`, {
    fault: 'input',
    hint: 'Write a path from the root, with forward slashes and without "..", such as sites/docs',
  })
}

/** True where `path` is `folder` or below it. Both are absolute paths in their shortest form. */
export function isBelow(path: string, folder: string): boolean {
  const root = folder.endsWith('/') ? folder : `${folder}/`
  return path === folder || path.startsWith(root)
}

/** True for an absolute path in its shortest form: no `..`, no `.`, no empty segment but for `/` itself. */
export function isPlainAbsolute(path: string): boolean {
  return path === '/' || (path.startsWith('/') && whyNotInside(path.slice(1)) === null && path !== '/.')
}

/** True where one of the globs names the file. Hidden files match only where the glob writes the dot. */
export function isSpecFile(path: string, globs: readonly string[]): boolean {
  return globs.some((glob) => posix.matchesGlob(path, glob))
}

/**
 * Passes a glob on.
 * @throws TowlineError `input` where it leaves the repo, or where matching could take long: each brace multiplies
 * the patterns, each star the ways to match.
 */
export function checkGlob(glob: string): string {
  const why = whyNotInside(glob)
  const braces = glob.split('{').length - 1
  const stars = glob.split('*').length - 1
  if (why === null && braces <= 2 && stars <= 6 && !/\{[^{}]*\.\./.test(glob) && !/[@!+?]\(/.test(glob))
    return glob
  throw new TowlineError(`${JSON.stringify(glob)} ${why ?? 'is too elaborate for a glob'}`, {
    fault: 'input',
    hint: 'Write a path from the root with at most 6 stars and 2 pairs of braces, such as apps/**/*.{yaml,yml}',
  })
}
