import { type Client, checkFileName, type FileInfo, OspError } from 'ospd'
import { asUsageError, displayed } from '../common/usage.ts'

/** Returns the name on the server that an operand names, in the Unicode form NFC. Throws UsageError if it is not allowed. */
export function nameOperand(operand: string): string {
  try {
    return checkFileName(operand.normalize('NFC'))
  } catch (error) {
    return asUsageError(displayed(operand), error)
  }
}

/** Yields the files in and below a folder, or all files if its name is empty. */
export async function* filesBelow(client: Client, folder: string): AsyncGenerator<FileInfo> {
  const prefix = folder === '' ? '' : `${folder}/`
  for await (const file of client.files.list({ prefix })) {
    // A server that returns other files is faulty. A command would put them in the wrong place.
    if (!file.name.startsWith(prefix)) {
      throw new OspError('malformed', `the server has listed ${file.name} as a file of ${folder}`)
    }
    yield file
  }
}

/** Returns the error for a name that is not that of a file, which says so if it is that of a folder. */
export async function missingFile(client: Client, name: string, error: OspError, advice: string): Promise<OspError> {
  if (error.code !== 'no-such-file') return error
  for await (const _ of filesBelow(client, name)) return new OspError('no-such-file', `it is a folder; ${advice}`)
  return error
}
