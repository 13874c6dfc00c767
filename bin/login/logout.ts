import { keptToken } from 'ospd/node'
import { commonOptions, userOf } from '../common/commonOptions.ts'
import type { LogoutEvent } from '../common/events.ts'
import { exitCodes } from '../common/exitCodes.ts'
import { errorLine, results, statusPrinter } from '../common/output.ts'
import { command } from '../common/program.ts'
import { addressText, type Values } from '../common/settings.ts'
import { openStateDirectory } from '../common/stateDirectory.ts'
import { printable, stylesFor } from '../common/text.ts'
import { UsageError } from '../common/usage.ts'

const { server, user, state, quiet, json } = commonOptions
const settings = { server, user, state, quiet, json } as const

/** `osp logout`: removes the stored token. */
export const logoutCommand = command({
  name: 'logout',
  operands: '',
  describe:
    'Remove the token that osp login has stored for a server. The server is not contacted and continues to accept the token.',
  settings,
  examples: [['osp logout --server files.example:6682', 'remove the token of this user for this server']],
  run,
})

async function run(values: Values<typeof settings>, operands: readonly string[]): Promise<number> {
  if (operands.length > 0) throw new UsageError('logout takes no operand')
  const removed = await keptToken(await openStateDirectory(values)).forget()
  const place = addressText(values.server)
  const name = userOf(values)
  const event: LogoutEvent = { event: 'logged-out', server: place, user: name, removed }
  if (values.json) results.event(event)
  else if (removed) results.line(`logged out of ${place} as ${printable(name)}`)
  else if (!values.quiet)
    statusPrinter(errorLine, stylesFor(process.stderr))(`no token of ${name} for ${place} is stored`, 'yellow')
  return exitCodes.done
}
