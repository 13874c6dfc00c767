import { type Client, type MessageReceipt, OspError } from 'ospd'
import type { PrintedEvent } from '../common/events.ts'
import { results } from '../common/output.ts'
import { printable } from '../common/text.ts'
import { localTime } from '../common/units.ts'

/** Returns the event of a receipt. */
export function receiptEvent({ messageId: id, recipient, state, at, result }: MessageReceipt): PrintedEvent {
  return { event: 'receipt', id, recipient, state, at: at.toISOString(), result }
}

/** Formats a receipt as a line: recipient, state, result. */
export const receiptLine = ({ recipient, state, result }: MessageReceipt): string =>
  [printable(recipient), state, printable(result)].join(' ').trimEnd()

/** Formats a receipt with its time and the id of its message. */
const listedLine = (receipt: MessageReceipt) => `${localTime(receipt.at)} ${receipt.messageId} ${receiptLine(receipt)}`

/** Prints the receipts of a user until `signal` aborts or the client ends. Stops if a receipt cannot be printed. */
export async function listenForReceipts(client: Client, signal: AbortSignal): Promise<void> {
  try {
    for await (const receipt of client.receipts({ signal }))
      if (!(await results.printed(receiptEvent(receipt), listedLine(receipt)))) return
  } catch (error) {
    if (!(error instanceof OspError) || error.code !== 'closed') throw error
  }
}
