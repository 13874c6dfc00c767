import type { Steps } from '../../../lib/adapters/cluster/steps.ts'
import { deviceKey } from '../../../lib/names.ts'
import type { AddressedMessage, MailboxBounds, MailboxLevel, StoredMessage } from '../../../lib/ports/mailboxes.ts'
import type { FileNotices } from '../fileNotices.ts'
import { sameBytes } from '../files.ts'
import type { LinkWatch } from '../linkWatch.ts'
import { recipientOf } from '../messageActor.ts'
import type { MessageInvariants } from '../messageInvariants.ts'
import { keyOf } from '../post.ts'
import type { SimulatedProcess } from '../process.ts'
import type { Trace } from '../trace.ts'
import { isKnownIn } from '../watchedMailboxes.ts'

type Post = Steps['mail']['post']
type Outcome = Awaited<ReturnType<Post>>['outcomes'][number]
/** The messages of a mailbox. */
type Found = readonly StoredMessage[]

/** The parts of a world that the checks of its store use. */
interface StoreParts {
  readonly trace: Trace
  readonly mail: { readonly invariants: MessageInvariants; readonly watch: LinkWatch }
  readonly stored: { readonly notices: FileNotices }
}

const all = Number.MAX_SAFE_INTEGER

/** Checks what the steps of messages change in the shared store, at the moment when they do. */
export class StoreWatch {
  readonly #parts: StoreParts
  /** The server at which each device has listened last. */
  readonly #listeners = new Map<string, number>()
  /** By key. */
  readonly #by = new Map<string, SimulatedProcess | undefined>()
  /** Called with each message in each mailbox when it is stored. */
  stored: (user: string, seq: number) => void = () => {}

  constructor(parts: StoreParts) {
    this.#parts = parts
  }

  /** Returns the server that has stored a message, if the message was sent to the store once. */
  storedOnceBy(key: string): SimulatedProcess | undefined {
    return this.#by.get(key)
  }

  /** Returns the steps of a server. */
  watched(process: SimulatedProcess, steps: Steps): Steps {
    const { mail } = steps
    const { watch } = this.#parts.mail
    const { invariants } = this.#parts.mail
    /** Runs a step of messages that leave their mailboxes, and reports those for which it has an effect. */
    const leaving = async (
      messages: Parameters<Steps['mail']['setAside']>[1],
      step: () => Promise<readonly string[]>,
    ) => {
      const unremoved = messages.map(({ user, how }) => invariants.isUnremoved(user, how?.device))
      const listed = Promise.all(messages.map(({ user }) => mail.listDevices(user)))
      const users = await step()
      const known = await listed
      for (const [at, { user, seqs, how }] of messages.entries())
        if (isKnownIn(known[at], how?.device) && unremoved[at]?.()) watch.gone(recipientOf(user, how?.device), seqs)
      return users
    }
    return {
      ...steps,
      mail: {
        ...mail,
        listen: async (link) => {
          const result = await mail.listen(link)
          this.#listeners.set(deviceKey(link), link.server)
          return result
        },
        unlisten: (...given) => this.#unlisten(mail, given),
        openDevices: (...given) => this.#openDevices(mail, given),
        post: (...given) => {
          for (const { sender, id } of given[1]) {
            const key = keyOf(sender, id)
            this.#by.set(key, this.#by.has(key) ? undefined : process)
          }
          return this.#post(mail, given)
        },
        remove: (server, messages) => leaving(messages, () => mail.remove(server, messages)),
        setAside: (server, messages) => leaving(messages, () => mail.setAside(server, messages)),
        removeDevice: async (server, device) => {
          const removed = await mail.removeDevice(server, device)
          if (removed.isRemoved) {
            invariants.removed(device.user, device.device)
            watch.removed(recipientOf(device.user, device.device))
          }
          return removed
        },
      },
    }
  }

