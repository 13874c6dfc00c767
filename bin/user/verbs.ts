import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { UsersFile } from 'ospd/node'
import { errorLine, jsonLine, type Results } from '../common/output.ts'
import { printable, shellWord } from '../common/printable.ts'
import { fit, widthOf } from '../common/width.ts'
import type { UserEvent } from './events.ts'

/** What a verb of `ospd user` works on, and where it tells what it has done. */
export interface Work {
  readonly users: UsersFile
  /** The data directory, as it was given. */
  readonly data: string
  readonly results: Results
  readonly json: boolean
  /** Whether to add a name that people could take for another one. */
  readonly force: boolean
}

/** Adds a user, and tells the token. */
export async function add(work: Work, name: string): Promise<void> {
  const isFirst = !(await work.users.exists())
  const token = await addName(work, name)
  await tellToken(work, { event: 'added', user: name, token })
  const isTls = existsSync(join(work.data, 'tls'))
  const login = ['osp', 'login', '--server', 'HOST:6682', ...(isTls ? ['--tls'] : []), '--user', shellWord(name)]
  errorLine(
    `ospd: for them to log in: ${printable(login.join(' '))}${isTls ? '' : '; add --tls if the server uses TLS'}`,
  )
  if (isFirst) errorLine(`ospd: from now on only the users of ${printable(work.data)} come in, each by their token`)
}

/** Adds a user. With `--force`, warns of a name that is refused without. */
async function addName({ users, force }: Work, name: string): Promise<string> {
  try {
    return await users.add(name)
  } catch (error) {
    if (!force) throw error
    const token = await users.add(name, { force })
    errorLine(`ospd: ${printable((error as Error).message)}`)
    return token
  }
}

/** Gives a user a new token, and tells it. */
export async function rotate(work: Work, name: string): Promise<void> {
  const token = await work.users.rotate(name)
  await tellToken(work, { event: 'rotated', user: name, token })
}

/** Removes a user. */
export async function remove(work: Work, name: string): Promise<void> {
  await work.users.remove(name)
  await tell(work, { event: 'removed', user: name }, `${printable(name)} removed`)
}

/** Prints all users, by name. */
export async function list(work: Work): Promise<void> {
  const users = await work.users.list()
  if (users.length === 0) errorLine(`ospd: ${await whyNone(work)}`)
  const width = Math.max(0, ...users.map(({ name }) => widthOf(printable(name))))
  for (const { name, since } of users) {
    const at = since.toISOString()
    await tell(
      work,
      { event: 'user', user: name, since: at },
      `${fit(printable(name), width)}  since ${at.slice(0, 10)}`,
    )
  }
}

async function whyNone({ users, data }: Work): Promise<string> {
  const at = printable(data)
  if (await users.exists()) return `the list of users in ${at} is empty: nobody comes in`
  return `${at} has no list of users; "ospd user add" begins one`
}

async function tellToken(work: Work, event: Extract<UserEvent, { token: string }>): Promise<void> {
  if (await tell(work, event, event.token)) return
  errorLine(`ospd: nobody has read the token; "ospd user rotate" makes another one for ${printable(event.user)}`)
}

/** Resolves when the system has taken it, or never will, with whether it has. */
function tell({ results, json }: Work, event: UserEvent, line: string): Promise<boolean> {
  return results.written(json ? jsonLine(event) : line)
}
