import { type ClientState, type LogEntry, OspError, type Receiver } from 'ospd'
import { stateDirectory } from 'ospd/node'
import type { Errand } from '../common/errand.ts'
import { jsonLine } from '../common/output.ts'
import { openStateDirectory } from '../common/stateDirectory.ts'
import { stylesFor } from '../common/style.ts'
import { messageEvent, messageLine } from './messageLine.ts'
import type { ListenValues } from './settings.ts'

/** Prints messages, and counts those that are noted as printed, which are acknowledged. */
export class Listening {
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
  async run({ client, results, say, interrupted }: Errand): Promise<void> {
    const { json, count } = this.#values
    const styles = stylesFor(process.stdout)
    this.#trouble = once((text) => say(text, 'red'))
    this.#receiver = client.receive(async (message) => {
      if (await results.written(json ? jsonLine(messageEvent(message)) : messageLine(message, styles))) return
      this.#stop()
      throw new Error('the message was not printed')
    })
    await this.#receiver.finished
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
