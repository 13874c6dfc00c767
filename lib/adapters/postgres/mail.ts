import { OspError } from '../../errors.ts'
import { fixed } from '../../limits.ts'
import { deviceKey } from '../../names.ts'
import type { ListedDevice, MailboxLevel, Settlement, StoredMessage, UserDevice } from '../../ports/mailboxes.ts'
import { tooManyDevices } from '../../storage/mailboxes/deviceRules.ts'
import { receiptStates } from '../../wire/protocol.ts'
import {
  type ClusterListeningLink,
  devicesRefused,
  type LeavingMessages,
  type ListenedMailbox,
  type ListenResult,
  type MailSteps,
  type PolledLinks,
  type PostRefusal,
  type PostResult,
} from '../cluster/mailSteps.ts'
import type { Database, Statement } from './database.ts'
import { arrayText, Positions, PostCall, type Posted } from './postCall.ts'

const functionCall = (name: string, parameters: number): Statement => ({
  name,
  text: `SELECT * FROM ospd.${name}(${Array.from({ length: parameters }, (_, at) => `$${at + 1}`).join(', ')})`,
})

/** Returns a call of a function that stores messages. It also returns the servers at which devices of the recipients listen. */
function postCall(name: string, parameters: number, columns: string, stored: string): Statement {
  const { text } = functionCall(name, parameters)
  const wakes = `CROSS JOIN LATERAL ospd.device_wakes_1($1, $2, $13, ${stored}) w`
  return { name, text: `${text.replace('*', `${columns}, w.*`)} p ${wakes}` }
}

const post = postCall('post_1', 25, 'p.*', 'p.stored')
const postLimited = postCall('post_limited_1', 27, 'p.*', 'p.stored')
const postAsking = postCall('post_asking_1', 29, 'p.too_many, (p.posted).*', '(p.posted).stored')
const remove = functionCall('remove_2', 6)
const answer: Statement = { name: 'answer_1', text: `${functionCall('answer_1', 9).text} AS receipts` }
const forgetIds = functionCall('forget_ids_1', 3)
const listen = functionCall('listen_2', 5)
const openDevices: Statement = {
  name: 'devices-open',
  text: 'SELECT ospd.open_devices_1($1, $2, $3, $4, $5) AS outcome',
}
const forgetDevices = functionCall('forget_devices_1', 6)
const dropAnswers: Statement = { name: 'answers-drop', text: 'SELECT ospd.drop_answers_1()' }

const oldDevices: Statement = {
  name: 'devices-old',
  text: 'SELECT DISTINCT b.name FROM ospd.device d JOIN ospd.box b ON b.id = d.box WHERE d.seen_at < $1',
}

const listDevices: Statement = {
  name: 'devices-list',
  text: `
    SELECT d.name, d.seen_at AS "seenAt",
        (SELECT count(*)::int FROM ospd.mail m WHERE m.box = d.box AND NOT m.aside
          AND NOT EXISTS (SELECT FROM ospd.answer a WHERE a.box = m.box AND a.seq = m.seq AND a.device = d.id)) AS waiting,
        EXISTS (
          SELECT FROM ospd.box r WHERE r.name = $1 || CASE d.name WHEN '' THEN '' ELSE '/' || d.name END
            AND r.reader IS NOT NULL AND r.reader_link <> 0) AS "isListening"
      FROM ospd.device d WHERE d.box = (SELECT id FROM ospd.box WHERE name = $1) ORDER BY d.name`,
}

// The content is fetched for the selected messages only. A scalar subquery finds answers by the index, and only for known devices.
const read: Statement = {
  name: 'mail-read',
  text: `
    SELECT f.at::int AS at, p.seq, s.name AS sender, p.id, p.sent_at AS "sentAt", p.expires_at AS "expiresAt", p.asks, coalesce(p.content, d.content) AS content
      FROM unnest($1::text[], $2::bigint[], $5::bigint[], $6::text[]) WITH ORDINALITY f(name, after, epoch, device, at)
      JOIN ospd.box b ON b.name = f.name AND CASE
        WHEN f.epoch IS NULL THEN true
        WHEN coalesce(f.device, '') = '' THEN b.epoch = f.epoch AND b.reader IS NOT NULL
        ELSE (SELECT r.epoch FROM ospd.box r WHERE r.name = f.name || '/' || f.device AND r.reader IS NOT NULL) = f.epoch END
      LEFT JOIN ospd.device k ON k.box = b.id AND k.name = f.device
      CROSS JOIN LATERAL (
        SELECT m.*, sum(m.bytes) OVER upwards AS total, row_number() OVER upwards AS number
          FROM ospd.mail m WHERE m.box = b.id AND m.seq > greatest(f.after, b.floor) AND NOT m.aside
            AND (k.id IS NULL OR (SELECT 1 FROM ospd.answer a WHERE a.box = m.box AND a.seq = m.seq AND a.device = k.id) IS NULL)
          WINDOW upwards AS (ORDER BY m.seq ROWS UNBOUNDED PRECEDING)
          ORDER BY m.seq LIMIT $3) p
      JOIN ospd.box s ON s.id = p.sender
      LEFT JOIN ospd.body d ON p.content IS NULL AND d.seq = p.seq
      WHERE p.total <= $4 OR p.number = 1
      ORDER BY f.at, p.seq`,
}

