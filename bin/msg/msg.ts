import { type ErrorCode, OspError } from 'ospd'
import { pathBytes } from 'ospd/node'
import { type CommandContext, type CommandFailure, runWithClient } from '../common/commandContext.ts'
import { commonOptions, interactiveRetryFor, retryFor, userNamed } from '../common/commonOptions.ts'
import type { MsgEvent } from '../common/events.ts'
import { readInput } from '../common/input.ts'
import { command } from '../common/program.ts'
import type { Values } from '../common/settings.ts'
import { printable } from '../common/text.ts'
import { UsageError } from '../common/usage.ts'

const settings = { ...commonOptions, 'retry-for': retryFor(interactiveRetryFor) } as const

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
  return await runWithClient(values, {
    run: (errand) => send(values, recipients, text, errand),
    failed: (failure, errand) => tell(values, recipients, failure, errand),
  })
}

const quotes = 'put a text of several words in quotes'

async function send(
  { json, quiet }: Values<typeof settings>,
  recipients: readonly string[],
  text: string,
  { client, results, say, interrupted }: CommandContext,
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
  failure: CommandFailure,
  { results, say }: CommandContext,
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

/** The longest content that a message can have, in bytes. */
const mostBytes = 64 * 1024

/**
 * Returns the content of a message from the operand TEXT; `-` means all of stdin. Throws OspError `too-large`, and
 * errors of reading stdin.
 */
async function contentOf(text: string, stdin: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const content = text === '-' ? await readAll(stdin) : Buffer.from(pathBytes(text))
  if (content.length > mostBytes) throw tooLarge()
  return content
}

async function readAll(stdin: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const parts: Uint8Array[] = []
  let bytes = 0
  for await (const part of stdin) {
    parts.push(part)
    bytes += part.length
    // Content that is too long need not be read to its end.
    if (bytes > mostBytes) break
  }
  return Buffer.concat(parts)
}

function tooLarge(): OspError {
  return new OspError('too-large', 'a message has at most 64 KiB; send a file with "osp send"')
}
