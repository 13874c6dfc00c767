import { OspError } from '../../errors.ts'
import type { Expired, MailboxLevel, StoredMessage } from '../../ports/mailboxes.ts'
import type {
  LeavingMessages,
  ListenedMailbox,
  ListenResult,
  MailSteps,
  PolledLinks,
  PostRefusal,
  PostResult,
} from '../cluster/mailSteps.ts'
import type { ClusterSessionLink } from '../cluster/steps.ts'
import type { Database, Statement } from './database.ts'
import { arrayText, Positions, PostCall, type Posted } from './postCall.ts'

const functionCall = (name: string, parameters: number): Statement => ({
  name,
  text: `SELECT * FROM ospd.${name}(${Array.from({ length: parameters }, (_, at) => `$${at + 1}`).join(', ')})`,
})

const post = functionCall('post_1', 25)
const postLimited = functionCall('post_limited_1', 27)
const remove = functionCall('remove_1', 4)
const setAside = functionCall('set_aside_1', 3)
const forgetIds = functionCall('forget_ids_1', 3)
const listen = functionCall('listen_1', 4)

// The content is fetched for the selected messages only.
const read: Statement = {
  name: 'mail-read',
  text: `
    SELECT f.at::int AS at, p.seq, s.name AS sender, p.id, p.sent_at AS "sentAt", p.expires_at AS "expiresAt", coalesce(p.content, d.content) AS content
      FROM unnest($1::text[], $2::bigint[], $5::bigint[]) WITH ORDINALITY f(name, after, epoch, at)
      JOIN ospd.box b ON b.name = f.name AND (f.epoch IS NULL OR (b.epoch = f.epoch AND b.reader IS NOT NULL))
      CROSS JOIN LATERAL (
        SELECT m.*, sum(m.bytes) OVER upwards AS total, row_number() OVER upwards AS number
          FROM ospd.mail m WHERE m.box = b.id AND m.seq > greatest(f.after, b.floor) AND NOT m.aside
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
    SELECT p.seq, s.name AS sender, p.id, p.sent_at AS "sentAt", p.expires_at AS "expiresAt", coalesce(p.content, d.content) AS content
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
  text: `UPDATE ospd.box SET reader = NULL, reader_link = NULL, reader_session = NULL, handed = greatest(handed, $3)
    WHERE name = $1 AND epoch = $2 AND reader IS NOT NULL`,
}

// The set operation never compares each link with each session.
const poll: Statement = {
  name: 'mail-poll',
  text: `
    SELECT name AS user, reader_link AS link, epoch, last_seq AS "lastSeq" FROM ospd.box WHERE reader = $1
    UNION ALL
    SELECT NULL, link, NULL, NULL FROM (
      SELECT unnest($2::bigint[]) EXCEPT SELECT s.link FROM ospd.session s WHERE s.server = $1) r (link)`,
}

/** The steps of mailboxes in SQL. */
export class PostgresMail implements MailSteps {
  readonly #database: Database

  constructor(database: Database) {
    this.#database = database
  }

  async post(...[server, messages, bounds, by]: Parameters<MailSteps['post']>): Promise<PostResult> {
    const outcomes: (PostRefusal | undefined)[] = messages.map(() => undefined)
    if (messages.some(({ receipt }) => receipt)) return this.#postPlain(server, messages, bounds, by)
    const call = new PostCall(messages, by)
    const { timesToLive } = call
    const parameters = call.parameters(server, bounds)
    const [posted] = timesToLive
      ? await this.#database.query<Posted>(postLimited, [...parameters, ...timesToLive])
      : await this.#database.query<Posted>(post, parameters)
    if (!posted) throw new OspError('internal', 'the database has returned no result for messages')
    const wakes = call.results(posted, (at, refusal) => {
      outcomes[at] = refusal
    })
    return { outcomes, stored: posted.stored ?? 0, wakes }
  }

  /** Refuses messages that ask for receipts, and posts the others. */
  async #postPlain(...[server, messages, bounds, by = []]: Parameters<MailSteps['post']>): Promise<PostResult> {
    const isPlain = (at: number) => messages[at]?.receipt !== true
    const plain = messages.filter((_, at) => isPlain(at))
    const links = by.filter((_, at) => isPlain(at))
    const { outcomes, ...result } = await this.post(server, plain, bounds, links)
    let next = 0
    const all = messages.map((_, at) => (isPlain(at) ? outcomes[next++] : ({ code: 'too-many-receipts' } as const)))
    return { ...result, outcomes: all }
  }

  async read(...[from, most, mostBytes]: Parameters<MailSteps['read']>): Promise<readonly StoredMessage[][]> {
    const found = from.map((): StoredMessage[] => [])
    const after = arrayText(from.map(({ afterSeq }) => afterSeq))
    const epochs = from.map(({ epoch }) => epoch ?? null)
    const values = [from.map(({ user }) => user), after, most, mostBytes, epochs]
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
    const { users, positions, seqs } = flat(messages)
    if (seqs.length > 0) await this.#database.query(remove, [server, users, arrayText(positions), arrayText(seqs)])
    return []
  }

  async setAside(_server: number, messages: readonly LeavingMessages[]): Promise<readonly string[]> {
    const { users, positions, seqs } = flat(messages)
    if (seqs.length > 0) await this.#database.query(setAside, [users, arrayText(positions), arrayText(seqs)])
    return []
  }

  async expire(...[server, messagesBefore, idsBefore, most, wallTime = 0]: Parameters<MailSteps['expire']>) {
    const values = [messagesBefore, most, wallTime]
    const found = await this.#database.query<{ name: string; seq: number }>(findExpired, values)
    const expired = await this.#removeExpired(server, found)
    const [ids] = await this.#database.query<{ forget_ids_1: number }>(forgetIds, [server, idsBefore, most])
    const isDone = found.length < most && (ids?.forget_ids_1 ?? 0) < most
    if (isDone) await this.#database.query(removeBodies)
    return { expired, receipts: [], isDone }
  }

  async #removeExpired(server: number, found: readonly { name: string; seq: number }[]): Promise<readonly Expired[]> {
    const { users, positions, seqs } = flat(found.map(({ name, seq }) => ({ user: name, seqs: [seq] })))
    if (seqs.length === 0) return []
    const values = [server, users, arrayText(positions), arrayText(seqs)]
    const [removed] = await this.#database.query<{ remove_1: readonly number[] }>(remove, values)
    const expired = users.map((user, at) => ({ user, messages: removed?.remove_1[at] ?? 0 }))
    return expired.filter(({ messages }) => messages > 0)
  }

  async lastSeq(): Promise<number> {
    const [row] = await this.#database.query<{ seq: number }>(readLastSeq)
    return row?.seq ?? 0
  }

  levels(most: number): Promise<readonly MailboxLevel[]> {
    return this.#database.query<MailboxLevel>(readLevels, [most])
  }

  async listen({ user, server, link, session }: ClusterSessionLink): Promise<ListenResult> {
    const [row] = await this.#database.query<ListenRow>(listen, [user, server, link, session])
    if (!row) throw new OspError('superseded', `another program of ${user} receives the messages`)
    const { epoch, handed, former, former_link } = row
    const isReplaced = former !== null && former_link !== null
    return { epoch, handed, ...(isReplaced ? { former: { server: former, link: former_link } } : {}) }
  }

  async unlisten(user: string, epoch: number, handed: number): Promise<void> {
    await this.#database.query(unlisten, [user, epoch, handed])
  }

  async attend(server: number, user: string): Promise<boolean> {
    const [row] = await this.#database.query<{ attends: boolean }>(attend, [server, user])
    return row?.attends === true
  }

  async poll(server: number, links: readonly number[]): Promise<PolledLinks> {
    const rows = await this.#database.query<PollRow>(poll, [server, arrayText(links)])
    const listened = rows.flatMap((row) => (row.user === null ? [] : row))
    return { listened, replaced: rows.flatMap(({ user, link }) => (user === null ? link : [])) }
  }
}

/** A registration, or a link that is not that of its session. */
type PollRow = ListenedMailbox | { readonly user: null; readonly link: number }

interface ReadRow extends Omit<StoredMessage, 'id' | 'content' | 'expiresAt'> {
  readonly expiresAt: number | null
  readonly id: string
  readonly content: Buffer
}

function messageOf({ id, content, expiresAt, ...message }: ReadRow): StoredMessage {
  const end = expiresAt === null ? {} : { expiresAt }
  return { ...message, ...end, id: bytesOf(id), content: plain(content) }
}

interface ListenRow {
  readonly epoch: number
  readonly handed: number
  readonly former: number | null
  readonly former_link: number | null
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