const list: Statement = {
  name: 'mail-list',
  text: `
    SELECT p.seq, s.name AS sender, p.id, p.sent_at AS "sentAt", p.expires_at AS "expiresAt", p.asks, coalesce(p.content, d.content) AS content
      FROM (
        SELECT m.*, sum(m.bytes) OVER upwards AS total, row_number() OVER upwards AS number
          FROM ospd.mail m WHERE m.box = (SELECT id FROM ospd.box WHERE name = $1) AND m.seq > $2 AND m.aside = $5
          WINDOW upwards AS (ORDER BY m.seq ROWS UNBOUNDED PRECEDING)
          ORDER BY m.seq LIMIT $3) p
      JOIN ospd.box s ON s.id = p.sender
      LEFT JOIN ospd.body d ON p.content IS NULL AND d.seq = p.seq
      WHERE p.total <= $4 OR p.number = 1
      ORDER BY p.seq`,
}

const returnAside: Statement = { name: 'mail-return', text: 'SELECT ospd.return_2($1, $2, $3, $4)' }

const findExpired: Statement = {
  name: 'mail-expired',
  text: `SELECT b.name, m.seq FROM ospd.mail m JOIN ospd.box b ON b.id = m.box WHERE m.stored_at < $1 OR m.expires_at <= $3 LIMIT $2`,
}

/** Whether the user of the mailbox `b` listens at no server, as text in SQL. */
const isFree = `b.reader IS NULL AND NOT EXISTS (
      SELECT FROM ospd.device d JOIN ospd.box r ON r.name = b.name || '/' || d.name WHERE d.box = b.id AND r.reader IS NOT NULL)`

const findOverdue: Statement = {
  name: 'mail-overdue',
  text: `SELECT b.name, m.seq FROM ospd.mail m JOIN ospd.box b ON b.id = m.box
    WHERE m.expires_at <= $1 AND ${isFree} ORDER BY m.expires_at LIMIT $2`,
}

const removeBodies: Statement = {
  name: 'mail-bodies',
  text: 'DELETE FROM ospd.body d WHERE NOT EXISTS (SELECT FROM ospd.mail m WHERE m.seq = d.seq)',
}

const readLastSeq: Statement = {
  name: 'mail-last-seq',
  text: 'SELECT coalesce(max(last_seq), 0) AS seq FROM ospd.box',
}

const readLevels: Statement = {
  name: 'mail-levels',
  text: `SELECT name AS user, messages, bytes FROM ospd.box WHERE messages > 0 ORDER BY messages DESC, name LIMIT $1`,
}

const attend: Statement = { name: 'mail-attend', text: 'SELECT ospd.attend_2($1, $2) AS attends' }

const unlisten: Statement = {
  name: 'mail-unlisten',
  text: `UPDATE ospd.box SET reader = NULL, reader_link = NULL, reader_session = NULL,
      handed = CASE WHEN position('/' IN name) > 0 THEN $3 ELSE greatest(handed, $3) END
    WHERE name = $1 AND epoch = $2 AND reader IS NOT NULL`,
}

