import { type Client, checkFileName, type FileInfo, OspError } from 'ospd'
import { asUsageError, displayed } from '../common/usage.ts'

/** Returns the name on the server for an operand, in Unicode form NFC. Throws UsageError if the name is not allowed. */
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
    // A faulty server could list other files, which a command would then put in the wrong place.
    if (!file.name.startsWith(prefix)) {
      throw new OspError('malformed', `the server listed ${file.name}, which is not in the folder ${folder}`)
    }
    yield file
  }
}

/** Returns the error to report for a name: if it is the name of a folder, one that says so; otherwise `error`. */
export async function missingFile(client: Client, name: string, error: OspError, advice: string): Promise<OspError> {
  if (error.code !== 'no-such-file') return error
  for await (const _ of filesBelow(client, name)) return new OspError('no-such-file', `it is a folder; ${advice}`)
  return error
}
