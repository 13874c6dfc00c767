import { type OutboxControl, type OutboxMessage, outboxControl } from 'ospd/node'
import { commonOptions } from '../common/commonOptions.ts'
import { results, sayEmpty } from '../common/output.ts'
import { command } from '../common/program.ts'
import { resetUnused, switched, type Values } from '../common/settings.ts'
import { openStateDirectory } from '../common/stateDirectory.ts'
import { printable, tableLines } from '../common/text.ts'
import { formatSize, localTime } from '../common/units.ts'
import { displayed, exitCodes, UsageError } from '../common/usage.ts'

const { server, user, state, quiet, json } = commonOptions

const settings = {
  remove: switched('remove messages from the outbox: each MESSAGE, or all with --all'),
  all: switched('with --remove: all messages', 'a'),
  server,
  user,
  state,
  quiet,
  json,
} as const

type OutboxValues = Values<typeof settings>

type Flags = Readonly<Record<string, unknown>>

/** `osp outbox`: lists or removes unsent messages. */
export const outboxCommand = command({
  name: 'outbox',
  operands: '[MESSAGE...]',
  describe:
    'List unsent messages: number, time, recipients, size, and the reason if the server has temporarily refused the message. ' +
    'The next "osp msg", "osp send" or "osp listen" sends them.',
  settings,
  examples: [
    ['osp outbox', 'list the messages'],
    ['osp outbox --remove 3', 'remove one message'],
    ['osp outbox --remove --all', 'remove all messages'],
  ],
  onlyLists: (operands) => operands.length === 0,
  run,
})

async function run(values: OutboxValues, operands: readonly string[], flags: Flags): Promise<number> {
  const { remove: removes } = values
  const text = removes ? 'specify each MESSAGE to remove, or only --all' : 'specify --remove to remove messages'
  const unused = removes && operands.length === 0 ? [] : (['all'] as const)
  const { all } = resetUnused(settings, unused, values, flags, text)
  if (removes ? !all && operands.length === 0 : operands.length > 0) throw new UsageError(text)
  const outbox = outboxControl(openStateDirectory(values))
  const messages = await outbox.list()
  if (removes) await remove(outbox, operands.length > 0 ? named(messages, operands) : messages)
  else for (const line of linesOf(messages, values.json)) results.line(line)
  if (messages.length === 0) sayEmpty('the outbox is empty', values)
  return exitCodes.done
}

/** Removes messages and prints those that were still there. */
async function remove(outbox: OutboxControl, messages: readonly OutboxMessage[]): Promise<void> {
  const removed = new Set(await outbox.remove(messages.map(({ number }) => number)))
  for (const message of messages.filter(({ number }) => removed.has(number)))
    results.print({ event: 'removed', ...eventOf(message) }, `removed ${message.number}`)
}

/** Returns the messages that the operands name. Throws UsageError. */
function named(messages: readonly OutboxMessage[], operands: readonly string[]): readonly OutboxMessage[] {
  const invalid = operands.filter((operand) => !/^[1-9]\d{0,14}$/u.test(operand))
  if (invalid.length > 0) {
    throw new UsageError(`MESSAGE must be a number printed by "osp outbox", not ${invalid.map(displayed).join(', ')}`)
  }
  const wanted = new Set(operands.map(Number))
  const found = messages.filter(({ number }) => wanted.delete(number))
  if (wanted.size === 0) return found
  throw new UsageError(`there is no message ${[...wanted].join(', ')}; run "osp outbox" to list messages`)
}

function linesOf(messages: readonly OutboxMessage[], json: boolean): readonly string[] {
  if (json) {
    for (const message of messages) {
      const { refusal } = message
      const reason = { code: refusal?.code ?? null, text: refusal?.message ?? null }
      results.event({ event: 'queued-message', ...eventOf(message), ...reason })
    }
    return []
  }
  return tableLines(
    messages.map(({ number, queuedAt, recipients, bytes, refusal }) => [
      String(number),
      localTime(queuedAt),
      recipients.map(printable).join(', '),
      formatSize(bytes),
      refusal ? printable(refusal.message) : '',
    ]),
  )
}

function eventOf({ number: message, id, recipients, bytes, queuedAt }: OutboxMessage) {
  return { message, id, recipients: [...recipients], bytes, queuedAt: queuedAt.toISOString() }
}