// The registration of a device is in a separate box. The set operation never compares each link with each session.
const poll: Statement = {
  name: 'mail-poll',
  text: `
    SELECT split_part(b.name, '/', 1) AS user, split_part(b.name, '/', 2) AS device, b.reader_link AS link, b.epoch,
        CASE WHEN position('/' IN b.name) = 0 THEN b.last_seq
          ELSE (SELECT u.last_seq FROM ospd.box u WHERE u.name = split_part(b.name, '/', 1)) END AS "lastSeq"
      FROM ospd.box b WHERE b.reader = $1
    UNION ALL
    SELECT NULL, NULL, link, NULL, NULL FROM (
      SELECT unnest($2::bigint[]) EXCEPT SELECT s.link FROM ospd.session s WHERE s.server = $1) r (link)
    UNION ALL
    SELECT NULL, '', NULL, NULL, NULL WHERE EXISTS (SELECT FROM ospd.device)
    UNION ALL
    (SELECT NULL, NULL, NULL, NULL, m.expires_at FROM ospd.mail m JOIN ospd.box b ON b.id = m.box
      WHERE m.expires_at IS NOT NULL AND ${isFree} ORDER BY m.expires_at LIMIT 1)`,
}

/** The steps of mailboxes in SQL. */
export class PostgresMail implements MailSteps {
  readonly #database: Database

  constructor(database: Database) {
    this.#database = database
  }

  async post(...[server, messages, bounds, by]: Parameters<MailSteps['post']>): Promise<PostResult> {
    if (messages.some(({ receipt }) => receipt)) return this.#postAsking(server, messages, bounds, by)
    const call = new PostCall(messages, by)
    const { timesToLive } = call
    const parameters = call.parameters(server, bounds)
    const [posted] = timesToLive
      ? await this.#database.query<Posted>(postLimited, [...parameters, ...timesToLive])
      : await this.#database.query<Posted>(post, parameters)
    return resultOf(call, messages, posted)
  }

