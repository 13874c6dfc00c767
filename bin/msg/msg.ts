import type { ErrorCode } from 'ospd'
import { type Errand, type Failure, runErrand } from '../common/errand.ts'
import { everywhere, interactiveRetryFor, retryFor } from '../common/everywhere.ts'
import { readInput } from '../common/input.ts'
import { printable } from '../common/printable.ts'
import { command } from '../common/program.ts'
import type { Values } from '../common/settings.ts'
import { UsageError } from '../common/usage.ts'
import { userNamed } from '../common/userOf.ts'
import { contentOf } from './content.ts'
import type { MsgEvent } from './events.ts'

const settings = { ...everywhere, 'retry-for': retryFor(interactiveRetryFor) } as const

/** `osp msg`: sends a message. */
export const msgCommand = command({
  name: 'msg',
  operands: 'RECIPIENT... TEXT',
  describe: 'Send a message to one or more users; it waits for those who are away.',
  settings,
  examples: [
    ['osp msg bob "lunch?"', 'to one user'],
    ['osp msg bob carol "lunch?"', 'to two, or to nobody if one cannot have it'],
    ['git log -1 | osp msg bob -', 'what stands on stdin, 64 KiB at most'],
    ['osp msg bob -- "-1 is a number"', 'a text that begins with a dash'],
  ],
  run,
})

async function run(values: Values<typeof settings>, operands: readonly string[]): Promise<number> {
  const [text, ...names] = operands.toReversed()
  if (text === undefined) throw new UsageError('name a RECIPIENT and give a TEXT')
  if (names.length === 0) {
    throw new UsageError('give a TEXT behind the RECIPIENT, or - to read it from stdin')
  }
  const recipients = names.reverse().map((name) => userNamed(name, 'RECIPIENT'))
  return await runErrand(values, {
    run: (errand) => send(values, recipients, text, errand),
    failed: (failure, errand) => tell(values, recipients, failure, errand),
  })
}

const quotes = 'put a text of several words in quotes'

async function send(
  { json, quiet }: Values<typeof settings>,
  recipients: readonly string[],
  text: string,
  { client, results, say, interrupted }: Errand,
): Promise<void> {
  const stdin = readInput()
  interrupted.addEventListener('abort', () => stdin.destroy(), { once: true })
  const content = await contentOf(text, stdin)
  for (const { recipient, status } of await client.send(recipients, content)) {
    const event: MsgEvent = { event: 'sent', recipient, status }
    if (json) results.event(event)
    else results.line(`${printable(recipient)} ${status === 'unseen' ? 'stored' : status}`)
    if (json || quiet || status !== 'unseen') continue
    const advice = recipients.length > 1 ? `; ${quotes}` : ''
    say(`no user ${recipient} has come in to this server yet: the message waits until one does${advice}`, 'yellow')
  }
}

/** Ends that leave open what the server has done. */
const open: readonly ErrorCode[] = [
  'closed',
  'unreachable',
  'link-lost',
  'link-replaced',
  'timed-out',
  'shutting-down',
  'superseded',
]

function tell(
  { json }: Values<typeof settings>,
  sent: readonly string[],
  failure: Failure,
  { results, say }: Errand,
): void {
  const { why, interrupted, gaveUp, wasOnline } = failure
  const { code, message, retry, recipients = [] } = why
  const unknown = wasOnline && open.includes(code)
  const outcome = unknown ? 'unknown' : 'not-sent'
  const event: MsgEvent = { event: 'failed', code, text: message, retry, recipients: [...recipients], outcome }
  const left = unknown ? 'whether the message was stored is unknown' : 'the message was not sent'
  const unnamed = recipients.filter((recipient) => !message.includes(recipient))
  const names = unnamed.length > 0 ? `: ${unnamed.join(', ')}` : ''
  const advice = code === 'unknown-user' && sent.length > 1 ? `; ${quotes}` : ''
  const reason = interrupted ? 'interrupted' : message + names + advice
  if (json) results.event(event)
  else say(gaveUp ? left : `${left}: ${reason}`, interrupted ? 'yellow' : 'red')
}
