import { OspError } from '../../errors.ts'
import { nameKey } from '../../names.ts'
import type { TransferRecord } from '../../ports/storage.ts'
import type { CopiedDevices, CopiedId, CopiedMessage } from '../../storage/mailboxes/copies.ts'
import type { ImportedMarker, ImportOrigin, ImportSteps, StoredImport, StoredUser } from '../cluster/steps.ts'
import type { Database, Statement } from './database.ts'
import { arrayText, Positions } from './postCall.ts'
import { durableOffset, packedCheckpoints } from './transferRows.ts'

interface ImportRow extends Omit<StoredImport, 'finishedAt'> {
  readonly finishedAt: number | null
}

/** The steps of imports in SQL. */
export class PostgresImports implements ImportSteps {
  readonly #database: Database

  constructor(database: Database) {
    this.#database = database
  }

  async list(): Promise<readonly StoredImport[]> {
    return (await this.#database.query<ImportRow>(statements.list)).map(importOf)
  }

  async usedNames(): Promise<readonly string[]> {
    const rows = await this.#database.query<{ name: string }>(statements.usedNames)
    return rows.map(({ name }) => name)
  }

  async begin({ id, place, lastSeq, lastTime }: ImportOrigin): Promise<StoredImport> {
    const [row] = await this.#database.query<ImportRow>(statements.begin, [id, place, lastSeq, lastTime])
    if (!row) throw new Error('the database has returned no row for an import')
    return importOf(row)
  }

  async addUsers(users: readonly StoredUser[]): Promise<void> {
    const names = users.map(({ name }) => name)
    const hashes = users.map(({ tokenHash }) => Buffer.from(tokenHash).toString('hex'))
    const values = [names, names.map(nameKey), hashes, users.map(({ since }) => since)]
    const [row] = await this.#database.query<{ other: string | null }>(statements.addUsers, values)
    if (typeof row?.other !== 'string') return
    throw new OspError('name-conflict', `an imported user is too similar to the user ${row.other} of the cluster`)
  }

  async addMarkers(server: number, markers: readonly ImportedMarker[]): Promise<void> {
    await this.#database.query(statements.addMarkers, [
      server,
      markers.map(({ file }) => file.user),
      markers.map(({ file }) => file.name),
      markers.map(({ file }) => JSON.stringify(file)),
      markers.map(({ modifiedAt }) => modifiedAt),
      markers.map(({ version }) => version),
      markers.map(({ reported }) => reported),
      markers.map(({ until }) => until),
    ])
  }

  async addUpload(server: number, record: TransferRecord): Promise<void> {
    const { user, name, size, modifiedAt, algorithm, owner, superseded, checkpoints, updatedAt } = record
    await this.#database.query(statements.addUpload, [
      ...[server, user, name, size, modifiedAt, algorithm, owner.session, superseded],
      ...[packedCheckpoints(checkpoints), durableOffset(checkpoints)],
      record.verified ? JSON.stringify(record.verified) : null,
      ...[record.verifiedStamp ?? null, updatedAt, record.metadata ? JSON.stringify(record.metadata) : null],
      record.storeAs ?? null,
    ])
  }

  async addMessages(server: number, messages: readonly CopiedMessage[]): Promise<void> {
    if (messages.length === 0) return
    const users = new Positions()
    const contents = messages.map(({ content }) => content)
    let end = 1
    const from = contents.map(({ length }) => {
      end += length
      return end - length
    })
    const deliveries = messages.flatMap(({ mailboxes }, at) =>
      mailboxes.map(({ user, isAside }) => ({ message: at + 1, to: users.of(user), isAside })),
    )
    const senders = messages.map(({ sender }) => users.of(sender))
    await this.#database.query(statements.addMessages, [
      ...[server, users.names, arrayText(messages.map(({ seq }) => seq)), arrayText(senders)],
      arrayText(messages.map(({ id }) => hexOf(id))),
      arrayText(messages.map(({ sentAt }) => sentAt)),
      arrayText(messages.map(({ storedAt }) => storedAt)),
      arrayText(from),
      arrayText(contents.map(({ length }) => length)),
      Buffer.concat(contents),
      arrayText(deliveries.map(({ message }) => message)),
      arrayText(deliveries.map(({ to }) => to)),
      deliveries.map(({ isAside }) => isAside),
    ])
    await this.#markAsking(server, messages)
    const limited = messages.flatMap(({ seq, expiresAt, mailboxes }) =>
      expiresAt === undefined ? [] : mailboxes.map(({ user }) => ({ user, seq, expiresAt })),
    )
    if (limited.length === 0) return
    await this.#database.query(statements.limitMessages, [
      limited.map(({ user }) => user),
      arrayText(limited.map(({ seq }) => seq)),
      arrayText(limited.map(({ expiresAt }) => expiresAt)),
    ])
  }

  async #markAsking(server: number, messages: readonly CopiedMessage[]): Promise<void> {
    const users = new Positions()
    const places = messages.flatMap(({ receipt, seq, mailboxes }) =>
      receipt ? mailboxes.filter(({ isAside }) => !isAside).map(({ user }) => ({ user: users.of(user), seq })) : [],
    )
    if (places.length === 0) return
    const positions = arrayText(places.map(({ user }) => user))
    await this.#database.query(statements.askingMessages, [
      server,
      users.names,
      positions,
      arrayText(places.map(({ seq }) => seq)),
    ])
  }

  async addIds(server: number, ids: readonly CopiedId[]): Promise<void> {
    const users = new Positions()
    const senders = ids.map(({ sender }) => users.of(sender))
    await this.#database.query(statements.addIds, [
      ...[server, users.names, arrayText(senders), arrayText(ids.map(({ id }) => hexOf(id)))],
      arrayText(ids.map(({ fingerprint }) => fingerprint)),
      arrayText(ids.map(({ storedAt }) => storedAt)),
    ])
  }

  async addDevices({ user, devices, rejected }: CopiedDevices): Promise<void> {
    const answers = devices.flatMap(({ answered }, at) => answered.map((seq) => ({ device: at + 1, seq })))
    await this.#database.query(statements.addDevices, [
      ...[user, devices.map(({ name }) => name), devices.map(({ seenAt }) => seenAt)],
      arrayText(answers.map(({ device }) => device)),
      arrayText(answers.map(({ seq }) => seq)),
      arrayText([...rejected.keys()]),
      Array.from(rejected.values(), (reason) => Buffer.from(reason)),
    ])
  }

  async finish(id: string): Promise<void> {
    await this.#database.query(statements.finish, [id])
  }
}

