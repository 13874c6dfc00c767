import { mailTables } from './schema/mail.ts'
import { mailFunctions } from './schema/mailFunctions.ts'
import { serverTables } from './schema/servers.ts'

/** The changes of the schema, from an empty database on. The one at index 0 leads to version 1. */
export const migrations: readonly string[] = [[serverTables, mailTables, mailFunctions].join('\n')]
