import { once } from 'node:events'
import { type Client, type ClientStatus, OspError } from 'ospd'
import { runWithClient } from '../common/client.ts'
import { commonOptions, retryText } from '../common/commonOptions.ts'
import { results, sayEmpty } from '../common/output.ts'
import { command } from '../common/program.ts'
import { kind, optionalSetting, switched, type Values } from '../common/settings.ts'
import { printable, stylesFor } from '../common/text.ts'

const settings = {
  watch: switched('continue to print users who come online or go offline, until Ctrl-C', 'w'),
  ...commonOptions,
  'retry-for': optionalSetting(kind.duration, retryText, '10s; with --watch: 5m'),
} as const

type WhoValues = Values<typeof settings>

/** `osp who`: prints the users who are online. */
export const whoCommand = command({
  name: 'who',
  describe: 'Print the users who are online: those with a program that is receiving messages.',
  settings,
  examples: [
    ['osp who', 'print one name per line'],
    ['osp who --watch', 'then print + NAME and - NAME for each change'],
  ],
  onlyLists: () => true,
  run,
})

async function run(values: WhoValues): Promise<number> {
  const { watch, 'retry-for': retryForMs = watch ? 300_000 : 10_000 } = values
  return await runWithClient({ ...values, 'retry-for': retryForMs }, { run: (client) => print(client, values) })
}

async function print(client: Client, values: WhoValues): Promise<void> {
  const { json, watch } = values
  await client.presence.ready()
  const members = [...client.presence].map(({ user, node }) => ({ user, node }))
  // In the order of code units.
  members.sort((a, b) => (a.user < b.user ? -1 : a.user > b.user ? 1 : a.node - b.node))
  if (json) results.event({ event: 'list', members })
  else for (const { user } of members) results.line(printable(user))
  if (members.length === 0) sayEmpty('no users are online', values)
  if (!watch) return
  const { green, red } = stylesFor(process.stdout)
  client.presence.on('change', ({ user, node }, change) => {
    const line = change === 'here' ? green(`+ ${printable(user)}`) : red(`- ${printable(user)}`)
    results.print({ event: change, user, node }, line)
  })
  await Promise.race([ended(client), results.broken.aborted || once(results.broken, 'abort')])
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
