import type {
  Announcement,
  Claim,
  NewTransfer,
  QuotaRoom,
  SettledFile,
  StoredFile,
  TransferRecord,
  UnfinishedTotals,
} from '../../ports/storage.ts'
import { storeAsOf } from '../../storage/transfers/claimRules.ts'
import type { Announced, ClusterSessionLink, LinkClaim, TransferSteps, WaitingMarker } from '../cluster/steps.ts'
import { claimUpload } from './claim.ts'
import type { Database, Statement } from './database.ts'
import {
  durableOffset,
  type EndedClaimRow,
  endedClaim,
  type FileChangeRow,
  fileChangeOfRow,
  type MarkedFile,
  type MarkerRow,
  markerOf,
  packedCheckpoints,
  type TransferRow,
  transferRecordOf,
} from './transferRows.ts'

type Name = Pick<Claim, 'user' | 'name'>

/** The result of `ospd.announce_3`. */
interface AnnouncedRow {
  readonly waiting: readonly MarkerRow[]
  readonly unfinished: readonly TransferRow[]
  readonly is_over_quota: boolean
  readonly ended: readonly (Name & EndedClaimRow)[]
  readonly changes: readonly FileChangeRow[]
}

interface VerifiedRow {
  readonly holds: boolean
  readonly changes: readonly FileChangeRow[]
  readonly waiting: readonly MarkerRow[]
}

interface AbandonedRow {
  readonly records: readonly TransferRow[] | null
  readonly changes: readonly FileChangeRow[] | null
}

/** The steps of uploads in SQL. */
export class PostgresTransfers implements TransferSteps {
  readonly #database: Database

  constructor(database: Database) {
    this.#database = database
  }

