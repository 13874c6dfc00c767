import { type Client, type MessageReceipt, OspError } from 'ospd'
import { stateDirectory, uploadPartOf } from 'ospd/node'
import type { PrintedEvent } from '../common/events.ts'
import { results } from '../common/output.ts'
import { printable } from '../common/text.ts'
import { localTime } from '../common/units.ts'

/** Returns the fields of the events of a receipt. */
export const receiptFields = ({ messageId: id, recipient, state, at, result }: MessageReceipt) => ({
  id,
  recipient,
  state,
  at: at.toISOString(),
  result,
})

/** Formats a receipt as a line: recipient, state, result. */
export const receiptLine = ({ recipient, state, result }: MessageReceipt): string =>
  [printable(recipient), state, printable(result)].join(' ').trimEnd()

/** Formats a receipt with its time, the id of its message, and the name of the file that the message is about. */
function listedLine(receipt: MessageReceipt, file: string | undefined): string {
  const about = file === undefined ? '' : `${printable(file)}: `
  return `${localTime(receipt.at)} ${receipt.messageId} ${about}${receiptLine(receipt)}`
}

/** The minimum time between two reads of the list of tasks. */
const readMs = 1_000

/** Finds the names of files by the ids of the messages about them, in the list of tasks of a state directory. */
class SentNames {
  readonly #directory: string
  #names: ReadonlyMap<string, string> = new Map()
  #readAt = Number.NEGATIVE_INFINITY

  constructor(directory: string) {
    this.#directory = directory
  }

  async of(messageId: string): Promise<string | undefined> {
    const upload = uploadPartOf(messageId)
    if (!this.#names.has(upload) && performance.now() - this.#readAt >= readMs) await this.#read()
    return this.#names.get(upload)
  }

  async #read(): Promise<void> {
    this.#readAt = performance.now()
    // Without the list, receipts are printed without names.
    const tasks = await stateDirectory(this.#directory)
      .tasks.load()
      .catch(() => [])
    this.#names = new Map(
      tasks.flatMap(({ name, notice }) => (notice ? [[uploadPartOf(notice.id), name] as const] : [])),
    )
  }
}

/**
 * Prints the receipts of a user until `signal` aborts or the client ends. Stops if a receipt cannot be printed. `directory` is the
 * state directory of the user.
 */
export async function listenForReceipts(client: Client, directory: string, signal: AbortSignal): Promise<void> {
  const names = new SentNames(directory)
  try {
    for await (const receipt of client.receipts({ signal })) {
      const file = await names.of(receipt.messageId)
      const event: PrintedEvent = { event: 'receipt', ...receiptFields(receipt), file: file ?? null }
      if (!(await results.printed(event, listedLine(receipt, file)))) return
    }
  } catch (error) {
    if (!(error instanceof OspError) || error.code !== 'closed') throw error
  }
}

const mostNamed = 5

/** Returns the line that names the users whose receipts a command waits for. */
export function waitingForReceipts(users: Iterable<string>): string {
  const all = [...new Set(users)]
  const more = all.length - mostNamed
  const names = all.slice(0, mostNamed).join(', ') + (more > 0 ? ` and ${more} more` : '')
  return `waiting for the receipts of ${names}; Ctrl-C leaves them on the server`
}
