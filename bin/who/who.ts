import { type Client, type ClientStatus, OspError, type PresenceMember } from 'ospd'
import { type CommandContext, runWithClient } from '../common/commandContext.ts'
import { commonOptions } from '../common/commonOptions.ts'
import type { WhoEvent } from '../common/events.ts'
import type { ResultOutput } from '../common/output.ts'
import { command } from '../common/program.ts'
import { duration, optional, switched, type Values } from '../common/settings.ts'
import { printable, stylesFor } from '../common/text.ts'
import { unexpectedOperand } from '../common/usage.ts'

const settings = {
  watch: switched({ alias: 'w', describe: 'go on to print who comes and who leaves, until Ctrl-C' }),
  ...commonOptions,
  'retry-for': optional(duration, {
    describe: 'how long to retry if the server is unreachable or refuses [10s; with --watch 5m]',
  }),
} as const

type WhoValues = Values<typeof settings>

/** `osp who`: prints who is online. */
export const whoCommand = command({
  name: 'who',
  operands: '',
  describe: 'Print who is online: whose messages are read now.',
  settings,
  examples: [
    ['osp who', 'a name a line'],
    ['osp who --watch', 'then + NAME and - NAME as they come and leave'],
  ],
  onlyLists: () => true,
  run,
})

async function run(values: WhoValues, operands: readonly string[]): Promise<number> {
  const [operand] = operands
  if (operand !== undefined) throw unexpectedOperand('who', operand)
  const { 'retry-for': retryForMs = values.watch ? 300_000 : 10_000 } = values
  return await runWithClient({ ...values, 'retry-for': retryForMs }, { run: (errand) => look(values, errand) })
}

async function look(values: WhoValues, { client, results }: CommandContext): Promise<void> {
  await client.presence.ready()
  const members = sorted(client.presence)
  const list: WhoEvent = { event: 'list', members: members.map(({ user, node }) => ({ user, node })) }
  if (values.json) results.event(list)
  else for (const { user } of members) results.line(printable(user))
  if (!values.watch) return
  client.presence.on('change', teller(values, results))
  await Promise.race([ended(client), results.broken])
}

/** Rejects when the client is closed, or refused for good. */
function ended(client: Client): Promise<never> {
  return new Promise((_resolve, reject) => {
    const look = (status: ClientStatus, why = new OspError('closed')) => {
      if (status === 'refused' || status === 'closed') reject(why)
    }
    client.on('status', look)
    look(client.status)
  })
}

/** By name, in the order of the characters' numbers. */
function sorted(members: Iterable<PresenceMember>): readonly PresenceMember[] {
  return [...members].sort((a, b) => (a.user < b.user ? -1 : a.user > b.user ? 1 : a.node - b.node))
}

/** Prints who comes and who leaves. */
function teller({ json }: WhoValues, results: ResultOutput) {
  const styles = stylesFor(process.stdout)
  return ({ user, node }: PresenceMember, change: 'here' | 'gone') => {
    const event: WhoEvent = { event: change, user, node }
    if (json) results.event(event)
    else if (change === 'here') results.line(styles.green(`+ ${printable(user)}`))
    else results.line(styles.red(`- ${printable(user)}`))
  }
}
