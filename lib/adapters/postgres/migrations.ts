import { claimFunctions } from './schema/claimFunctions.ts'
import { deadServerFunctions } from './schema/deadServers.ts'
import { linkFunctions, linkTables } from './schema/links.ts'
import { mailTables } from './schema/mail.ts'
import { mailFunctions } from './schema/mailFunctions.ts'
import { serverTables } from './schema/servers.ts'
import { transferFunctions } from './schema/transferFunctions.ts'
import { transferTables } from './schema/transfers.ts'
import { userSchema } from './schema/users.ts'

/** The migrations of the schema, starting with an empty database. The one at index 0 creates version 1. */
export const migrations: readonly string[] = [
  [
    ...[serverTables, mailTables, linkTables, transferTables, userSchema],
    ...[mailFunctions, linkFunctions, claimFunctions, transferFunctions, deadServerFunctions],
  ].join('\n'),
]