  claim(...claim: Parameters<TransferSteps['claim']>): ReturnType<TransferSteps['claim']> {
    return claimUpload(this.#database, ...claim)
  }

  async checkpoint(batch: Parameters<TransferSteps['checkpoint']>[0]): Promise<readonly boolean[]> {
    const packed = batch.map(({ checkpoints }) => packedCheckpoints(checkpoints))
    let from = 1
    const offsets = packed.map(({ length }) => {
      from += length
      return from - length
    })
    const [row] = await this.#database.query<{ holds: readonly number[] }>(statements.checkpoint, [
      ...columnsOf(batch.map(({ claim }) => claim)),
      batch.map(({ claim }) => claim.token),
      batch.map(({ checkpoints }) => durableOffset(checkpoints)),
      batch.map(({ at }) => at),
      offsets,
      packed.map(({ length }) => length),
      Buffer.concat(packed),
    ])
    const holds = new Set(row?.holds)
    return batch.map((_, index) => holds.has(index + 1))
  }

  async verified(claim: Claim, file: StoredFile, stamp: string): ReturnType<TransferSteps['verified']> {
    const values = [...keyOf(claim), JSON.stringify(file), stamp]
    const [row] = await this.#database.query<VerifiedRow>(statements.verified, values)
    if (!row) throw new Error('the database has returned no row for a verified upload')
    const { holds, changes, waiting } = row
    return { holds, changes: changes.map(fileChangeOfRow), waiting: waiting.map(waitingOf) }
  }

  async complete(claim: Claim, until: number): Promise<boolean> {
    const [row] = await this.#database.query<{ holds: boolean }>(statements.complete, [...keyOf(claim), until])
    return row?.holds === true
  }

  async announce(
    server: number,
    files: readonly Announcement[],
    until: number,
    by?: ClusterSessionLink,
    room?: Omit<QuotaRoom, 'refusal'>,
  ): Promise<Announced> {
    const [row] = await this.#database.query<AnnouncedRow>(statements.announce, [
      server,
      ...columnsOf(files.map(({ file }) => file)),
      files.map(({ file, metadata }) => JSON.stringify({ ...file, metadata } satisfies MarkedFile)),
      files.map(({ modifiedAt }) => modifiedAt),
      files.map(({ version }) => version),
      files.map(({ source }) => source ?? null),
      files.map(({ adds }) => adds?.growth ?? 0),
      files.map(({ adds }) => adds?.entries ?? 0),
      room ? JSON.stringify({ growth: room.growth, entries: room.entries, entryBytes: room.entryBytes }) : null,
      until,
      ...[by?.user ?? null, by?.session ?? null, by?.link ?? null],
    ])
    if (!row) throw new Error('the database has returned no row for announced files')
    return {
      changes: row.changes.map(fileChangeOfRow),
      waiting: row.waiting.map(waitingOf),
      unfinished: row.unfinished.map(transferRecordOf),
      isOverQuota: row.is_over_quota,
      ended: row.ended.map((each) => endedClaim(each, each)),
    }
  }

  async settle(files: readonly SettledFile[]): Promise<void> {
    const sources = files.map(({ source }) => source)
    await this.#database.query(statements.settle, [...columnsOf(files), sources, files.map(({ isStored }) => isStored)])
  }

  async release(claims: readonly Claim[]): Promise<void> {
    await this.#database.query(statements.release, [...columnsOf(claims), claims.map(({ token }) => token)])
  }

  async remove(
    user: string,
    name: string,
    by: ClusterSessionLink | undefined,
    token?: number,
  ): Promise<LinkClaim | undefined> {
    const values = [user, name, token ?? null, ...linkOf(by)]
    const [row] = await this.#database.query<{ removed: EndedClaimRow | null }>(statements.remove, values)
    return row?.removed ? endedClaim({ user, name }, row.removed) : undefined
  }

  async expire(
    user: string,
    name: string,
    before: number,
    by?: ClusterSessionLink,
  ): Promise<TransferRecord | undefined> {
    const values = [user, name, before, ...linkOf(by)]
    const [row] = await this.#database.query<{ record: TransferRow | null }>(statements.expire, values)
    return row?.record ? transferRecordOf(row.record) : undefined
  }

  async forget(want: NewTransfer, digest: string): Promise<WaitingMarker | undefined> {
    const { user, name, size, modifiedAt, algorithm } = want
    const values = [user, name, storeAsOf(want), size, modifiedAt, algorithm, digest]
    const [row] = await this.#database.query<{ waiting: MarkerRow | null }>(statements.forget, values)
    return row?.waiting ? waitingOf(row.waiting) : undefined
  }

  records(of: string | undefined, after: Name | undefined, most: number): Promise<readonly TransferRecord[]> {
    const { user, name } = after ?? { user: '', name: '' }
    if (of === undefined) return this.#records(statements.records, [user, name, most])
    if (user > of) return Promise.resolve([])
    return this.#records(statements.recordsOfUser, [of, user === of ? name : '', most])
  }

  async record(user: string, name: string): Promise<TransferRecord | undefined> {
    return (await this.#records(statements.record, [user, name]))[0]
  }

  async totals(user: string, except: readonly string[], server: number): Promise<UnfinishedTotals> {
    const [row] = await this.#database.query<UnfinishedTotals>(statements.totals, [user, except, server])
    return row ?? { uploads: 0, bytes: 0 }
  }

  async marker(user: string, name: string): Promise<Announcement | undefined> {
    const [row] = await this.#database.query<{ marker: MarkerRow }>(statements.marker, [user, name])
    return row && markerOf(row.marker)
  }

  async reported(files: Parameters<TransferSteps['reported']>[0]): Promise<void> {
    const versions = files.map(({ version }) => version ?? null)
    await this.#database.query(statements.reported, [...columnsOf(files), versions])
  }

  async unreported(server: number): Promise<readonly Announcement[]> {
    const rows = await this.#database.query<{ marker: MarkerRow }>(statements.unreported, [server])
    return rows.map(({ marker }) => announcedOf(marker))
  }

  async abandoned(): ReturnType<TransferSteps['abandoned']> {
    const [row] = await this.#database.query<AbandonedRow>(statements.abandoned)
    return {
      records: (row?.records ?? []).map(transferRecordOf),
      changes: (row?.changes ?? []).map(fileChangeOfRow),
    }
  }

  ended(tokens: readonly number[]): ReturnType<TransferSteps['ended']> {
    return this.#database.query<{ token: number; why: 'superseded' | 'cancelled' }>(statements.ended, [tokens])
  }

  async #records(statement: Statement, values: readonly unknown[]): Promise<readonly TransferRecord[]> {
    const rows = await this.#database.query<{ record: TransferRow }>(statement, values)
    return rows.map(({ record }) => transferRecordOf(record))
  }
}