const hexOf = (id: Uint8Array) => Buffer.from(id).toString('hex')

const importOf = ({ finishedAt, ...row }: ImportRow): StoredImport =>
  finishedAt === null ? row : { ...row, finishedAt }

const columns = `id, place, server, seq_shift AS "seqShift", age_shift AS "ageShift",
  extract(epoch FROM finished_at)::float8 * 1000 AS "finishedAt"`

const statements = {
  list: { name: 'imports', text: `SELECT ${columns} FROM ospd.import ORDER BY began_at` },
  usedNames: {
    name: 'import-names',
    text: `SELECT name FROM ospd.app_user UNION SELECT user_name FROM ospd.transfer UNION SELECT user_name FROM ospd.marker
      UNION SELECT name FROM ospd.box WHERE last_seq > 0 OR ids > 0
      UNION SELECT b.name FROM ospd.device d JOIN ospd.box b ON b.id = d.box`,
  },
  begin: { name: 'import-begin', text: `SELECT ${columns} FROM ospd.begin_import_1($1, $2, $3, $4)` },
  addUsers: { name: 'import-users', text: 'SELECT ospd.import_users_1($1, $2, $3, $4) AS other' },
  addMarkers: {
    name: 'import-markers',
    text: `INSERT INTO ospd.marker (server, user_name, name, file, modified_at, version, reported, until)
      SELECT $1, m.* FROM unnest($2::text[], $3::text[], $4::jsonb[], $5::bigint[], $6::text[], $7::boolean[], $8::float8[]) m
      ON CONFLICT DO NOTHING`,
  },
  addUpload: {
    name: 'import-upload',
    text: `INSERT INTO ospd.transfer (token, server, link, instance, held, user_name, name, size, modified_at, algorithm,
        session, superseded, checkpoints, durable, verified, verified_stamp, updated_at, metadata, store_as)
      VALUES (nextval('ospd.claim_token'), $1, 0, 0, false, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
      ON CONFLICT DO NOTHING`,
  },
  addMessages: {
    name: 'import-messages',
    text: 'SELECT ospd.import_messages_1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)',
  },
  limitMessages: {
    name: 'import-times-to-live',
    text: `UPDATE ospd.mail m SET expires_at = u.e FROM unnest($1::text[], $2::bigint[], $3::bigint[]) u(name, seq, e)
      JOIN ospd.box b ON b.name = u.name WHERE m.box = b.id AND m.seq = u.seq`,
  },
  askingMessages: { name: 'import-asking', text: 'SELECT ospd.import_asking_1($1, $2, $3, $4)' },
  addIds: { name: 'import-ids', text: 'SELECT ospd.import_ids_1($1, $2, $3, $4, $5, $6)' },
  addDevices: { name: 'import-devices', text: 'SELECT ospd.import_devices_1($1, $2, $3, $4, $5, $6, $7)' },
  finish: {
    name: 'import-finish',
    text: 'UPDATE ospd.import SET finished_at = clock_timestamp() WHERE id = $1 AND finished_at IS NULL',
  },
} satisfies Record<string, Statement>