  /** Posts messages, some of which ask for receipts. */
  async #postAsking(...[server, messages, bounds, by = []]: Parameters<MailSteps['post']>): Promise<PostResult> {
    const call = new PostCall(messages, by)
    const [limited, expiresAt] = call.timesToLive ?? ['{}', '{}']
    const asking = messages.flatMap(({ receipt }, at) => (receipt ? [at + 1] : []))
    const values = [...call.parameters(server, bounds), limited, expiresAt, arrayText(asking), bounds.receipts]
    const [posted] = await this.#database.query<Posted & { readonly too_many: readonly number[] | null }>(
      postAsking,
      values,
    )
    if (!posted?.too_many) return resultOf(call, messages, posted)
    const refused = new Set(posted.too_many.map((position) => position - 1))
    const isLeft = (_: unknown, at: number) => !refused.has(at)
    const rest = await this.post(server, messages.filter(isLeft), bounds, by.filter(isLeft))
    let next = 0
    const tooMany = { code: 'too-many-receipts' } as const
    return { ...rest, outcomes: messages.map((_, at) => (refused.has(at) ? tooMany : rest.outcomes[next++])) }
  }

  async read(...[from, most, mostBytes]: Parameters<MailSteps['read']>): Promise<readonly StoredMessage[][]> {
    const found = from.map((): StoredMessage[] => [])
    const after = arrayText(from.map(({ afterSeq }) => afterSeq))
    const epochs = from.map(({ epoch }) => epoch ?? null)
    const devices = from.map(({ device }) => device ?? null)
    const values = [from.map(({ user }) => user), after, most, mostBytes, epochs, devices]
    for (const { at, ...row } of await this.#database.query<ReadRow & { readonly at: number }>(read, values)) {
      found[at - 1]?.push(messageOf(row))
    }
    return found
  }

  async list(
    ...[user, { aside, afterSeq, most, mostBytes }]: Parameters<MailSteps['list']>
  ): Promise<readonly StoredMessage[]> {
    const rows = await this.#database.query<ReadRow>(list, [user, afterSeq, most, mostBytes, aside])
    return rows.map(messageOf)
  }

  async return(...[server, user, seqs, storedAt]: Parameters<MailSteps['return']>): Promise<void> {
    if (seqs.length > 0) await this.#database.query(returnAside, [server, user, arrayText(seqs), storedAt])
  }

  async remove(server: number, messages: readonly LeavingMessages[]): Promise<readonly string[]> {
    return this.#answer(server, messages, false)
  }

  async setAside(server: number, messages: readonly LeavingMessages[]): Promise<readonly string[]> {
    return this.#answer(server, messages, true)
  }

  async #answer(server: number, messages: readonly LeavingMessages[], isRejected: boolean): Promise<readonly string[]> {
    const devices = messages.flatMap(({ seqs, how }) => seqs.map(() => how?.device ?? null))
    if (devices.length === 0) return []
    const settled = settlementOf(server, messages, isRejected ? 'rejected' : 'handled')
    const values = [...settled, devices, isRejected, receiptStates.rejected]
    const [answered] = await this.#database.query<Pick<LeftRow, 'receipts'>>(answer, values)
    return answered?.receipts ?? []
  }

  async expire(...[server, messagesBefore, idsBefore, most, wallTime = 0]: Parameters<MailSteps['expire']>) {
    const values = [messagesBefore, most, wallTime]
    const found = await this.#database.query<FoundRow>(findExpired, values)
    const removed = await this.#expired(server, found)
    const [ids] = await this.#database.query<{ forget_ids_1: number }>(forgetIds, [server, idsBefore, most])
    const isDone = found.length < most && (ids?.forget_ids_1 ?? 0) < most
    if (isDone) await this.#database.query(removeBodies)
    return { ...removed, isDone }
  }

  async expireOverdue(server: number, wallTime: number, most: number): ReturnType<MailSteps['expireOverdue']> {
    const found = await this.#database.query<FoundRow>(findOverdue, [wallTime, most])
    return this.#expired(server, found)
  }

  async #expired(server: number, found: readonly FoundRow[]): ReturnType<MailSteps['expireOverdue']> {
    const leaving = found.map(({ name: user, seq }) => ({ user, seqs: [seq] }))
    const settled = settlementOf(server, leaving, 'expired')
    const [removed] = found.length > 0 ? await this.#database.query<LeftRow>(remove, settled) : []
    const counts = flat(leaving).users.map((user, at) => ({ user, messages: removed?.gone[at] ?? 0 }))
    return { expired: counts.filter(({ messages }) => messages > 0), receipts: removed?.receipts ?? [] }
  }

  async lastSeq(): Promise<number> {
    const [row] = await this.#database.query<{ seq: number }>(readLastSeq)
    return row?.seq ?? 0
  }

  levels(most: number): Promise<readonly MailboxLevel[]> {
    return this.#database.query<MailboxLevel>(readLevels, [most])
  }

  async listen({ user, device, server, link, session }: ClusterListeningLink): Promise<ListenResult> {
    const [row] = await this.#database.query<ListenRow>(listen, [user, device, server, link, session])
    if (!row) throw new OspError('superseded', `another program of ${user} receives the messages`)
    const { epoch, handed, former, former_link } = row
    const isReplaced = former !== null && former_link !== null
    return { epoch, handed, ...(isReplaced ? { former: { server: former, link: former_link } } : {}) }
  }

  async unlisten(key: UserDevice, epoch: number, handed: number): Promise<void> {
    const box = key.device === '' ? key.user : deviceKey(key)
    await this.#database.query(unlisten, [box, epoch, handed])
  }

  async openDevices(...[user, devices, now, most]: Parameters<MailSteps['openDevices']>): Promise<void> {
    const values = [user, devices, now, most, fixed.deviceSeenMs]
    const [row] = await this.#database.query<{ outcome: 'opened' | 'full' | 'mixed' }>(openDevices, values)
    if (row?.outcome === 'full') throw tooManyDevices(user, most)
    if (row?.outcome === 'mixed') throw devicesRefused()
  }

  async forgetDevices(server: number, before: number): ReturnType<MailSteps['forgetDevices']> {
    const forgotten: UserDevice[] = []
    const receipts = new Set<string>()
    for (const { name: user } of await this.#database.query<{ readonly name: string }>(oldDevices, [before])) {
      const found = await this.#forgetDevices(server, user, null, before)
      for (const device of found.names) forgotten.push({ user, device })
      for (const owner of found.receipts ?? []) receipts.add(owner)
    }
    await this.#database.query(dropAnswers)
    return { forgotten, receipts: [...receipts] }
  }

  async removeDevice(server: number, device: UserDevice): ReturnType<MailSteps['removeDevice']> {
    const { outcome, names, receipts } = await this.#forgetDevices(server, device.user, device.device, null)
    if (outcome === 'listening') throw new OspError('device-listening')
    return { isRemoved: names.length > 0, receipts: [...new Set(receipts)] }
  }

  /** Forgets the device of this name, or those that were last opened before `before`. */
  async #forgetDevices(
    server: number,
    user: string,
    name: string | null,
    before: number | null,
  ): Promise<ForgottenRow> {
    const values = [server, user, name, before, receiptStates.handled, receiptStates.rejected]
    for (;;) {
      const [row] = await this.#database.query<ForgottenRow>(forgetDevices, values)
      if (!row) throw new OspError('internal', 'the database returned no result for devices')
      if (row.outcome !== 'again') return row
    }
  }

  listDevices(user: string): ReturnType<MailSteps['listDevices']> {
    return this.#database.query<ListedDevice>(listDevices, [user])
  }

  async attend(server: number, user: string): Promise<boolean> {
    const [row] = await this.#database.query<{ attends: boolean }>(attend, [server, user])
    return row?.attends === true
  }

  async poll(server: number, links: readonly number[]): Promise<PolledLinks> {
    const rows = await this.#database.query<PollRow>(poll, [server, arrayText(links)])
    const listened = rows.flatMap((row) => (row.user === null ? [] : row))
    const replaced = rows.flatMap(({ user, link }) => (user === null && link !== null ? link : []))
    const others = rows.filter(({ link }) => link === null)
    const nextExpiry = others.find(({ device }) => device === null)?.lastSeq
    const hasDevices = others.some(({ device }) => device !== null)
    return { listened, replaced, hasDevices, ...(typeof nextExpiry === 'number' && { nextExpiry }) }
  }
}

