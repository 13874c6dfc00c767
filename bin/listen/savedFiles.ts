import { statSync } from 'node:fs'
import { join } from 'node:path'
import { type Client, type FileReference, type Message, OspError } from 'ospd'
import { fileTarget, pathReason } from 'ospd/node'
import { makeDirectories } from '../common/directories.ts'

/** The highest number that is added to the name of a file. */
const mostNumber = 1_000

/** The file of a message: its path after it was saved, or the error that permanently prevents saving it. */
export type SavedFile = { readonly path: string } | { readonly error: OspError }

/** Errors after which another attempt to save a file cannot succeed. */
const finalCodes = new Set(['gone', 'unauthorized', 'digest-mismatch'])

/**
 * Saves the file of a message below a folder, under its name, or under the last part of its name if a file has the name of one of its
 * folders. If another file has that name, adds a number. A file that was saved by an earlier attempt is not downloaded again.
 * Resolves with `undefined` if the message has no file.
 */
export async function saveFile(
  client: Client,
  folder: string,
  { file }: Message,
  signal: AbortSignal,
): Promise<SavedFile | undefined> {
  if (!file) return undefined
  const name = isBelowFile(folder, file.name) ? file.name.slice(file.name.lastIndexOf('/') + 1) : file.name
  for (let number = 0; ; number++) {
    const path = join(folder, numbered(name, number))
    try {
      makeParent(path)
      await client.files.download(file, { to: fileTarget(path), signal }).done
      return { path }
    } catch (cause) {
      const error = OspError.from(cause)
      if (finalCodes.has(error.code)) return { error }
      if (error.code !== 'target-exists' || number === mostNumber) throw error
    }
  }
}

/** Returns whether a file has the name of one of the folders of this name. */
function isBelowFile(folder: string, name: string): boolean {
  const parts = name.split('/').slice(0, -1)
  return parts.some((_, at) => {
    const stats = statSync(join(folder, ...parts.slice(0, at + 1)), { throwIfNoEntry: false })
    return stats !== undefined && !stats.isDirectory()
  })
}

function makeParent(path: string): void {
  const folder = join(path, '..')
  try {
    makeDirectories(folder)
  } catch (cause) {
    throw new OspError('target-unwritable', `the folder ${folder} cannot be created: ${pathReason(cause)}`, { cause })
  }
}

/** Returns the name with a number before its extension: `plan (1).pdf`. */
function numbered(name: string, number: number): string {
  if (number === 0) return name
  const slash = name.lastIndexOf('/') + 1
  const dot = name.lastIndexOf('.')
  const end = dot > slash ? dot : name.length
  return `${name.slice(0, end)} (${number})${name.slice(end)}`
}

/** Returns the fields of a reference for an event. */
export function printedReference({
  owner,
  name,
  size,
  modifiedAt,
  version,
  algorithm,
  digest,
  metadata,
}: FileReference) {
  const modified = new Date(modifiedAt).toISOString()
  return { owner, name, size, modified, version, algorithm, digest, metadata }
}
