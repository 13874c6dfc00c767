import { createPrivateKey } from 'node:crypto'
import { constants } from 'node:fs'
import { rename } from 'node:fs/promises'
import { join } from 'node:path'
import { OspError } from '../../../errors.ts'
import { checkArgument, kinds } from '../../../options.ts'
import { makePath, syncDirectory } from '../../disk/directories.ts'
import { attempt, unless } from '../../disk/faults.ts'
import { checkDirectoryRights, makeOwnFile, openOwnFile } from '../../disk/rights.ts'
import { checkIdentity, type TlsIdentity } from './identity.ts'
import { makeKey, selfSign } from './selfSigned.ts'

/**
 * Returns the key (`key.pem`) and the self-signed certificate (`cert.pem`) in a directory. Creates missing ones durably,
 * readable only by their owner. The key is created first: it identifies the server, and the certificate can be recreated
 * from it. Only one process at a time may call this function. Rejects with OspError `usage` if the two cannot be used,
 * `data-format` if another user could change or replace them, and `internal` or `disk-full`.
 */
export async function ownIdentity(directory: string): Promise<TlsIdentity> {
  checkArgument('ownIdentity', 'the directory', kinds.path, directory)
  await attempt(`looking at ${directory}`, async () => checkDirectoryRights(directory))
  const [keyPath, certPath] = [join(directory, 'key.pem'), join(directory, 'cert.pem')]
  const key = (await read(keyPath)) ?? (await write(directory, keyPath, makeKey()))
  try {
    const cert = (await read(certPath)) ?? (await write(directory, certPath, selfSign(createPrivateKey(key))))
    checkIdentity({ cert, key })
    return { cert, key }
  } catch (error) {
    if (error instanceof OspError && error.code !== 'usage') throw error
    const { message } = error as Error
    throw new OspError('usage', `${keyPath} and cert.pem cannot be used: ${message}; remove both to create new ones`)
  }
}

async function read(path: string): Promise<string | undefined> {
  return await unless(['ENOENT'], `reading ${path}`, async () => {
    const handle = await openOwnFile(path, constants.O_RDONLY)
    try {
      return await handle.readFile('utf8')
    } finally {
      await handle.close()
    }
  })
}

async function write(directory: string, path: string, text: string): Promise<string> {
  await makePath(directory)
  await attempt(`writing ${path}`, async () => {
    const handle = await makeOwnFile(`${path}.new`, constants.O_WRONLY)
    try {
      await handle.writeFile(text)
      await handle.sync()
    } finally {
      await handle.close()
    }
    await rename(`${path}.new`, path)
  })
  await syncDirectory(directory)
  return text
}
