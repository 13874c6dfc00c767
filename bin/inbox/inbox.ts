import { type Client, type FileReference, OspError, type WaitingMessage } from 'ospd'
import { runWithClient } from '../common/client.ts'
import { commonOptions, shortRetryFor } from '../common/commonOptions.ts'
import { results, say, sayEmpty } from '../common/output.ts'
import { command } from '../common/program.ts'
import { resetUnused, switched, type Values } from '../common/settings.ts'
import { printable, type Styles, stylesFor } from '../common/text.ts'
import { localTime } from '../common/units.ts'
import { UsageError, unexpectedOperand } from '../common/usage.ts'
import { downloadLine, messageFields, messageText } from '../listen/listen.ts'

const settings = {
  'set-aside': switched(
    'list the messages that were set aside, instead of waiting messages; with --remove: only these',
  ),
  return: switched('return the messages SEQ, which were set aside, to the end of the mailbox'),
  remove: switched('remove the messages SEQ, waiting or set aside'),
  all: switched('with --return or --remove: all messages that were set aside, but no waiting ones'),
  ...commonOptions,
  'retry-for': shortRetryFor,
} as const

type InboxValues = Values<typeof settings>

type Flags = Readonly<Record<string, unknown>>

/** `osp inbox`: lists the messages of a user without receiving them, and returns or removes messages. */
export const inboxCommand = command({
  name: 'inbox',
  operands: '[SEQ...]',
  describe:
    'List waiting messages without receiving them, or the messages that were set aside because a program has rejected them or ' +
    'has failed too often. Return messages to the mailbox, or remove them.',
  settings,
  examples: [
    ['osp inbox', 'print number, time, sender and text of each waiting message'],
    ['osp inbox --set-aside', 'print the messages that were set aside'],
    ['osp inbox --return 17 18', 'return two of them to the mailbox'],
    ['osp inbox --return --all', 'return all of them'],
    ['osp inbox --remove 17', 'remove a message'],
    ['osp inbox --remove --all', 'remove all messages that were set aside'],
  ],
  onlyLists: (operands) => operands.length === 0,
  run,
})

async function run(given: InboxValues, operands: readonly string[], flags: Flags): Promise<number> {
  const seqs = operands.map(seqOf)
  const values = usedOf(given, operands, flags)
  const action = actionOf(values, operands)
  return await runWithClient(values, {
    run: async (client) => {
      if (action === 'list') return await list(client, values)
      const includesWaiting = action === 'remove' && !values['set-aside']
      const found = await chosen(client, values, seqs, includesWaiting)
      if (found.length > 0) await change(client, action, found)
      else if (!values.quiet && !values.json) say('no messages were set aside', 'yellow')
    },
  })
}

function seqOf(operand: string): number {
  if (/^[1-9]\d{0,15}$/u.test(operand) && Number.isSafeInteger(Number(operand))) return Number(operand)
  throw new UsageError(`${operand === '' ? '""' : operand} is not the number of a message, as "osp inbox" prints it`)
}

/** Returns the values, without `all` where it does not apply. Throws UsageError if it is given there as a flag. */
function usedOf(values: InboxValues, operands: readonly string[], flags: Flags): InboxValues {
  const isList = !values.return && !values.remove
  const unused = isList || operands.length > 0 ? (['all'] as const) : []
  return resetUnused(settings, unused, values, flags, isList ? '--all requires --return or --remove' : chooseMessages)
}

const chooseMessages = 'specify either the number SEQ of each message, or --all'

function actionOf(values: InboxValues, [operand]: readonly string[]): 'list' | 'return' | 'remove' {
  const { return: returns, remove, all } = values
  if (returns && remove) throw new UsageError('specify either --return or --remove')
  if (!returns && !remove) {
    if (operand !== undefined) throw unexpectedOperand('osp inbox without --return or --remove', operand)
    return 'list'
  }
  if (!all && operand === undefined) throw new UsageError(chooseMessages)
  return returns ? 'return' : 'remove'
}

async function list(client: Client, values: InboxValues): Promise<void> {
  const { 'set-aside': setAside } = values
  const styles = stylesFor(process.stdout)
  const files: FileReference[] = []
  let isEmpty = true
  for await (const message of client.inbox.list({ setAside })) {
    if (results.broken.aborted) return
    isEmpty = false
    if (message.file && files.length < 2) files.push(message.file)
    results.print({ event: 'message', ...messageFields(message), setAside }, messageLine(message, styles))
  }
  if (isEmpty) sayEmpty(setAside ? 'no messages were set aside' : 'no messages are waiting', values)
  const [file, another] = files
  if (file === undefined || values.quiet || values.json) return
  const what = another === undefined ? 'the file' : 'a file'
  say(`to download ${what}, run ${downloadLine(values, another === undefined ? file : anyFile)}`, 'yellow')
}

const anyFile = { owner: 'USER', name: 'NAME' }

/** Formats a message as a line: number, time, sender, text. */
const messageLine = (message: WaitingMessage, { dim, bold }: Styles) =>
  [message.seq, dim(localTime(message.sentAt)), bold(printable(message.from)), printable(messageText(message))].join(
    ' ',
  )

/** Resolves with the numbers of the chosen messages. Rejects with OspError `usage` if one of them does not exist. */
async function chosen(
  client: Client,
  { all }: InboxValues,
  seqs: readonly number[],
  includesWaiting: boolean,
): Promise<readonly number[]> {
  const found = new Set<number>()
  for await (const { seq } of client.inbox.list({ setAside: true })) found.add(seq)
  if (all) return [...found]
  if (includesWaiting) for await (const { seq } of client.inbox.list()) found.add(seq)
  const missing = seqs.filter((seq) => !found.has(seq))
  if (missing.length === 0) return seqs
  const isOne = missing.length === 1
  const aside = includesWaiting ? '' : ` that ${isOne ? 'was' : 'were'} set aside`
  throw new OspError('usage', `the mailbox has no ${isOne ? 'message' : 'messages'} ${missing.join(', ')}${aside}`)
}

async function change(client: Client, action: 'return' | 'remove', seqs: readonly number[]): Promise<void> {
  await client.inbox[action](seqs)
  for (const seq of seqs) {
    if (action === 'return') results.print({ event: 'returned', seq }, `returned ${seq}`)
    else results.print({ event: 'removed', seq }, `removed ${seq}`)
  }
}
