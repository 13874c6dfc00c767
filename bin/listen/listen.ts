import { type ClientState, type LogEntry, OspError, type Receiver } from 'ospd'
import { stateDirectory } from 'ospd/node'
import { type CommandContext, runWithClient } from '../common/commandContext.ts'
import { commonOptions } from '../common/commonOptions.ts'
import { checkStdout, jsonLine } from '../common/output.ts'
import { command } from '../common/program.ts'
import { count, optional, type Values } from '../common/settings.ts'
import { openStateDirectory } from '../common/stateDirectory.ts'
import { stylesFor } from '../common/text.ts'
import { unexpectedOperand } from '../common/usage.ts'
import { messageEvent, messageLine } from './messageLine.ts'

/** The settings of `osp listen`. */
export const listenSettings = {
  count: optional(count, { alias: 'n', describe: 'exit after N messages', unset: 'run until Ctrl-C' }),
  ...commonOptions,
} as const

export type ListenValues = Values<typeof listenSettings>

/** `osp listen`: prints the messages of a user. */
export const listenCommand = command({
  name: 'listen',
  operands: '',
  describe: 'Print the waiting messages, and new messages as they arrive, until Ctrl-C.',
  settings: listenSettings,
  examples: [
    ['osp listen', 'print time, sender and text of each message'],
    ['osp listen --count 1', 'wait for one message'],
    ['osp listen --json | jq -r .text', 'print the texts only'],
  ],
  run,
})

async function run(values: ListenValues, operands: readonly string[]): Promise<number> {
  const [operand] = operands
  if (operand !== undefined) throw unexpectedOperand('listen', operand)
  checkStdout('messages')
  const printer = new MessagePrinter(values)
  const state = await printer.openState()
  return await runWithClient(values, { state, log: printer.log, run: (context) => printer.run(context) })
}

/** Prints messages. Counts the messages that are recorded as printed, which are then acknowledged. */
class MessagePrinter {
  readonly #values: ListenValues
  #receiver: Receiver | undefined
  #recorded = 0
  #reportFault: (text: string) => void = () => {}

  constructor(values: ListenValues) {
    this.#values = values
  }

  /** Returns the state that records printed messages. Throws UsageError if its directory cannot be used. */
  async openState(): Promise<ClientState> {
    const { receipts } = stateDirectory(await openStateDirectory(this.#values))
    const put: typeof receipts.put = async (receipt, most) => {
      await receipts.put(receipt, most)
      if (++this.#recorded === this.#values.count) this.#stop()
    }
    return { receipts: { load: () => receipts.load(), put } }
  }

  /** Handles the log of the client. Until a receipt can be stored, the client retries and prints no further messages. */
  readonly log = ({ event, text }: LogEntry) => {
    if (event === 'receipt-not-stored') this.#reportFault(`cannot record the printed message; retrying: ${text}`)
  }

  /** Resolves when `--count` messages are acknowledged, or when stdout has no reader. */
  async run({ client, results, say, interrupted }: CommandContext): Promise<void> {
    const { json, count } = this.#values
    const styles = stylesFor(process.stdout)
    this.#reportFault = once((text) => say(text, 'red'))
    this.#receiver = client.receive(async (message) => {
      if (await results.written(json ? jsonLine(messageEvent(message)) : messageLine(message, styles))) return
      this.#stop()
      throw new Error('the message was not printed')
    })
    await this.#receiver.done
    if (interrupted.aborted && this.#recorded !== count) throw new OspError('closed', 'interrupted')
  }

  /** Stops receiving messages. */
  #stop(): void {
    void this.#receiver?.[Symbol.asyncDispose]()
  }
}

function once(report: (text: string) => void): (text: string) => void {
  let isReported = false
  return (text) => {
    if (!isReported) report(text)
    isReported = true
  }
}
