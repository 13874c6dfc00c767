import assert from 'node:assert/strict'
import type { MailboxBounds, MailboxStore, NewMessage, StoredMessage } from '../../ports/mailboxes.ts'
import { checkRandomRuns, type Draw } from '../chance.ts'
import type { Checks } from '../testCases.ts'
import type { TestedStorage } from './fixture.ts'
import { all, append, long, roomy } from './mailSteps.ts'

const tight: MailboxBounds = {
  messages: 5,
  bytes: 4_000,
  allMessages: 12,
  allBytes: 5_000,
  receipts: 8,
  senderIds: 14,
  allIds: 20,
  sharePercent: 60,
  reserveBytes: 0,
}

const users = ['bob', 'carol', 'dave', 'eve']

interface Entry {
  readonly user: string
  readonly seq: number
  readonly message: NewMessage
  readonly aside: boolean
}

/** A call of a store, as data. */
export type Call = ReturnType<typeof drawCall>

/** Returns a random call, most often an append; some repeat an id, with the same body or another one. */
export function drawCall(draw: Draw) {
  const kind = draw.from(1, 12)
  if (kind <= 6) {
    const to = new Set(draw.some(0, 4, () => draw.pick(users)))
    return {
      does: 'append' as const,
      sender: draw.pick(['alice', 'zoe']),
      number: draw.from(1, 60),
      bytes: draw.pick([0, 1, 100, 700, 2_000]),
      to: [...to],
      bounds: draw.pick([roomy, roomy, tight, { ...tight, sharePercent: 100 }]),
    }
  }
  if (kind === 7) return { does: 'expire' as const, messageAge: draw.from(5, 60), idAge: draw.from(0, 40) }
  const does = kind === 8 ? ('setAside' as const) : ('remove' as const)
  // `picks` choose among the latest seqs.
  return { does, user: draw.pick(users), picks: draw.some(0, 12, () => draw.from(0, 30)) }
}

/** Returns calls that can run at the same time; an expiry runs alone. */
export function burstOf(calls: readonly Call[]): readonly Call[] {
  return calls.slice(0, calls.findIndex(({ does }) => does === 'expire') + 1 || calls.length)
}

/** A simple model of a mailbox store. Lists are replaced and never changed, so that copies are independent. */
export class MailModel {
  /** Rises with every call. */
  time = 0
  lastSeq = 0
  /** The highest seq that was assigned, possibly to a message that was not stored. */
  givenSeq = 0
  /** The latest time that the store was given and keeps. */
  lastTime = 0
  entries: readonly Entry[] = []
  /** The messages whose ids are remembered, with their recipients. */
  sent: readonly (NewMessage & { readonly to: string })[] = []

  copy(): MailModel {
    return Object.assign(new MailModel(), this)
  }

  /** Makes a call of the store and of the model, and returns the expected result. */
  make(call: Call, store: MailboxStore): { readonly done: Promise<unknown>; readonly expected: unknown } {
    this.time++
    if (call.does === 'append') {
      const given = { ...long(call.number, call.bytes), sender: call.sender, storedAt: this.time }
      const done = append(store, given, call.to, call.bounds).catch(({ code }) => code)
      return { done, expected: this.#append(given, call.to, call.bounds) }
    }
    if (call.does === 'expire') {
      const [messagesBefore, idsBefore] = [this.time - call.messageAge, this.time - call.idAge]
      const done = store.expire(this.time, messagesBefore, idsBefore)
      const sorted = done.then((list) => list.toSorted((a, b) => (a.user < b.user ? -1 : 1)))
      return { done: sorted, expected: this.#expire(messagesBefore, idsBefore) }
    }
    const { does, user } = call
    const seqs = call.picks.map((pick) => this.givenSeq - pick)
    const isMeant = (entry: Entry) => entry.user === user && seqs.includes(entry.seq)
    this.entries =
      does === 'remove'
        ? this.entries.filter((entry) => !isMeant(entry))
        : this.entries.map((entry) => (isMeant(entry) ? { ...entry, aside: true } : entry))
    return { done: store[does](user, seqs), expected: undefined }
  }

  /** Returns the content that the store must show. */
  shown(): unknown {
    const boxes = users.map((user) => this.entries.filter((entry) => entry.user === user))
    const levels = boxes.map((box, at) => ({ user: users[at], messages: box.length, bytes: sumOf(box, bytesOf) }))
    return {
      time: this.lastTime,
      lastSeq: this.lastSeq,
      levels: levels.filter(({ messages }) => messages > 0),
      boxes: boxes.map((box) =>
        box.filter(({ aside }) => !aside).map(({ seq, message }) => textOf({ ...message, seq })),
      ),
    }
  }

  #append(message: NewMessage, to: readonly string[], bounds: MailboxBounds): string | undefined {
    const former = this.sent.find((each) => each.sender === message.sender && `${each.id}` === `${message.id}`)
    if (former) return `${former.to} ${former.content}` === `${to} ${message.content}` ? undefined : 'id-reused'
    const refused = this.#refusal(message, to, bounds)
    if (refused) return refused
    const seq = ++this.givenSeq
    this.lastSeq = seq
    this.lastTime = message.storedAt
    this.sent = [...this.sent, { ...message, to: `${to}` }]
    this.entries = [...this.entries, ...to.map((user) => ({ user, seq, message, aside: false }))]
    return undefined
  }

  #refusal({ sender, content }: NewMessage, to: readonly string[], bounds: MailboxBounds): string | undefined {
    const ownIds = this.sent.filter((each) => each.sender === sender).length
    const fits = (most: number, held: number, own: number, more: number) => {
      const free = most - held - more
      return free >= 0 && (own === 0 || (own + more) * (100 - bounds.sharePercent) <= free * bounds.sharePercent)
    }
    if (ownIds >= bounds.senderIds || !fits(bounds.allIds, this.sent.length, ownIds, 1)) return 'rate-limited'
    const fitsAmong = (entries: readonly Entry[], most: number, more: number, sizeOf: (entry: Entry) => number) => {
      const own = entries.filter(({ message }) => message.sender === sender)
      return fits(most, sumOf(entries, sizeOf), sumOf(own, sizeOf), more)
    }
    const fitsIn = (user: string) => {
      const box = this.entries.filter((entry) => entry.user === user)
      return fitsAmong(box, bounds.messages, 1, one) && fitsAmong(box, bounds.bytes, content.length, bytesOf)
    }
    const fit = fitsAmong(this.entries, bounds.allMessages, to.length, one) && to.every(fitsIn)
    if (!fit) return 'mailbox-full'
    return fitsAmong(this.entries, bounds.allBytes, to.length * content.length, bytesOf) ? undefined : 'disk-full'
  }

