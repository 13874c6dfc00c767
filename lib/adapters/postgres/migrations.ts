import { claimFunctions } from './schema/claimFunctions.ts'
import { deadServerFunctions } from './schema/deadServers.ts'
import { deviceFunctions, deviceTables } from './schema/devices.ts'
import { fileChangeTable, fileFunctions, fileTables, transferColumns } from './schema/files.ts'
import { importFunctions, importTables } from './schema/imports.ts'
import { linkFunctions, linkTables } from './schema/links.ts'
import { mailAdditions, mailTables } from './schema/mail.ts'
import { mailFunctions } from './schema/mailFunctions.ts'
import { boxAsking, mailAsking, receiptFunctions } from './schema/receipts.ts'
import { serverTables } from './schema/servers.ts'
import { transferFunctions } from './schema/transferFunctions.ts'
import { transferTables } from './schema/transfers.ts'
import { userSchema } from './schema/users.ts'
import { waitingMarkerFunctions } from './schema/waitingMarkers.ts'

/**
 * The parts of a migration, in SQL. Each runs in a transaction of its own, and the last one also sets the version. Servers of the
 * previous version can run meanwhile. Therefore:
 * - A migration only adds. Servers of the previous version use the existing tables and functions: a new column has a default, and
 *   a changed function has a new name. A later migration drops what no supported version uses any more.
 * - A part locks at most one existing table (`ALTER TABLE`). With two, it would deadlock with the servers under load.
 * - A part can be repeated, unless it is the only part: `IF NOT EXISTS`, `CREATE OR REPLACE`.
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
  // The records and changes of stored files, the metadata and stored names of uploads, and additions to mailboxes.
  [fileTables, fileChangeTable, transferColumns, fileFunctions, mailAdditions, mailAsking, boxAsking, receiptFunctions],
  // The devices of users, and the files that must be reported before other servers replace them.
  [deviceTables, deviceFunctions, waitingMarkerFunctions],
]
