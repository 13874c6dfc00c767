import { type Client, type ClientState, type LogEntry, type Message, OspError, type Receiver } from 'ospd'
import { stateDirectory } from 'ospd/node'
import { runWithClient } from '../common/commandContext.ts'
import { commonOptions } from '../common/commonOptions.ts'
import type { PrintedEvent } from '../common/events.ts'
import { checkStdout, results, say } from '../common/output.ts'
import { command } from '../common/program.ts'
import { count, optionalSetting, type Values } from '../common/settings.ts'
import { openStateDirectory } from '../common/stateDirectory.ts'
import { printable, type Styles, stylesFor } from '../common/text.ts'

/** The settings of `osp listen`. */
export const listenSettings = {
  count: optionalSetting(count, { alias: 'n', describe: 'exit after N messages', unset: 'run until Ctrl-C' }),
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
  const printer = new MessagePrinter(values.count)
  const state = printer.stateIn(await openStateDirectory(values))
  return await runWithClient(values, {
    state,
    log: printer.log,
    run: (client, interrupted) => printer.run(client, interrupted),
  })
}

/** Prints messages. Counts the messages that are recorded as printed, which are then acknowledged. */
class MessagePrinter {
  readonly #count: number | undefined
  #receiver: Receiver | undefined
  #recorded = 0
  #isFaultReported = false

  constructor(count: number | undefined) {
    this.#count = count
  }

  /** Returns the state that records printed messages. */
  stateIn(directory: string): ClientState {
    const { receipts } = stateDirectory(directory)
    return {
      receipts: {
        load: () => receipts.load(),
        put: async (receipt, most) => {
          await receipts.put(receipt, most)
          if (++this.#recorded === this.#count) this.#stop()
        },
      },
    }
  }

  /** Handles the log of the client. Until a receipt can be stored, the client retries and prints no further messages. */
  readonly log = ({ event, text }: LogEntry) => {
    if (event !== 'receipt-not-stored' || this.#isFaultReported) return
    this.#isFaultReported = true
    say(`cannot record the printed message; retrying: ${text}`, 'red')
  }

  /** Resolves when `--count` messages are acknowledged, or when stdout has no reader. */
  async run(client: Client, interrupted: AbortSignal): Promise<void> {
    const styles = stylesFor(process.stdout)
    this.#receiver = client.receive(async (message) => {
      if (await results.printed(messageEvent(message), messageLine(message, styles))) return
      this.#stop()
      throw new Error('the message was not printed')
    })
    await this.#receiver.done
    if (interrupted.aborted && this.#recorded !== this.#count) throw new OspError('closed', 'interrupted')
  }

  /** Stops receiving messages. */
  #stop(): void {
    void this.#receiver?.[Symbol.asyncDispose]()
  }
}

/** Formats a message as a line: time, sender, text. Marks a message that may have been printed before. */
export function messageLine(message: Message, { dim, bold, yellow }: Styles): string {
  const { sentAt, from, attempt } = message
  const again = attempt > 1 ? [yellow('(again?)')] : []
  return [dim(localTime(sentAt)), bold(printable(from)), ...again, printable(message.text())].join(' ')
}

const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** Returns the event of a message. */
export function messageEvent({ id, seq, from, sentAt, content: bytes, attempt }: Message): PrintedEvent {
  const text = textOf(bytes)
  const content = text === null ? Buffer.from(bytes).toString('base64') : null
  const named = { seq, id: Buffer.from(id).toString('hex'), from, sentAt: sentAt.toISOString() }
  return { event: 'message', ...named, attempt, text, content }
}

function textOf(content: Uint8Array): string | null {
  try {
    return strict.decode(content)
  } catch {
    return null
  }
}

/** Formats a date in local time with its offset from UTC, as in ISO 8601: `2026-03-01T12:34:56+01:00`. */
export function localTime(at: Date): string {
  const offset = -at.getTimezoneOffset()
  const local = new Date(at.getTime() + offset * 60_000)
  // The local time of the last representable dates is out of range.
  if (Number.isNaN(local.getTime())) return `${at.toISOString().slice(0, -5)}Z`
  const [hours, minutes] = [Math.trunc(Math.abs(offset) / 60), Math.abs(offset) % 60].map(twoDigits)
  return `${local.toISOString().slice(0, -5)}${offset < 0 ? '-' : '+'}${hours}:${minutes}`
}

const twoDigits = (number: number) => String(number).padStart(2, '0')
