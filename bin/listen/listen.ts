import { isUtf8 } from 'node:buffer'
import { type Client, type ClientState, type Message, OspError, type Receiver } from 'ospd'
import { stateDirectory } from 'ospd/node'
import { clientTransport, runWithClient, trustFor } from '../common/client.ts'
import { commonOptions } from '../common/commonOptions.ts'
import type { PrintedEvent } from '../common/events.ts'
import { checkStdout, results, sayOnce } from '../common/output.ts'
import { command } from '../common/program.ts'
import { kind, optionalSetting, type Values } from '../common/settings.ts'
import { openStateDirectory } from '../common/stateDirectory.ts'
import { printable, type Styles, stylesFor } from '../common/text.ts'
import { ConfiguredToken } from '../common/token.ts'

/** The settings of `osp listen`. */
export const listenSettings = {
  count: { ...optionalSetting(kind.count, 'exit after N messages', 'run until Ctrl-C'), alias: 'n' },
  ...commonOptions,
} as const

type ListenValues = Values<typeof listenSettings>

/** `osp listen`: prints the messages of a user. */
export const listenCommand = command({
  name: 'listen',
  describe: 'Print the waiting messages, and new messages as they arrive, until Ctrl-C.',
  settings: listenSettings,
  examples: [
    ['osp listen', 'print time, sender and text of each message'],
    ['osp listen --count 1', 'wait for one message'],
    ['osp listen --json | jq -r .text', 'print the texts only'],
  ],
  run,
})

async function run(values: ListenValues): Promise<number> {
  checkStdout('messages')
  const styles = stylesFor(process.stdout)
  const { receipts } = stateDirectory(openStateDirectory(values))
  let receiver: Receiver | undefined
  const stop = () => void receiver?.[Symbol.asyncDispose]()
  // A message is acknowledged after it is recorded as printed.
  let recorded = 0
  const state: ClientState = {
    receipts: {
      load: () => receipts.load(),
      put: async (receipt, most) => {
        await receipts.put(receipt, most)
        if (++recorded === values.count) stop()
      },
    },
  }
  // Until a receipt can be stored, the client retries and prints no further messages.
  const log = sayOnce('receipt-not-stored', 'cannot record the printed message; retrying', 'red')
  const print = async (client: Client, interrupted: AbortSignal) => {
    receiver = client.receive(async (message) => {
      if (await results.printed(messageEvent(message), messageLine(message, styles))) return
      stop()
      throw new Error('the message was not printed')
    })
    await receiver.done
    if (interrupted.aborted && recorded !== values.count) throw new OspError('closed', 'interrupted')
  }
  const token = new ConfiguredToken(values)
  // Not `closedOnceFlushed`: the server does not answer acknowledgements, so they could be lost.
  const to = clientTransport(values, trustFor(values, token))
  return await runWithClient(values, { token, to, state, log, run: print })
}

/** Formats a message as a line: time, sender, text. Marks a message that may have been printed before. */
export function messageLine(message: Message, { dim, bold, yellow }: Styles): string {
  const { sentAt, from, attempt } = message
  const again = attempt > 1 ? [yellow('(again?)')] : []
  return [dim(localTime(sentAt)), bold(printable(from)), ...again, printable(message.text())].join(' ')
}

/** Returns the event of a message. */
export function messageEvent(message: Message): PrintedEvent {
  const { id, seq, from, sentAt, attempt, inReplyTo = null } = message
  const headers = { ...message.headers }
  const bytes = Buffer.from(message.content)
  const isText = isUtf8(bytes)
  const body = { text: isText ? bytes.toString() : null, content: isText ? null : bytes.toString('base64') }
  const named = { seq, id, from, sentAt: sentAt.toISOString() }
  return { event: 'message', ...named, attempt, headers, inReplyTo, ...body }
}

/** Formats a date in local time with its offset from UTC, as in ISO 8601: `2026-03-01T12:34:56+01:00`. */
export function localTime(at: Date): string {
  const offset = -at.getTimezoneOffset()
  const local = new Date(at.getTime() + offset * 60_000)
  // The local time of the last representable dates is out of range.
  if (Number.isNaN(local.getTime())) return `${at.toISOString().slice(0, -5)}Z`
  const parts = [Math.trunc(Math.abs(offset) / 60), Math.abs(offset) % 60]
  const time = parts.map((part) => String(part).padStart(2, '0')).join(':')
  return `${local.toISOString().slice(0, -5)}${offset < 0 ? '-' : '+'}${time}`
}
