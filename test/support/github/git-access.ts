import type { IncomingMessage } from 'node:http'
import type { GitRequest, GitVerdict } from '../git-server.ts'
import { callerOfToken, describeCaller, holds } from './callers.ts'
import { announcePush, type Outbox, type RefUpdate } from './events.ts'
import { allows, type State } from './state.ts'

/** Who may use git, and what the Apps hear of a push. */
export function createGitAccess(outbox: Outbox) {
  const { state } = outbox
  const pushers = new Map<string, string>()
  const pending = new Set<Promise<void>>()

  return {
    authorize({ repo: fullName, service, password }: GitRequest): GitVerdict {
      const repo = state.repos.get(fullName)
      const isPush = service === 'receive-pack'
      if (password === null) return repo && !repo.private && !isPush ? 'ok' : 'unauthorized'
      const caller = callerOfToken(state, password)
      if (!caller) return 'unauthorized'
      if (!repo) return 'not-found'
      if (caller.kind === 'user') {
        if (isPush) pushers.set(fullName, caller.login)
        return 'ok'
      }
      if (!holds(caller, repo)) return 'not-found'
      if (isPush) pushers.set(fullName, `${caller.installation.app.slug}[bot]`)
      return allows(caller.permissions, 'contents', isPush ? 'write' : 'read') ? 'ok' : 'forbidden'
    },
    announce(fullName: string, update: RefUpdate): void {
      const repo = state.repos.get(fullName)
      if (!repo) return
      const work = announcePush(outbox, repo, { update, pusher: pushers.get(fullName) ?? 'ghost' })
      pending.add(work)
      void work.finally(() => pending.delete(work))
    },
    async settled(): Promise<void> {
      await Promise.allSettled(pending)
    },
  }
}

/** The caller behind git's Basic credentials, in words. */
export function gitCaller(state: State, req: IncomingMessage): string {
  const encoded = req.headers.authorization?.replace(/^basic /i, '') ?? ''
  const password = Buffer.from(encoded, 'base64')
    .toString('utf8')
    .replace(/^[^:]*:/, '')
  return describeCaller(callerOfToken(state, password) ?? { kind: 'anonymous' })
}
