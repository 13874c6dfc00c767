import type { MailboxBounds, MailboxStore, NewMessage, StoredMessage } from '../../ports/mailboxes.ts'

/** Bounds that nothing reaches. */
export const roomy: MailboxBounds = {
  messages: 1_000_000,
  bytes: 1_000_000_000,
  allMessages: 1_000_000,
  senderIds: 1_000_000,
  allIds: 1_000_000,
  sharePercent: 100,
  reserveBytes: 0,
}

/** The message of alice's with this number: by it, its id, times and content differ from all others'. */
export function message(number: number, other: Partial<NewMessage> = {}): NewMessage {
  const id = new Uint8Array(16).fill(7)
  new DataView(id.buffer).setUint32(0, number)
  const content = new TextEncoder().encode(`message ${number}`)
  return { sender: 'alice', id, sentAt: 1_000_000 + number, storedAt: number, content, ...other }
}

/** A message with so many bytes of content. */
export const long = (number: number, bytes: number): NewMessage =>
  message(number, { content: new Uint8Array(bytes).fill(number) })

/** Everything that can be read of a mailbox. */
export const all = (mailboxes: MailboxStore, user: string): Promise<readonly StoredMessage[]> =>
  mailboxes.read(user, 0, 1_000_000, 1_000_000_000)

/** The numbers of messages, by the names of `message`. */
export const numbersOf = (messages: readonly StoredMessage[]): number[] =>
  messages.map(({ id }) => new DataView(id.buffer, id.byteOffset).getUint32(0))

/** The numbers of what can be read of a mailbox. */
export const waiting = async (mailboxes: MailboxStore, user: string): Promise<number[]> =>
  numbersOf(await all(mailboxes, user))

/** The seqs of what can be read of a mailbox. */
export const seqsOf = async (mailboxes: MailboxStore, user: string): Promise<number[]> =>
  (await all(mailboxes, user)).map(({ seq }) => seq)

/** Numbers from 1 to `last`. */
export const upTo = (last: number): number[] => Array.from({ length: last }, (_, index) => index + 1)
