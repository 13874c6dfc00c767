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
  count: optional(count, { alias: 'n', describe: 'end after so many messages' }),
  ...commonOptions,
} as const

export type ListenValues = Values<typeof listenSettings>

/** `osp listen`: prints the messages of a user. */
export const listenCommand = command({
  name: 'listen',
  operands: '',
  describe: 'Print the messages that wait, and those that come, until Ctrl-C.',
  settings: listenSettings,
  examples: [
    ['osp listen', 'a line for each message: time, sender, text'],
    ['osp listen --count 1', 'wait for one message'],
    ['osp listen --json | jq -r .text', 'for programs'],
  ],
  run,
})

async function run(values: ListenValues, operands: readonly string[]): Promise<number> {
  const [operand] = operands
  if (operand !== undefined) throw unexpectedOperand('listen', operand)
  checkStdout('messages')
  const listening = new MessagePrinter(values)
  const state = await listening.openState()
  return await runWithClient(values, { state, log: listening.log, run: (errand) => listening.run(errand) })
}

/** Prints messages, and counts those that are noted as printed, which are acknowledged. */
class MessagePrinter {
  readonly #values: ListenValues
  #receiver: Receiver | undefined
  #noted = 0
  #trouble: (text: string) => void = () => {}

  constructor(values: ListenValues) {
    this.#values = values
  }

  /** Where it notes what was printed. Throws UsageError where it can't. */
  async openState(): Promise<ClientState> {
    const { receipts } = stateDirectory(await openStateDirectory(this.#values))
    const put: typeof receipts.put = async (receipt, most) => {
      await receipts.put(receipt, most)
      if (++this.#noted === this.#values.count) this.#stop()
    }
    return { receipts: { load: () => receipts.load(), put } }
  }

  /** Takes the log of the client: what can't be noted is tried again, and printed no further meanwhile. */
  readonly log = ({ event, text }: LogEntry) => {
    if (event === 'receipt-not-stored') this.#trouble(`what was printed cannot be noted, and is tried again: ${text}`)
  }

  /** Resolves when as many messages as it was told are acknowledged, or nobody reads what it prints. */
  async run({ client, results, say, interrupted }: CommandContext): Promise<void> {
    const { json, count } = this.#values
    const styles = stylesFor(process.stdout)
    this.#trouble = once((text) => say(text, 'red'))
    this.#receiver = client.receive(async (message) => {
      if (await results.written(json ? jsonLine(messageEvent(message)) : messageLine(message, styles))) return
      this.#stop()
      throw new Error('the message was not printed')
    })
    await this.#receiver.done
    if (interrupted.aborted && this.#noted !== count) throw new OspError('closed', 'it was interrupted')
  }

  /** Takes no further message. */
  #stop(): void {
    void this.#receiver?.[Symbol.asyncDispose]()
  }
}

function once(tell: (text: string) => void): (text: string) => void {
  let told = false
  return (text) => {
    if (!told) tell(text)
    told = true
  }
}
