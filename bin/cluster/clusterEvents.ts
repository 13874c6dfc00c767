import * as z from 'zod/mini'
import { eventFields } from '../common/eventFields.ts'

const { string, whole, event, bytes, count } = eventFields

const text = string('the reason in plain English, which may change')
const schemaVersions = {
  from: whole('the previous version of the schema; 0 if there was none'),
  to: whole('the current version'),
} as const

const importedDirectory = string('the data directory, as specified')

/** The events of `ospd cluster`. */
export const clusterEvents = {
  created: event('`init`: the database has the schema, and the directory is initialized.', {
    ...schemaVersions,
    newDirectory: z.boolean().check(z.describe('whether the directory has been initialized now')),
  }),
  migrated: event('`migrate`: the database has the latest schema.', schemaVersions),
  check: event('`check`: the result for one condition.', {
    condition: string('a condition that the database or the directory must meet'),
    holds: z.boolean().check(z.describe('whether it is met')),
    required: z.boolean().check(z.describe('whether servers require it')),
    tested: z
      .boolean()
      .check(z.describe('whether it was tested; it is not tested if it depends on another condition that is not met')),
    detail: z
      .optional(z.string())
      .check(z.describe('a measured value, or the reason why it is not met; otherwise absent')),
  }),
  imported: event('`import`: the import is finished.', {
    data: importedDirectory,
    users: count.check(z.describe('users with a token')),
    files: count.check(z.describe('published files')),
    linked: count.check(z.describe('files that this process linked')),
    copied: count.check(z.describe('files that this process copied; an interrupted import linked or copied the rest')),
    bytes: bytes.check(z.describe('total size of the files')),
    uploads: count.check(z.describe('unfinished uploads')),
    messages: count.check(z.describe('waiting messages, counted once for each recipient')),
    ids: count.check(z.describe('remembered ids of sent messages')),
  }),
  'already-imported': event('`import`: an earlier command finished the import, and nothing was changed.', {
    data: importedDirectory,
    finished: z.iso.datetime().check(z.describe('the time at which it finished')),
  }),
  skipped: event('`import`: an entry among the published files that was not imported.', {
    file: string('its path'),
    text,
  }),
  damaged: event('`import`: a file or a part of a journal that the disk has damaged.', {
    file: string('its path'),
    text,
  }),
  server: event('`status`: one running server.', {
    number: whole('the number of the server; it gets a new one at each start'),
    name: string('the host name of its machine'),
    address: string('the address on which it listens'),
    leaseMs: z.int().check(z.describe('milliseconds until its lease expires; 0 or less after it has expired')),
    started: z.iso.datetime().check(z.describe('the time at which it was started')),
    schema: whole('the schema version for which it was made; it also works with the next one'),
  }),
} as const
