import type { MailboxBounds, MailboxStore, NewMessage } from '../../ports/mailboxes.ts'
import type { Draw } from '../chance.ts'
import { all, long, roomy } from './mailSteps.ts'

/** Low limits. */
const tight: MailboxBounds = {
  messages: 5,
  bytes: 4_000,
  allMessages: 12,
  senderIds: 14,
  allIds: 20,
  sharePercent: 60,
  reserveBytes: 0,
}

const users = ['bob', 'carol', 'dave', 'eve']

interface Entry {
  readonly seq: number
  readonly message: NewMessage
  readonly aside: boolean
}

/** A call of a store, as data. `picks` choose among the latest seqs. */
export type Call =
  | {
      readonly does: 'append'
      readonly sender: string
      readonly number: number
      readonly bytes: number
      readonly to: readonly string[]
      readonly bounds: MailboxBounds
    }
  | { readonly does: 'remove' | 'setAside'; readonly user: string; readonly picks: readonly number[] }
  | { readonly does: 'expire'; readonly messageAge: number; readonly idAge: number }

/** Returns a random call, most often an append; some repeat an id, with the same body or another one. */
export function drawCall(draw: Draw): Call {
  const does = draw.pick([
    ...Array(6).fill('append'),
    ...Array(4).fill('remove'),
    'setAside',
    'expire',
  ] as Call['does'][])
  if (does === 'append') {
    const to = new Set(draw.some(0, 4, () => draw.pick(users)))
    return {
      does,
      sender: draw.pick(['alice', 'zoe']),
      number: draw.from(1, 60),
      bytes: draw.pick([0, 1, 100, 700, 2_000]),
      to: [...to],
      bounds: draw.pick([roomy, roomy, tight, { ...tight, sharePercent: 100 }]),
    }
  }
  if (does === 'expire') return { does, messageAge: draw.from(5, 60), idAge: draw.from(0, 40) }
  return { does, user: draw.pick(users), picks: draw.some(0, 12, () => draw.from(0, 30)) }
}

/** Returns calls that can run at the same time; an expiry runs alone. */
export function burstOf(calls: readonly Call[]): readonly Call[] {
  return calls.slice(0, calls.findIndex(({ does }) => does === 'expire') + 1 || calls.length)
}

/** A simple model of a mailbox store. */
export class MailModel {
  /** Rises with every call. */
  time = 0
  /** The latest time that the store was given and keeps. */
  toldTime = 0
  lastSeq = 0
  /** The highest seq that was assigned, possibly to a message that was not stored. */
  givenSeq = 0
  #boxes = new Map<string, readonly Entry[]>()
  #ids = new Map<string, { readonly body: string; readonly storedAt: number }>()

  /** Returns an independent copy of the model. */
  copy(): MailModel {
    const copy = new MailModel()
    Object.assign(copy, { time: this.time, toldTime: this.toldTime })
    Object.assign(copy, { lastSeq: this.lastSeq, givenSeq: this.givenSeq })
    copy.#boxes = new Map(this.#boxes)
    copy.#ids = new Map(this.#ids)
    return copy
  }

  /** Makes a call of the store and of the model, and returns the expected result. */
  make(call: Call, store: MailboxStore): { readonly done: Promise<unknown>; readonly expected: unknown } {
    this.time++
    if (call.does === 'append') {
      const given = { ...long(call.number, call.bytes), sender: call.sender, storedAt: this.time }
      const done = store.append(given, call.to, call.bounds).catch(codeOf)
      return { done, expected: this.#append(given, call.to, call.bounds) }
    }
    if (call.does === 'expire') {
      const [messagesBefore, idsBefore] = [this.time - call.messageAge, this.time - call.idAge]
      const done = store.expire(this.time, messagesBefore, idsBefore).then(sorted)
      return { done, expected: this.#expire(messagesBefore, idsBefore) }
    }
    const seqs = call.picks.map((pick) => this.givenSeq - pick)
    const there = this.#box(call.user)
    if (call.does === 'remove')
      this.#boxes.set(
        call.user,
        there.filter(({ seq }) => !seqs.includes(seq)),
      )
    else
      this.#boxes.set(
        call.user,
        there.map((entry) => (seqs.includes(entry.seq) ? { ...entry, aside: true } : entry)),
      )
    return { done: store[call.does](call.user, seqs), expected: undefined }
  }