  /** Checks that the end of a registration ends no other one. */
  async #unlisten(mail: Steps['mail'], given: Parameters<Steps['mail']['unlisten']>): Promise<void> {
    const [{ user, device }, epoch] = given
    const server = this.#listeners.get(deviceKey({ user, device })) ?? 0
    const others = async () =>
      (await mail.poll(server, [])).listened.filter(
        (each) => each.user === user && each.device === device && each.epoch !== epoch,
      )
    const before = others()
    const ended = mail.unlisten(...given)
    const after = others()
    await ended
    const isEnded = (await before).length > (await after).length
    if (isEnded) this.#parts.trace.fail(`the end of an earlier registration of ${user} ends the present one`)
  }

  /** The store runs these steps one after another, so that the device must receive what it finds, and all later messages. */
  async #openDevices(mail: Steps['mail'], given: Parameters<Steps['mail']['openDevices']>): Promise<void> {
    const [user, devices] = given
    const { invariants } = this.#parts.mail
    const isNew = (device: string) => device !== '' && !invariants.isKnown(user, device)
    const found = mail.read(
      devices.map((device) => ({ user, afterSeq: 0, device })),
      all,
      all,
    )
    const unremoved = devices.map((device) => invariants.isUnremoved(user, device))
    const [, boxes] = await Promise.all([mail.openDevices(...given), found])
    for (const [at, device] of devices.entries())
      if (isNew(device) && unremoved[at]?.()) invariants.opened(user, device, boxes[at] ?? [])
  }

  /** The store runs these steps one after another, so that none changes a mailbox between the post and the reads. */
  async #post(mail: Steps['mail'], given: Parameters<Post>): Promise<Awaited<ReturnType<Post>>> {
    const [, messages, bounds] = given
    const users = [...new Set(messages.flatMap(({ recipients }) => recipients))]
    const { invariants } = this.#parts.mail
    const { notices } = this.#parts.stored
    notices.appending(messages)
    const last = mail.lastSeq()
    const posted = mail.post(...given)
    const reads = mail.read(
      users.map((user) => ({ user, afterSeq: 0 })),
      all,
      all,
    )
    const levels = mail.levels(all)
    const result = await posted
    const after = await last
    const boxes = (await reads).map((box) => box.filter(({ seq }) => seq > after))
    const found = new Map(users.map((user, at) => [user, boxes[at] ?? []]))
    const known = messages.map((message, at) => this.#wasStored(message, result.outcomes[at]))
    for (const [at, message] of messages.entries()) {
      const code = result.outcomes[at]?.code
      // A server may have stopped before it knew that it had appended a message about a file.
      if (code && (code !== 'id-reused' || !notices.isNotice(message))) continue
      invariants.stored(message.sender, message.id)
      notices.appended(message)
    }
    for (const [at, message] of messages.entries())
      this.#outcome(message, result.outcomes[at], known[at] === true, found)
    for (const [user, box] of found) for (const { seq } of box) this.stored(user, seq)
    this.#checkBounds(await levels, found, bounds)
    return result
  }

  /** Servers with higher limits can have filled mailboxes before, so that a post is checked only if it has added messages (`added`). */
  #checkBounds(levels: readonly MailboxLevel[], added: ReadonlyMap<string, Found>, bounds: MailboxBounds): void {
    const hasAdded = (user: string) => (added.get(user)?.length ?? 0) > 0
    const total = levels.reduce((sum, { bytes }) => sum + bytes, 0)
    if (total > bounds.allBytes && [...added.keys()].some(hasAdded))
      this.#parts.trace.fail(`messages of ${total} bytes wait`)
    for (const { user, messages, bytes } of levels) {
      const isFull = messages > bounds.messages || bytes > bounds.bytes
      if (isFull && hasAdded(user))
        this.#parts.trace.fail(`the mailbox of ${user} has ${messages} messages of ${bytes} bytes`)
    }
  }

  /** Returns whether a message was stored by an earlier step. Counts the steps that have stored it, or have found it stored. */
  #wasStored({ sender, id }: AddressedMessage, refusal: Outcome): boolean {
    const { invariants } = this.#parts.mail
    const wasStored = invariants.isStored(sender, id)
    if (!refusal) invariants.appending(sender, id)
    return wasStored
  }

  /** `wasKnown`: whether the message was stored by an earlier step. */
  #outcome(message: AddressedMessage, refusal: Outcome, wasKnown: boolean, found: ReadonlyMap<string, Found>): void {
    const { invariants } = this.#parts.mail
    const { sender, id, recipients } = message
    const copies = new Map(recipients.map((user) => [user, found.get(user)?.filter(isCopyOf(message)) ?? []]))
    const counts = Array.from(copies.values(), ({ length }) => length)
    const isKnown = invariants.isStored(sender, id)
    const isFound = counts.every((count) => count === 1)
    const isNowhere = counts.every((count) => count === 0)
    const seqs = new Set(Array.from(copies.values()).flatMap((box) => box.map(({ seq }) => seq)))
    const isWhole = isNowhere ? refusal !== undefined || wasKnown : isFound && isKnown
    if (!isWhole || seqs.size > 1) {
      const where = Array.from(copies, ([user, { length }]) => `${length} times for ${user}`).join(', ')
      const what = refusal ? `was refused (${refusal.code})` : 'was stored'
      this.#parts.trace.fail(`the message ${keyOf(sender, id)} ${what}, and is there ${where}`)
    }
    if (refusal && refusal.code !== 'id-reused' && refusal.code !== 'link-lost') invariants.refusedForNow(sender, id)
  }
}

const isCopyOf =
  ({ sender, id, content }: AddressedMessage) =>
  (stored: StoredMessage) =>
    stored.sender === sender && sameBytes(stored.id, id) && sameBytes(stored.content, content)
