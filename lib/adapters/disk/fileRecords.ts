import { ClassicLevel } from 'classic-level'
import * as z from 'zod/mini'
import { OspError } from '../../errors.ts'
import { storedFileName, userName } from '../../nameSchemas.ts'
import type { Damage } from '../../ports/mailboxes.ts'
import { jsonOf } from '../../runtime/json.ts'
import {
  type FileKey,
  type FileRecord,
  type FileRecords,
  type KeptVersion,
  keyOfFile,
  keyPrefixOf,
} from '../../storage/catalogue/fileRecords.ts'
import { attempt, fault, isFull } from './faults.ts'
import { clearDatabase } from './lock.ts'

const whole = z.int().check(z.nonnegative())

const fileRecord = z.object({
  user: userName,
  name: storedFileName,
  version: z.string(),
  size: whole,
  modifiedAt: z.optional(whole),
  algorithm: z.enum(['md5', 'sha256', 'xxh128']),
  digest: z.string(),
  metadata: z.record(z.string(), z.string()),
})

/** The number of records that are read at once. */
const recordsAtOnce = 256

/** The number of keys that are read at once to find the records of a name. */
const keysAtOnce = 16

type Database = ClassicLevel<string, string>

/**
 * The records of stored files in a LevelDB database, which keeps only a part of them in memory. A full disk does not prevent
 * opening the storage: the database is opened once there is space, and no record is known until then.
 */
export class DiskFileRecords implements FileRecords {
  readonly #directory: string
  #isClosed = true
  #opening: Promise<Database> | undefined

  constructor(directory: string) {
    this.#directory = directory
  }

  /** Opens the database. Repairs it if it is damaged, and returns the damage. */
  async open(): Promise<readonly Damage[]> {
    this.#isClosed = false
    const damages: Damage[] = []
    await this.#opened(damages).catch((error: unknown) => {
      if (!isFull(error)) throw error
    })
    return damages
  }

  async close(): Promise<void> {
    this.#isClosed = true
    const opening = this.#opening
    this.#opening = undefined
    await attempt(`closing ${this.#directory}`, async () => (await opening)?.close())
  }

  #opened(damages: Damage[] = []): Promise<Database> {
    if (this.#isClosed) throw new OspError('closed', 'the storage is closed; open it first')
    this.#opening ??= this.#openOrRepair(damages).catch((error: unknown) => {
      this.#opening = undefined
      throw error
    })
    return this.#opening
  }

  /** Opens the database. Repairs it if it is damaged, and begins with an empty one if that is not possible. */
  async #openOrRepair(damages: Damage[]): Promise<Database> {
    const directory = this.#directory
    const database: Database = new ClassicLevel(directory)
    const repairs = [() => ClassicLevel.repair(directory), () => clearDatabase(directory)]
    for (;;) {
      try {
        await database.open()
        if (repairs.length < 2) damages.push({ file: directory, offset: 0, bytes: 0, atEnd: false })
        return database
      } catch (error) {
        const repair = repairs.shift()
        // Torn bytes can name any path as a file of the database, so the first attempt can fail with any error of the system.
        if (!repair || isFull(error)) throw fault(error, `opening ${directory}`)
        await repair().catch(() => {})
      }
    }
  }

  async get(keys: readonly FileKey[]): Promise<readonly (FileRecord | undefined)[]> {
    const texts = await this.#run((database) => database.getMany(keys.map(keyOfFile))).catch((error: unknown) => {
      if (!isFull(error)) throw error
      return keys.map(() => undefined)
    })
    return texts.map((text) => (text === undefined ? undefined : recordOf(text)))
  }

  async put(records: readonly FileRecord[]): Promise<void> {
    await this.#run((database) => {
      // Takes a third of the CPU time of an array of operations.
      const batch = database.batch()
      for (const record of records) batch.put(keyOfFile(record), JSON.stringify(record))
      return batch.write({ sync: true })
    })
  }

  async prune(files: readonly KeptVersion[]): Promise<void> {
    await this.#run(async (database) => {
      const others: string[] = []
      let keys: readonly string[] = []
      for (const file of files) {
        const prefix = keyPrefixOf(file)
        const isOfFile = (key: string | undefined) => key?.startsWith(prefix) ?? false
        // Files that were sent together often have neighbouring records.
        if (!keys.some(isOfFile)) keys = await database.keys({ gte: prefix, limit: keysAtOnce }).all()
        for (;;) {
          others.push(...keys.filter((key) => isOfFile(key) && key !== prefix + file.version))
          const last = keys.at(-1)
          if (last === undefined || !isOfFile(last)) break
          keys = await database.keys({ gt: last, limit: keysAtOnce }).all()
        }
      }
      const batch = database.batch()
      for (const key of others) batch.del(key)
      await batch.write()
    })
  }

  async *all(): AsyncIterable<FileRecord> {
    let after = ''
    for (;;) {
      const entries = await this.#run((database) => database.iterator({ gt: after, limit: recordsAtOnce }).all())
      for (const [, text] of entries) {
        const record = recordOf(text)
        if (record) yield record
      }
      const last = entries.at(-1)
      if (!last) return
      after = last[0]
    }
  }

  async #run<T>(work: (database: Database) => Promise<T>): Promise<T> {
    const database = await this.#opened()
    return attempt(`using ${this.#directory}`, () => work(database))
  }
}

/** Returns the record in a text, or `undefined` if it is damaged. */
const recordOf = (text: string): FileRecord | undefined => fileRecord.safeParse(jsonOf(text)).data
