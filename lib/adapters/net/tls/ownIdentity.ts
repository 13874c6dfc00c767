import { createPrivateKey } from 'node:crypto'
import { constants } from 'node:fs'
import { dirname, join } from 'node:path'
import { OspError } from '../../../errors.ts'
import { checkArgument, kinds } from '../../../options.ts'
import { makePath, replaceFile } from '../../disk/directories.ts'
import { attempt, unless } from '../../disk/faults.ts'
import { checkDirectoryRights, openOwnFile } from '../../disk/rights.ts'
import { contextOf, type TlsIdentity } from './identity.ts'
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
  const key = (await read(keyPath)) ?? (await write(keyPath, makeKey()))
  try {
    const cert = (await read(certPath)) ?? (await write(certPath, selfSign(createPrivateKey(key))))
    contextOf({ cert, key })
    return { cert, key }
  } catch (error) {
    if (error instanceof OspError && error.code !== 'usage') throw error
    const { message } = error as Error
    throw new OspError('usage', `${keyPath} and cert.pem cannot be used: ${message}; remove both to create new ones`)
  }
}

async function read(path: string): Promise<string | undefined> {
  return await unless(['ENOENT'], `reading ${path}`, async () => {
    await using file = await openOwnFile(path, constants.O_RDONLY)
    return await file.readFile('utf8')
  })
}

async function write(path: string, text: string): Promise<string> {
  await makePath(dirname(path))
  await replaceFile(path, text, true)
  return text
}