  #expire(messagesBefore: number, idsBefore: number): unknown {
    this.lastTime = this.time
    this.sent = this.sent.filter(({ storedAt }) => storedAt >= idsBefore)
    const expired = this.entries.filter(({ message }) => message.storedAt < messagesBefore)
    this.entries = this.entries.filter((entry) => !expired.includes(entry))
    const counts = users.map((user) => ({ user, messages: expired.filter((entry) => entry.user === user).length }))
    return counts.filter(({ messages }) => messages > 0)
  }
}

/** Returns the content that a store shows. */
export async function shownBy(store: MailboxStore): Promise<unknown> {
  return {
    time: await store.lastTime(),
    lastSeq: await store.lastSeq(),
    levels: await store.levels(),
    boxes: await Promise.all(users.map(async (user) => (await all(store, user)).map(textOf))),
  }
}

const one = () => 1
const bytesOf = ({ message }: Entry) => message.content.length
const sumOf = (entries: readonly Entry[], sizeOf: (entry: Entry) => number) =>
  entries.reduce((sum, entry) => sum + sizeOf(entry), 0)

const textOf = ({ seq, sender, id, content }: Omit<StoredMessage, 'sentAt'>) =>
  `${seq} ${sender} ${id} ${content.length} times ${content[0]} to ${content.at(-1)}`

/** Concurrent calls, and whether the storage restarts after them. */
interface Turn {
  readonly calls: readonly Call[]
  readonly restart: boolean
}

const drawTurns = (draw: Draw): readonly Turn[] =>
  draw.some(1, 50, () => ({ calls: burstOf(draw.some(1, 8, () => drawCall(draw))), restart: draw.once(10) }))

/** Returns the promises of mailboxes under random calls, compared with a model. */
export function mailModelChecks(open: () => Promise<TestedStorage>, seed: number): Checks<undefined> {
  const check = async (turns: readonly Turn[]) => {
    await using storage = await open()
    const model = new MailModel()
    for (const { calls, restart } of [...turns, { calls: [], restart: true }]) {
      const made = calls.map((call) => model.make(call, storage.mailboxes))
      const outcomes = await Promise.all(made.map(({ done }) => done))
      const expected = made.map((call) => call.expected)
      assert.deepEqual(outcomes, expected)
      if (restart) await storage.restart()
      assert.deepEqual(await shownBy(storage.mailboxes), model.shown())
    }
    assert.deepEqual(await storage.mailboxes.damages(), [])
  }
  const textOf = ({ calls, restart }: Turn) => `${JSON.stringify(calls)}${restart ? ', then a restart' : ''}`
  return {
    'equal a simple model after random calls and restarts': () =>
      checkRandomRuns(seed, { runs: 12, draw: drawTurns, check, textOf }),
  }
}
