import { claimFunctions } from './schema/claimFunctions.ts'
import { deadServerFunctions } from './schema/deadServers.ts'
import { fileChangeTable, fileFunctions, fileTables, transferMetadata } from './schema/files.ts'
import { importFunctions, importTables } from './schema/imports.ts'
import { linkFunctions, linkTables } from './schema/links.ts'
import { mailTables } from './schema/mail.ts'
import { mailFunctions } from './schema/mailFunctions.ts'
import { serverTables } from './schema/servers.ts'
import { transferFunctions } from './schema/transferFunctions.ts'
import { transferTables } from './schema/transfers.ts'
import { userSchema } from './schema/users.ts'

/**
 * The parts of a migration, in SQL. Each of them runs in a transaction of its own, the version is set together with the last one,
 * and servers of the previous version run meanwhile. Therefore:
 * - A migration only adds. Servers of the previous version use the present tables and functions: a new column has a default, and
 *   a changed function has a new name. What no supported version uses any more is dropped by a later migration.
 * - A part locks at most one present table (`ALTER TABLE`). With two of them, it would deadlock with the servers under load.
 * - A part can be repeated, except one that is the only part: `IF NOT EXISTS`, `CREATE OR REPLACE`.
 */
export type Migration = readonly string[]

/** The migrations of the schema, starting with an empty database. The one at index 0 creates version 1. */
export const migrations: readonly Migration[] = [
  [
    [
      ...[serverTables, mailTables, linkTables, transferTables, userSchema, importTables],
      ...[mailFunctions, linkFunctions, claimFunctions, transferFunctions, deadServerFunctions, importFunctions],
    ].join('\n'),
  ],
  // The records and changes of stored files, and the metadata of uploads.
  [fileTables, fileChangeTable, transferMetadata, fileFunctions],
]
