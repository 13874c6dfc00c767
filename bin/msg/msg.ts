import { connectionErrors, OspError, type RecipientState } from 'ospd'
import { pathBytes } from 'ospd/node'
import { type CommandFailure, runWithClient } from '../common/client.ts'
import { commonOptions, shortRetryFor, userNamed } from '../common/commonOptions.ts'
import { readInput } from '../common/input.ts'
import { results, say } from '../common/output.ts'
import { pairs, pairsOf } from '../common/pairs.ts'
import { command } from '../common/program.ts'
import { kind, optionalSetting, type Values } from '../common/settings.ts'
import { printable } from '../common/text.ts'
import { UsageError } from '../common/usage.ts'

const settings = {
  header: pairs('add this header to the message, such as contentType=application/json'),
  ttl: optionalSetting(
    kind.duration,
    'time after which the server removes the message if no recipient program has handled it',
    'the limit of the server',
  ),
  ...commonOptions,
  'retry-for': shortRetryFor,
} as const

type MsgValues = Values<typeof settings>

/** `osp msg`: sends a message. */
export const msgCommand = command({
  name: 'msg',
  operands: 'RECIPIENT... TEXT',
  describe: 'Send a message to one or more users. The server stores it for users who are offline.',
  settings,
  examples: [
    ['osp msg bob "lunch?"', 'send a message to one user'],
    ['osp msg bob carol "lunch?"', 'send it to both users, or to neither if one cannot receive it'],
    ['git log -1 | osp msg bob -', 'send the content of stdin, up to 64 KiB'],
    ['osp msg --ttl 10m bob "lunch?"', 'send a message that is removed if it was not handled within 10 minutes'],
    ['osp msg bob -- "-1 is a number"', 'send text that begins with a dash'],
  ],
  run,
})

async function run(values: MsgValues, operands: readonly string[]): Promise<number> {
  const text = operands.at(-1)
  const names = operands.slice(0, -1)
  if (text === undefined) throw new UsageError('specify a RECIPIENT and a TEXT')
  if (names.length === 0) throw new UsageError('specify a TEXT after the RECIPIENT, or - to read the text from stdin')
  const recipients = names.map((name) => userNamed(name, 'RECIPIENT'))
  const options = { headers: pairsOf('--header', values.header, 'the headers of a message'), timeToLiveMs: values.ttl }
  return await runWithClient(values, {
    async run(client, interrupted) {
      const content = await contentOf(text, interrupted)
      print(values, await client.send(recipients, content, options))
    },
    failed: (failure) => printFailure(recipients, failure),
  })
}

const quotes = 'enclose text of several words in quotes'

function print({ json, quiet }: MsgValues, states: readonly RecipientState[]): void {
  for (const { recipient, status } of states) {
    const line = `${printable(recipient)} ${status === 'unseen' ? 'stored' : status}`
    results.print({ event: 'sent', recipient, status }, line)
    if (json || quiet || status !== 'unseen') continue
    const advice = states.length > 1 ? `; ${quotes}` : ''
    say(`no user ${recipient} has logged in to this server yet; the message waits for that user${advice}`, 'yellow')
  }
}

function printFailure(sent: readonly string[], { error, interrupted, gaveUp, wasOnline }: CommandFailure): void {
  const { code, message: text, retry, recipients = [] } = error
  const unknown = wasOnline && (connectionErrors.has(code) || code === 'closed' || code === 'superseded')
  if (results.json) {
    const outcome = unknown ? 'unknown' : 'not-sent'
    results.event({ event: 'failed', code, text, retry, recipients: [...recipients], outcome })
    return
  }
  const result = unknown ? 'it is unknown whether the message was stored' : 'the message was not sent'
  // The texts of these errors do not name the recipients.
  const isUnnamed = recipients.length > 0 && (code === 'unknown-user' || code === 'bad-name')
  const names = isUnnamed ? `: ${recipients.join(', ')}` : ''
  const advice = code === 'unknown-user' && sent.length > 1 ? `; ${quotes}` : ''
  const reason = interrupted ? 'interrupted' : text + names + advice
  say(gaveUp ? result : `${result}: ${reason}`, interrupted ? 'yellow' : 'red')
}

const mostBytes = 64 * 1024

/** Resolves with the content of a message: TEXT, or stdin if TEXT is `-`. Rejects with OspError `too-large`. */
async function contentOf(text: string, interrupted: AbortSignal): Promise<Uint8Array> {
  const parts: Buffer[] = []
  let bytes = 0
  for await (const part of text === '-' ? readInput(interrupted) : [Buffer.from(pathBytes(text))]) {
    parts.push(part)
    bytes += part.length
    // Content that is too long is not read to its end.
    if (bytes > mostBytes) throw new OspError('too-large', 'a message has at most 64 KiB; send a file with "osp send"')
  }
  return Buffer.concat(parts)
}
