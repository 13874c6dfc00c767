import { type Client, type ClientStatus, OspError, type PresenceMember } from 'ospd'
import { type CommandContext, runWithClient } from '../common/commandContext.ts'
import { commonOptions, retryDefaultMs, retryForUnless } from '../common/commonOptions.ts'
import type { WhoEvent } from '../common/events.ts'
import type { ResultOutput } from '../common/output.ts'
import { command } from '../common/program.ts'
import { switched, type Values } from '../common/settings.ts'
import { printable, stylesFor } from '../common/text.ts'
import { unexpectedOperand } from '../common/usage.ts'

const settings = {
  watch: switched({ alias: 'w', describe: 'continue to print users that come online or go offline, until Ctrl-C' }),
  ...commonOptions,
  'retry-for': retryForUnless('with --watch'),
} as const

type WhoValues = Values<typeof settings>

/** `osp who`: prints the users that are online. */
export const whoCommand = command({
  name: 'who',
  operands: '',
  describe: 'Print the users that are online: those with a program that is receiving messages.',
  settings,
  examples: [
    ['osp who', 'print one name per line'],
    ['osp who --watch', 'then print + NAME and - NAME for each change'],
  ],
  onlyLists: () => true,
  run,
})

async function run(values: WhoValues, operands: readonly string[]): Promise<number> {
  const [operand] = operands
  if (operand !== undefined) throw unexpectedOperand('who', operand)
  const { 'retry-for': retryForMs = retryDefaultMs(values.watch ? 'unattended' : 'interactive') } = values
  return await runWithClient({ ...values, 'retry-for': retryForMs }, { run: (context) => print(values, context) })
}

async function print(values: WhoValues, { client, results }: CommandContext): Promise<void> {
  await client.presence.ready()
  const members = sorted(client.presence)
  const list: WhoEvent = { event: 'list', members: members.map(({ user, node }) => ({ user, node })) }
  if (values.json) results.event(list)
  else for (const { user } of members) results.line(printable(user))
  if (!values.watch) return
  client.presence.on('change', changePrinter(values, results))
  await Promise.race([ended(client), results.broken])
}

/** Rejects when the client is closed or permanently rejected. */
function ended(client: Client): Promise<never> {
  return new Promise((_resolve, reject) => {
    const check = (status: ClientStatus, error = new OspError('closed')) => {
      if (status === 'refused' || status === 'closed') reject(error)
    }
    client.on('status', check)
    check(client.status)
  })
}

/** Returns the members sorted by name, in the order of code units. */
function sorted(members: Iterable<PresenceMember>): readonly PresenceMember[] {
  return [...members].sort((a, b) => (a.user < b.user ? -1 : a.user > b.user ? 1 : a.node - b.node))
}

/** Returns a listener that prints the users that come online or go offline. */
function changePrinter({ json }: WhoValues, results: ResultOutput) {
  const styles = stylesFor(process.stdout)
  return ({ user, node }: PresenceMember, change: 'here' | 'gone') => {
    const event: WhoEvent = { event: change, user, node }
    if (json) results.event(event)
    else if (change === 'here') results.line(styles.green(`+ ${printable(user)}`))
    else results.line(styles.red(`- ${printable(user)}`))
  }
}