const announcedOf = (row: MarkerRow): Announcement => ({
  ...markerOf(row),
  ...(row.source !== null && { source: row.source }),
})

const waitingOf = (row: MarkerRow): WaitingMarker => ({ ...announcedOf(row), server: row.server })

const keyOf = ({ user, name, token }: Claim) => [user, name, token]

/** Returns the session, the server and the link of a request. */
const linkOf = (by?: ClusterSessionLink) => [by?.session ?? null, by?.server ?? null, by?.link ?? null]

const columnsOf = (names: readonly Name[]) => [names.map(({ user }) => user), names.map(({ name }) => name)]

const records = 'SELECT to_jsonb(t) AS record FROM ospd.transfer t WHERE'
const markers = 'SELECT to_jsonb(m) AS marker FROM ospd.marker m WHERE'

const statements = {
  checkpoint: {
    name: 'transfer-checkpoint',
    text: 'SELECT ospd.checkpoint_1($1, $2, $3, $4, $5, $6, $7, $8) AS holds',
  },
  verified: { name: 'transfer-verified', text: 'SELECT * FROM ospd.verify_3($1, $2, $3, $4, $5)' },
  complete: { name: 'transfer-complete', text: 'SELECT ospd.complete_2($1, $2, $3, $4) AS holds' },
  announce: {
    name: 'transfer-announce',
    text: 'SELECT * FROM ospd.announce_3($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)',
  },
  settle: { name: 'transfer-settle', text: 'SELECT ospd.settle_2($1, $2, $3, $4)' },
  release: { name: 'transfer-release', text: 'SELECT ospd.release_1($1, $2, $3)' },
  remove: { name: 'transfer-remove', text: 'SELECT ospd.remove_transfer_1($1, $2, $3, $4, $5, $6) AS removed' },
  expire: { name: 'transfer-expire', text: 'SELECT ospd.expire_transfer_1($1, $2, $3, $4, $5, $6) AS record' },
  forget: { name: 'transfer-forget', text: 'SELECT ospd.forget_3($1, $2, $3, $4, $5, $6, $7) AS waiting' },
  records: {
    name: 'transfer-records',
    text: `${records} (user_name, name) > ($1, $2) ORDER BY user_name, name LIMIT $3`,
  },
  recordsOfUser: {
    name: 'transfer-records-user',
    text: `${records} user_name = $1 AND name > $2 ORDER BY name LIMIT $3`,
  },
  record: { name: 'transfer-record', text: `${records} user_name = $1 AND name = $2` },
  totals: {
    name: 'transfer-totals',
    text: `SELECT count(*)::int AS uploads, coalesce(sum(
        CASE WHEN t.verified IS NULL AND NOT (t.server <> $3 AND ospd.is_held_1(t)) THEN t.durable ELSE t.size END), 0)::bigint AS bytes,
        ospd.announced_1($1, $2, $3) AS announced, ospd.added_1($1) AS added
      FROM ospd.transfer t WHERE t.user_name = $1 AND t.name <> ALL ($2)`,
  },
  marker: { name: 'transfer-marker', text: `${markers} user_name = $1 AND name = $2 AND ospd.is_valid_1(m)` },
  reported: { name: 'transfer-reported', text: 'SELECT ospd.report_3($1, $2, $3)' },
  unreported: {
    name: 'transfer-unreported',
    text: `${markers} NOT reported
        AND (server = $1 OR NOT EXISTS (SELECT FROM ospd.server s WHERE s.id = m.server AND NOT s.dead))
      ORDER BY until, user_name, name`,
  },
  abandoned: {
    name: 'transfer-abandoned',
    text: `SELECT (SELECT jsonb_agg(to_jsonb(t) ORDER BY user_name, name) FROM ospd.transfer t
         WHERE verified IS NOT NULL AND NOT ospd.is_held_1(t)) AS records,
      (SELECT jsonb_agg(to_jsonb(c) ORDER BY fence) FROM ospd.file_change c
        WHERE NOT EXISTS (SELECT FROM ospd.server s WHERE s.id = c.server AND NOT s.dead)) AS changes`,
  },
  ended: { name: 'transfer-ended', text: 'SELECT token, why FROM ospd.ended WHERE token = ANY ($1) ORDER BY token' },
} satisfies Record<string, Statement>
