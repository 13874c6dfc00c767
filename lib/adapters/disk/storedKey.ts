import { randomBytes } from 'node:crypto'
import { link, readFile, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { OspError } from '../../errors.ts'
import { syncDirectory } from './directories.ts'
import { attempt, unless } from './faults.ts'
import { checkPart, writeOwnFile } from './rights.ts'

const keyBytes = 32

/**
 * Returns the key in a file. If the file is missing, creates it durably with `initial` or a random key. Several servers can do so
 * at the same time.
 */
export async function storedKey(path: string, initial?: Uint8Array): Promise<Uint8Array> {
  const key = (await readKey(path)) ?? (await createKey(path, initial ?? randomBytes(keyBytes)))
  if (key.length === keyBytes) return key
  throw new OspError(
    'data-format',
    `${path} has ${key.length} bytes instead of ${keyBytes}; restore it, or remove it and with it the access of recipients to the files that were sent to them`,
  )
}

/** Returns the key in a file, or `undefined` if the file is missing. */
export async function readKey(path: string): Promise<Uint8Array | undefined> {
  await checkPart(path, 'regular file')
  return unless(['ENOENT'], `reading ${path}`, async () => new Uint8Array(await readFile(path)))
}

async function createKey(path: string, key: Uint8Array): Promise<Uint8Array> {
  const fresh = `${path}.${randomBytes(8).toString('hex')}`
  await attempt(`writing ${path}`, async () => {
    await writeOwnFile(fresh, key, true)
    try {
      await unless(['EEXIST'], `creating ${path}`, () => link(fresh, path))
    } finally {
      await rm(fresh, { force: true })
    }
  })
  await syncDirectory(dirname(path))
  return (await readKey(path)) ?? new Uint8Array()
}
