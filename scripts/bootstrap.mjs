// Makes a fresh clone runnable: installs the packages of package-lock.json, among them the Node.js the project pins.
// Plain JavaScript, because this is the one file that runs on whatever Node.js the system has. `hash -r` after it makes
// the shell forget where it found that one.
import { spawnSync } from 'node:child_process'
import { statSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))

if (!isInstalled()) {
  console.error('Installing packages (about half a minute, once) …')
  const npm = process.env.npm_execpath
  const [command, args] = npm ? [process.execPath, [npm]] : ['npm', []]
  // Not `npm ci`: it insists on binaries for every platform in the lock file, also on those a registry does not carry.
  const install = ['install', '--no-save', '--loglevel=error']
  const { status } = spawnSync(command, [...args, ...install], { cwd: root, stdio: ['ignore', 2, 2] })
  if (status !== 0) {
    console.error('Installing the packages failed; see the message above.')
    process.exit(1)
  }
}

/** npm writes its own lock file last, so an older one tells of another package-lock.json or a cut installation. */
function isInstalled() {
  const changedMs = (path) => statSync(`${root}/${path}`, { throwIfNoEntry: false })?.mtimeMs ?? 0
  return changedMs('node_modules/.package-lock.json') >= changedMs('package-lock.json')
}