/**
 * A registration, a link that is not the current link of its session, the time of the next expiry as `lastSeq`, or, if there are
 * known devices, a device without a link.
 */
type PollRow =
  | ListenedMailbox
  | {
      readonly user: null
      readonly device: string | null
      readonly link: number | null
      readonly lastSeq: number | null
    }

/** The result of `forget_devices_1`. */
interface ForgottenRow {
  readonly outcome: 'done' | 'again' | 'listening'
  readonly names: readonly string[]
  /** The users with new receipts. */
  readonly receipts: readonly string[] | null
}

/** A message of the mailbox of this name. */
interface FoundRow {
  readonly name: string
  readonly seq: number
}

/** The result of messages that leave mailboxes: the users with new receipts, and the number of messages for each mailbox. */
interface LeftRow {
  readonly receipts: readonly string[] | null
  readonly gone: readonly number[]
}

/** Returns the result of a post. Throws OspError `internal` if there is none. */
function resultOf(call: PostCall, messages: readonly unknown[], posted: Posted | undefined): PostResult {
  if (!posted) throw new OspError('internal', 'the database returned no result for messages')
  const outcomes: (PostRefusal | undefined)[] = messages.map(() => undefined)
  const wakes = call.results(posted, (at, refusal) => {
    outcomes[at] = refusal
  })
  return { outcomes, stored: posted.stored ?? 0, wakes }
}

interface ReadRow extends Omit<StoredMessage, 'id' | 'content' | 'expiresAt' | 'receipt'> {
  readonly expiresAt: number | null
  readonly asks: boolean
  readonly id: string
  readonly content: Buffer
}

function messageOf({ id, content, expiresAt, asks, ...message }: ReadRow): StoredMessage {
  const end = expiresAt === null ? {} : { expiresAt }
  const receipt = asks ? { receipt: true } : {}
  return { ...message, ...end, ...receipt, id: bytesOf(id), content: plain(content) }
}

interface ListenRow {
  readonly epoch: number
  readonly handed: number
  readonly former: number | null
  readonly former_link: number | null
}

/** Returns the parameters of functions for messages that leave mailboxes. `state` applies to messages without another one. */
function settlementOf(server: number, messages: readonly LeavingMessages[], state: Settlement['state']): unknown[] {
  const { users, positions, seqs } = flat(messages)
  const states = messages.flatMap(({ seqs: own, how }) => own.map(() => receiptStates[how?.state ?? state]))
  const results = messages.flatMap(({ seqs: own, how }) => own.map((seq) => Buffer.from(how?.results?.get(seq) ?? '')))
  return [server, users, arrayText(positions), arrayText(seqs), arrayText(states), results]
}

/** Returns the seqs in one list, with the position of the user of each. */
function flat(messages: readonly LeavingMessages[]) {
  const users = new Positions()
  const positions: number[] = []
  const seqs: number[] = []
  for (const { user, seqs: own } of messages) {
    const position = users.of(user)
    for (const seq of own) {
      positions.push(position)
      seqs.push(seq)
    }
  }
  return { users: users.names, positions, seqs }
}

/** Returns the bytes of a uuid. */
const bytesOf = (uuid: string): Uint8Array => plain(Buffer.from(uuid.replaceAll('-', ''), 'hex'))

// Some methods of a Buffer differ from those of a Uint8Array.
const plain = ({ buffer, byteOffset, length }: Buffer): Uint8Array => new Uint8Array(buffer, byteOffset, length)
