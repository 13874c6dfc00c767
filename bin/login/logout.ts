import { keptToken } from 'ospd/node'
import { everywhere } from '../common/everywhere.ts'
import { exitCodes } from '../common/exitCodes.ts'
import { errorLine, results, sayer } from '../common/output.ts'
import { printable } from '../common/printable.ts'
import { command } from '../common/program.ts'
import { placeText, type Values } from '../common/settings.ts'
import { openStateDirectory } from '../common/stateDirectory.ts'
import { stylesFor } from '../common/style.ts'
import { UsageError } from '../common/usage.ts'
import { userOf } from '../common/userOf.ts'
import type { LogoutEvent } from './events.ts'

const { server, user, state, quiet, json } = everywhere
const settings = { server, user, state, quiet, json } as const

/** `osp logout`: forgets the token. */
export const logoutCommand = command({
  name: 'logout',
  operands: '',
  describe:
    'Remove the token that osp login has kept for a server. The server is not asked; there the token still holds.',
  settings,
  examples: [['osp logout --server files.example:6682', 'of this user at this server']],
  run,
})

async function run(values: Values<typeof settings>, operands: readonly string[]): Promise<number> {
  if (operands.length > 0) throw new UsageError('logout takes no operand')
  const removed = await keptToken(await openStateDirectory(values)).forget()
  const place = placeText(values.server)
  const name = userOf(values)
  const event: LogoutEvent = { event: 'logged-out', server: place, user: name, removed }
  if (values.json) results.event(event)
  else if (removed) results.line(`logged out of ${place} as ${printable(name)}`)
  else if (!values.quiet)
    sayer(errorLine, stylesFor(process.stderr))(`no token of ${name} at ${place} is kept`, 'yellow')
  return exitCodes.done
}
