import { crc32 } from 'node:zlib'
import type { AddressedMessage, MailboxBounds } from '../../ports/mailboxes.ts'
import type { PostRefusal, Wake } from '../cluster/mailSteps.ts'
import type { ClusterSessionLink } from '../cluster/steps.ts'

/** The result of `ospd.post_1` and of `ospd.device_wakes_1`, with positions from 1. */
export interface Posted {
  readonly lost: readonly number[] | null
  readonly reused: readonly number[] | null
  readonly limited: readonly number[] | null
  readonly no_space: readonly number[] | null
  readonly full_message: readonly number[] | null
  readonly full_user: readonly number[] | null
  readonly wake_server: readonly number[] | null
  readonly wake_user: readonly number[] | null
  readonly stored: number | null
  readonly device_server: readonly number[] | null
  readonly device_user: readonly number[] | null
}

/** The parameters of one call of `ospd.post_1` or `ospd.post_limited_1`. */
export class PostCall {
  readonly #users = new Positions()
  readonly #pairs = new Positions()
  readonly #columns = {
    sender: [] as number[],
    id: [] as string[],
    print: [] as number[],
    sentAt: [] as number[],
    storedAt: [] as number[],
    from: [] as number[],
    bytes: [] as number[],
    first: [] as number[],
    by: [] as number[],
  }
  /** The links over which the messages came, with their users. */
  readonly #links = { user: [] as number[], session: [] as string[], link: [] as number[] }
  readonly #positions = new Map<ClusterSessionLink, number>()
  readonly #deliveries = { message: [] as number[], to: [] as number[], pair: [] as number[] }
  /** The position of the first message with each sender and id. */
  readonly #ids = new Map<string, number>()
  /** The positions of the messages with a time to live, and their expiry times. */
  readonly #limited = { message: [] as number[], expiresAt: [] as number[] }
  readonly #contents: Uint8Array[] = []
  #contentBytes = 0

  constructor(messages: readonly AddressedMessage[], by: readonly (ClusterSessionLink | undefined)[] = []) {
    for (const [at, message] of messages.entries()) this.#add(at + 1, message, by[at])
  }

  #add(position: number, message: AddressedMessage, by: ClusterSessionLink | undefined): void {
    const { sender, id, sentAt, storedAt, expiresAt, content, recipients } = message
    const from = this.#users.of(sender)
    const { sender: senders, ...columns } = this.#columns
    senders.push(from)
    const digits = Buffer.from(id).toString('hex')
    columns.id.push(digits)
    const key = `${digits} ${from}`
    const first = this.#ids.get(key) ?? position
    this.#ids.set(key, first)
    columns.first.push(first)
    columns.print.push(fingerprintOf(message))
    columns.sentAt.push(sentAt)
    columns.storedAt.push(storedAt)
    if (expiresAt !== undefined) {
      this.#limited.message.push(position)
      this.#limited.expiresAt.push(expiresAt)
    }
    columns.from.push(this.#contentBytes + 1)
    columns.bytes.push(content.length)
    columns.by.push(by ? this.#positionOf(by) : 0)
    this.#contents.push(content)
    this.#contentBytes += content.length
    for (const recipient of recipients) {
      const to = this.#users.of(recipient)
      this.#deliveries.message.push(position)
      this.#deliveries.to.push(to)
      this.#deliveries.pair.push(this.#pairs.of(`${from} ${to}`))
    }
  }

  #positionOf(by: ClusterSessionLink): number {
    const known = this.#positions.get(by)
    if (known !== undefined) return known
    const { user, session, link } = this.#links
    const position = user.push(this.#users.of(by.user))
    session.push(by.session)
    link.push(by.link)
    this.#positions.set(by, position)
    return position
  }

  parameters(server: number, bounds: MailboxBounds): unknown[] {
    const { sender, id, print, sentAt, storedAt, from, bytes, first, by } = this.#columns
    const { message, to, pair } = this.#deliveries
    const { user, session, link } = this.#links
    return [
      server,
      this.#users.names,
      ...[sender, id, print, sentAt, storedAt, from, bytes, first].map(arrayText),
      Buffer.concat(this.#contents, this.#contentBytes),
      ...[message, to, pair, by, user, session, link].map(arrayText),
      ...[bounds.messages, bounds.bytes, bounds.senderIds],
      ...[bounds.allMessages, bounds.allBytes, bounds.allIds, bounds.sharePercent],
    ]
  }

  /** The further parameters of `ospd.post_limited_1`, if a message has a time to live. */
  get timesToLive(): unknown[] | undefined {
    const { message, expiresAt } = this.#limited
    return message.length > 0 ? [arrayText(message), arrayText(expiresAt)] : undefined
  }

  /** Calls `refuse` with the index of each refused message. Returns the registered recipients at other servers. */
  results(posted: Posted, refuse: (at: number, refusal: PostRefusal) => void): readonly Wake[] {
    for (const position of posted.lost ?? []) refuse(position - 1, { code: 'link-lost' })
    for (const position of posted.reused ?? []) refuse(position - 1, { code: 'id-reused' })
    for (const position of posted.limited ?? []) refuse(position - 1, { code: 'rate-limited' })
    for (const position of posted.no_space ?? []) refuse(position - 1, { code: 'disk-full' })
    const full = new Map<number, string[]>()
    for (const [at, position] of (posted.full_message ?? []).entries()) {
      const recipients = full.get(position) ?? []
      full.set(position, recipients)
      recipients.push(this.#users.name(posted.full_user?.[at] ?? 0))
    }
    for (const [position, recipients] of full) {
      refuse(position - 1, { code: 'mailbox-full', recipients })
    }
    const refused = new Set(
      [posted.lost, posted.reused, posted.limited, posted.no_space, full.keys()].flatMap((positions) => [
        ...(positions ?? []),
      ]),
    )
    const { message, to } = this.#deliveries
    const reached = new Set(to.filter((_, at) => !refused.has(message[at] ?? 0)))
    return this.#wakes(posted).flatMap(({ server, position }) =>
      reached.has(position) ? [{ server, user: this.#users.name(position) }] : [],
    )
  }

  /** Returns the servers at which users listen, with the positions of the users. */
  #wakes({ wake_server, wake_user, device_server, device_user }: Posted) {
    const users = [...(wake_user ?? []), ...(device_user ?? [])]
    return [...(wake_server ?? []), ...(device_server ?? [])].map((server, at) => ({
      server,
      position: users[at] ?? 0,
    }))
  }
}

/** Distinct names, and their positions from 1. */
export class Positions {
  readonly names: string[] = []
  readonly #positions = new Map<string, number>()

  of(name: string): number {
    const known = this.#positions.get(name)
    if (known !== undefined) return known
    const position = this.names.push(name)
    this.#positions.set(name, position)
    return position
  }

  name(position: number): string {
    return this.names[position - 1] ?? ''
  }
}

/** Returns an array of numbers or hexadecimal digits as PostgreSQL reads it. The package `pg` would quote each element. */
export const arrayText = (values: readonly (number | string)[]): string => `{${values.join(',')}}`

/**
 * Returns the CRC-32 of recipients and content, as a signed number. It must be equal for two messages with the same sender and
 * id. The journal of a single server uses the same one (`bodyFingerprintOf`), so imported ids remain valid.
 */
function fingerprintOf({ recipients, content }: AddressedMessage): number {
  let print = crc32(lengthBytes(recipients.length))
  for (const recipient of recipients) {
    const name = Buffer.from(recipient)
    print = crc32(name, crc32(lengthBytes(name.length), print))
  }
  return crc32(content, print) | 0
}

const lengthBytes = (length: number) => Uint8Array.of(length >> 8, length)
