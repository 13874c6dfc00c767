import type { Expired, MailboxLevel } from '../../ports/mailboxes.ts'
import type { Place } from '../journal/journal.ts'
import { type IndexEntry, Mailbox } from './mailbox.ts'
import { SentIds } from './sentIds.ts'

const nothing = { messages: 0, bytes: 0 }

/** Bytes of the journal that a remembered id takes at least. */
const idBytes = 28

/** What of one sender waits: messages, each as often as it waits, and the bytes that the journal has of them. */
interface Waiting {
  readonly sender: string
  messages: number
  bytes: number
}

/** What is in the journal, as far as it is kept in memory: which message waits for whom, ids, and how far time has come. */
export class MailboxIndex {
  readonly ids = new SentIds()
  /** Messages of all mailboxes, each as often as it waits. */
  waiting = 0
  /** Of a durable message. */
  lastSeq = 0
  lastTime = 0
  /** What was stored before these is gone, or is about to go. */
  messagesBefore = 0
  idsBefore = 0
  readonly #mailboxes = new Map<string, Mailbox>()
  readonly #senders = new Map<string, Waiting>()
  /** Of each segment, the bytes of the messages in it that wait for somebody. */
  readonly #liveIn = new Map<number, number>()
  #live = 0

  /** Bytes that a journal of what is here would have at least. */
  get liveBytes(): number {
    return this.#live + idBytes * this.ids.durable
  }

  /** The mailbox of a user, if anything is in it. */
  mailbox(user: string): Mailbox | undefined {
    return this.#mailboxes.get(user)
  }

  /** What of a sender waits. */
  waitingOf(sender: string): { readonly messages: number; readonly bytes: number } {
    return this.#senders.get(sender) ?? nothing
  }

  /** The name of a sender as the messages have it that wait already: a string of its own for each would take memory. */
  nameOf(sender: string): string {
    return this.#senders.get(sender)?.sender ?? sender
  }

  get(user: string, seq: number): IndexEntry | undefined {
    return this.#mailboxes.get(user)?.get(seq)
  }

  /** Puts a message into a mailbox. */
  put(user: string, held: IndexEntry): void {
    let mailbox = this.#mailboxes.get(user)
    if (!mailbox) {
      mailbox = new Mailbox()
      this.#mailboxes.set(user, mailbox)
    }
    if (!mailbox.put(held)) return
    this.waiting++
    const bytes = held.waiting++ === 0 ? held.length : 0
    this.#addWaiting(held.sender, 1, bytes)
    if (bytes > 0 && held.isDurable) this.#count(held, bytes)
  }

  /** Takes a message out of a mailbox, if it is there. */
  take(user: string, seq: number): IndexEntry | undefined {
    const mailbox = this.#mailboxes.get(user)
    const held = mailbox?.take(seq)
    if (!mailbox || !held) return undefined
    if (mailbox.messages === 0) this.#mailboxes.delete(user)
    this.waiting--
    const bytes = --held.waiting === 0 ? held.length : 0
    this.#addWaiting(held.sender, -1, -bytes)
    if (held.waiting > 0) return held
    held.record = undefined
    if (held.isDurable) this.#count(held, -bytes)
    return held
  }

  /** Says where a message lies now, durably. */
  locate(held: IndexEntry, { segment, offset, length }: Place): void {
    if (held.waiting > 0 && held.isDurable) this.#count(held, -held.length)
    if (held.waiting > 0) this.#addWaiting(held.sender, 0, length - held.length)
    held.segment = segment
    held.offset = offset
    held.length = length
    if (held.waiting > 0) this.#count(held, held.length)
  }

  /** Takes the messages out that were stored before `time`. */
  expireMessages(time: number): readonly Expired[] {
    const expired: Expired[] = []
    for (const [user, mailbox] of this.#mailboxes) {
      let messages = 0
      for (const held of mailbox.behind(0)) {
        if (held.storedAt >= time || !held.isDurable) break
        this.take(user, held.seq)
        messages++
      }
      if (messages > 0) expired.push({ user, messages })
    }
    return expired
  }

  /** Takes all out that lies in a segment, for it can't be read. */
  lose(segment: number): void {
    if ((this.#liveIn.get(segment) ?? 0) === 0) return
    for (const [user, mailbox] of this.#mailboxes) {
      for (const held of mailbox.behind(0)) if (held.segment === segment) this.take(user, held.seq)
    }
  }

  levels(): readonly MailboxLevel[] {
    const levels = Array.from(this.#mailboxes, ([user, { messages, bytes }]) => ({ user, messages, bytes }))
    return levels.sort((a, b) => (a.user < b.user ? -1 : 1))
  }

  #addWaiting(sender: string, messages: number, bytes: number): void {
    const waiting = this.#senders.get(sender)
    if (!waiting) {
      this.#senders.set(sender, { sender, messages, bytes })
      return
    }
    waiting.messages += messages
    waiting.bytes += bytes
    if (waiting.messages === 0) this.#senders.delete(sender)
  }

  #count(held: IndexEntry, bytes: number): void {
    this.#live += bytes
    const there = (this.#liveIn.get(held.segment) ?? 0) + bytes
    if (there === 0) this.#liveIn.delete(held.segment)
    else this.#liveIn.set(held.segment, there)
  }
}
