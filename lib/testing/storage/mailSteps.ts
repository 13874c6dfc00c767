import type { MailboxBounds, MailboxStore, NewMessage, StoredMessage } from '../../ports/mailboxes.ts'

/** Limits that no test reaches. */
export const roomy: MailboxBounds = {
  messages: 1_000_000,
  bytes: 1_000_000_000,
  allMessages: 1_000_000,
  allBytes: 1_000_000_000,
  receipts: 1_000_000,
  senderIds: 1_000_000,
  allIds: 1_000_000,
  sharePercent: 100,
  reserveBytes: 0,
}

/** A sender that is alone gets half. */
export const halves: MailboxBounds = { ...roomy, sharePercent: 50 }

/** Returns the message of alice with this number, which determines its id, times and content. */
export function message(number: number, other: Partial<NewMessage> = {}): NewMessage {
  const id = new Uint8Array(16).fill(7)
  new DataView(id.buffer).setUint32(0, number)
  const content = new TextEncoder().encode(`message ${number}`)
  return { sender: 'alice', id, sentAt: 1_000_000 + number, storedAt: number, content, ...other }
}

/** Returns a message with a content of `bytes`. */
export const long = (number: number, bytes: number): NewMessage =>
  message(number, { content: new Uint8Array(bytes).fill(number) })

/** Appends a message. Rejects with its error. */
export async function append(
  mailboxes: MailboxStore,
  message: NewMessage,
  recipients: readonly string[],
  bounds: MailboxBounds,
): Promise<void> {
  const [error] = await mailboxes.append([{ ...message, recipients }], bounds)
  if (error) throw error
}

/** Appends messages with these numbers, one after another. */
export async function post(mailboxes: MailboxStore, numbers: readonly number[], recipients = ['bob']): Promise<void> {
  for (const number of numbers) await append(mailboxes, message(number), recipients, roomy)
}

/** Returns all messages of a mailbox. */
export const all = (mailboxes: MailboxStore, user: string) => mailboxes.read(user, 0, 1_000_000, 1_000_000_000)

/** Returns the numbers of messages that `message` made. */
export const messageNumbersOf = (messages: readonly StoredMessage[]): number[] =>
  messages.map(({ id }) => new DataView(id.buffer, id.byteOffset).getUint32(0))

/** Returns the numbers of the messages of a mailbox. */
export const waiting = async (mailboxes: MailboxStore, user: string): Promise<number[]> =>
  messageNumbersOf(await all(mailboxes, user))

/** Returns the seqs of the messages of a mailbox. */
export const seqsOf = async (mailboxes: MailboxStore, user: string): Promise<number[]> =>
  (await all(mailboxes, user)).map(({ seq }) => seq)