  /** Returns the content that the store must show. */
  shown(): unknown {
    const boxes = users.map((user) => this.#box(user))
    return {
      time: this.toldTime,
      lastSeq: this.lastSeq,
      levels: boxes.flatMap((box, at) => {
        const bytes = box.reduce((sum, { message }) => sum + message.content.length, 0)
        return box.length > 0 ? [{ user: users[at], messages: box.length, bytes }] : []
      }),
      boxes: boxes.map((box) =>
        box
          .filter(({ aside }) => !aside)
          .map(({ seq, message }) => textOf(seq, message.sender, message.id, message.content)),
      ),
    }
  }

  #append(given: NewMessage, to: readonly string[], bounds: MailboxBounds): string | undefined {
    const key = `${given.sender} ${given.id}`
    const body = `${to} ${given.content}`
    const former = this.#ids.get(key)
    if (former) return former.body === body ? undefined : 'id-reused'
    const refused = this.#refusal(given, to, bounds)
    if (refused) return refused
    const seq = ++this.givenSeq
    this.lastSeq = seq
    this.toldTime = given.storedAt
    this.#ids.set(key, { body, storedAt: given.storedAt })
    for (const user of to) this.#boxes.set(user, [...this.#box(user), { seq, message: given, aside: false }])
    return undefined
  }

  #refusal({ sender, content }: NewMessage, to: readonly string[], bounds: MailboxBounds): string | undefined {
    const own = [...this.#ids.keys()].filter((key) => key.startsWith(`${sender} `)).length
    const fits = (most: number, held: number, its: number, more: number) => {
      const free = most - held - more
      return free >= 0 && (its === 0 || (its + more) * (100 - bounds.sharePercent) <= free * bounds.sharePercent)
    }
    if (own >= bounds.senderIds || !fits(bounds.allIds, this.#ids.size, own, 1)) return 'rate-limited'
    const fitsAmong = (entries: readonly Entry[], most: number, more: number, sizeOf: (entry: Entry) => number) => {
      const sum = (some: readonly Entry[]) => some.reduce((total, entry) => total + sizeOf(entry), 0)
      return fits(most, sum(entries), sum(entries.filter(({ message }) => message.sender === sender)), more)
    }
    const one = () => 1
    const bytesOf = ({ message }: Entry) => message.content.length
    const fit =
      fitsAmong(
        users.flatMap((user) => this.#box(user)),
        bounds.allMessages,
        to.length,
        one,
      ) &&
      to.every((user) => fitsAmong(this.#box(user), bounds.messages, 1, one)) &&
      to.every((user) => fitsAmong(this.#box(user), bounds.bytes, content.length, bytesOf))
    return fit ? undefined : 'mailbox-full'
  }

  #expire(messagesBefore: number, idsBefore: number): unknown {
    this.toldTime = this.time
    for (const [key, { storedAt }] of this.#ids) if (storedAt < idsBefore) this.#ids.delete(key)
    return users.flatMap((user) => {
      const left = this.#box(user).filter(({ message }) => message.storedAt >= messagesBefore)
      const messages = this.#box(user).length - left.length
      this.#boxes.set(user, left)
      return messages > 0 ? [{ user, messages }] : []
    })
  }

  #box(user: string): readonly Entry[] {
    return this.#boxes.get(user) ?? []
  }
}

/** Returns the content that a store shows. */
export async function shownBy(store: MailboxStore): Promise<unknown> {
  const textsOf = async (user: string) =>
    (await all(store, user)).map(({ seq, sender, id, content }) => textOf(seq, sender, id, content))
  return {
    time: await store.lastTime(),
    lastSeq: await store.lastSeq(),
    levels: await store.levels(),
    boxes: await Promise.all(users.map(textsOf)),
  }
}

const textOf = (seq: number, sender: string, id: Uint8Array, content: Uint8Array) =>
  `${seq} ${sender} ${id} ${content.length} times ${content[0]} to ${content.at(-1)}`
const codeOf = (error: { code?: string }) => error.code
const sorted = <T extends { user: string }>(list: readonly T[]) => list.toSorted((a, b) => (a.user < b.user ? -1 : 1))
