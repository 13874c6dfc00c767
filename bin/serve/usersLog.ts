import type { LogEntry } from 'ospd'
import type { UsersNews } from 'ospd/node'

/** Somebody can put a list of thousands in the place of another one: so many changes of one time have a line each. */
const mostLines = 100

/** Logs what becomes of the list of users: each change, and once when nobody comes in by it and when they do again. */
export function usersLog(log: (entry: LogEntry) => void): (news: UsersNews) => void {
  let isUnreadable = false
  return (news) => {
    if (news.what === 'unreadable') {
      isUnreadable = true
      log({ level: 'error', event: 'users-unreadable', text: `nobody is let in: ${news.why.message}` })
      return
    }
    const { users, changes } = news
    if (isUnreadable) log({ level: 'info', event: 'users-readable', users })
    isUnreadable = false
    for (const { user, how } of changes.slice(0, mostLines)) log({ level: 'info', event: 'users-changed', user, how })
    const more = changes.length - mostLines
    if (more > 0) log({ level: 'info', event: 'users-changed', more })
    if (users === 0) log({ level: 'warn', event: 'users-empty', text: 'the list of users is empty: nobody is let in' })
  }
}
