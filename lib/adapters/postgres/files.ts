import type { FileKey, FileRecord } from '../../storage/catalogue/fileRecords.ts'
import { keyOfFile } from '../../storage/catalogue/fileRecords.ts'
import type { FileChange, FileSteps, PendingFiles } from '../cluster/fileSteps.ts'
import type { ClusterSessionLink } from '../cluster/steps.ts'
import type { Database, Statement } from './database.ts'
import {
  type FileChangeRow,
  type FileRow,
  fileChangeOfRow,
  fileRecordOfRow,
  type MarkerRow,
  markerOf,
  type TransferRow,
  transferRecordOf,
} from './transferRows.ts'

interface PendingRow {
  readonly changes: readonly FileChangeRow[]
  readonly unpublished: readonly MarkerRow[]
  readonly unfinished: readonly TransferRow[]
}

/** The steps of stored files in SQL. */
export class PostgresFiles implements FileSteps {
  readonly #database: Database

  constructor(database: Database) {
    this.#database = database
  }

  async get(keys: readonly FileKey[]): Promise<readonly (FileRecord | undefined)[]> {
    const records = await this.#records(statements.get, columnsOf(keys))
    const found = new Map(records.map((record) => [keyOfFile(record), record]))
    return keys.map((key) => found.get(keyOfFile(key)))
  }

  async put(records: readonly FileRecord[]): Promise<void> {
    await this.#database.query(statements.put, [
      ...columnsOf(records),
      records.map(({ size }) => size),
      records.map(({ modifiedAt }) => modifiedAt ?? null),
      records.map(({ algorithm }) => algorithm),
      records.map(({ digest }) => digest),
      records.map(({ metadata }) => JSON.stringify(metadata)),
    ])
  }

  async prune(user: string, name: string, version?: string): Promise<void> {
    await this.#database.query(statements.prune, [[user], [name], [version ?? null]])
  }

  page(after: FileKey | undefined, most: number): Promise<readonly FileRecord[]> {
    const { user, name, version } = after ?? { user: '', name: '', version: '' }
    return this.#records(statements.page, [user, name, version, most])
  }

  async begin(
    server: number,
    { fence, user, name, version, newName }: FileChange,
    ended: readonly string[],
    by: ClusterSessionLink | undefined,
  ): Promise<PendingFiles> {
    const values = [server, fence, user, name, newName ?? null, version, ended, by?.session ?? null, by?.link ?? null]
    const [row] = await this.#database.query<PendingRow>(statements.begin, values)
    if (!row) throw new Error('the database has returned no row for a change')
    return {
      changes: row.changes.map(fileChangeOfRow),
      unpublished: row.unpublished.map((marker) => ({ ...markerOf(marker), source: marker.source ?? '' })),
      unfinished: row.unfinished.map(transferRecordOf),
    }
  }

  async recorded(fences: readonly string[]): Promise<readonly string[]> {
    const rows = await this.#database.query<{ fence: string }>(statements.recorded, [fences])
    return rows.map(({ fence }) => fence)
  }

  async end(fences: readonly string[]): Promise<void> {
    await this.#database.query(statements.end, [fences])
  }

  async #records(statement: Statement, values: readonly unknown[]): Promise<readonly FileRecord[]> {
    return (await this.#database.query<{ file: FileRow }>(statement, values)).map(({ file }) => fileRecordOfRow(file))
  }
}

const columnsOf = (keys: readonly FileKey[]) => [
  keys.map(({ user }) => user),
  keys.map(({ name }) => name),
  keys.map(({ version }) => version),
]

const keysGiven = 'unnest($1::text[], $2::text[], $3::text[]) u (user_name, name, version)'

const statements = {
  get: {
    name: 'file-get',
    text: `SELECT to_jsonb(f) AS file FROM ${keysGiven} JOIN ospd.file f USING (user_name, name, version)
      UNION ALL SELECT jsonb_build_object('user_name', m.user_name, 'name', m.name, 'version', m.version, 'size', m.file->'size',
          'modified_at', m.modified_at, 'algorithm', m.file->'algorithm', 'digest', m.file->'digest', 'metadata', coalesce(m.file->'metadata', '{}'))
        FROM ${keysGiven} JOIN ospd.marker m USING (user_name, name, version)
       WHERE m.file->>'storedName' = m.name
         AND NOT EXISTS (SELECT FROM ospd.file f WHERE f.user_name = m.user_name AND f.name = m.name AND f.version = m.version)`,
  },
  put: {
    name: 'file-put',
    text: `INSERT INTO ospd.file (user_name, name, version, size, modified_at, algorithm, digest, metadata)
      SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::text[], $7::text[], $8::jsonb[])
      ON CONFLICT (user_name, name, version) DO UPDATE SET metadata = excluded.metadata WHERE excluded.metadata <> '{}'`,
  },
  prune: { name: 'file-prune', text: 'SELECT ospd.prune_files_2($1, $2, $3)' },
  page: {
    name: 'file-page',
    text: `SELECT to_jsonb(f) AS file FROM ospd.file f WHERE (user_name, name, version) > ($1, $2, $3)
      ORDER BY user_name, name, version LIMIT $4`,
  },
  begin: { name: 'file-begin', text: 'SELECT * FROM ospd.begin_change_3($1, $2, $3, $4, $5, $6, $7, $8, $9)' },
  recorded: { name: 'file-recorded', text: 'SELECT fence FROM ospd.file_change WHERE fence = ANY ($1)' },
  end: { name: 'file-end', text: 'DELETE FROM ospd.file_change WHERE fence = ANY ($1)' },
} satisfies Record<string, Statement>
