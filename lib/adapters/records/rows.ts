import { z } from 'zod'
import { fileName, userName } from '../../names.ts'
import type { Checkpoint, StoredFile, TransferRecord } from '../../ports/storage.ts'

/** What is kept of a completed upload. */
export interface Note {
  readonly file: StoredFile
  readonly modifiedAt: number
  /** Wall time in ms after which it no longer counts. */
  readonly until: number
  /** `StoredNames.stamp` of the published file: with another stamp it is not that file any more. */
  readonly stamp: string
}

const whole = z.int().nonnegative()
const algorithm = z.enum(['md5', 'sha256', 'xxh128'])
const hexadecimal = z.string().regex(/^(?:[0-9a-f]{2})+$/)

const checkpoint = z
  .tuple([whole, z.union([hexadecimal, z.literal('')])])
  .transform(([offset, digest]): Checkpoint => ({ offset, digest: fromHex(digest) }))

const storedFile = z.object({
  user: userName,
  name: fileName,
  storedName: fileName,
  replaced: z.boolean().default(false),
  size: whole,
  algorithm,
  digest: hexadecimal,
})

const record = z.object({
  user: userName,
  name: fileName,
  size: whole,
  modifiedAt: whole,
  algorithm,
  token: whole,
  owner: z.object({ node: whole, instance: whole, session: z.string() }),
  superseded: z.array(z.string()),
  checkpoints: z.array(checkpoint),
  verified: storedFile.exactOptional(),
  updatedAt: z.number(),
})

const note = z.object({ file: storedFile, modifiedAt: whole, until: z.number(), stamp: z.string() })

/** A record as the text that is kept of it. */
export function writeRecord(value: TransferRecord): string {
  return JSON.stringify({ ...value, checkpoints: value.checkpoints.map((at) => [at.offset, toHex(at.digest)]) })
}

/** The record that a text was made of, or `undefined` if it is damaged. */
export function readRecord(text: string | undefined): TransferRecord | undefined {
  return record.safeParse(parse(text)).data
}

/** A note as the text that is kept of it. */
export function writeNote(value: Note): string {
  return JSON.stringify(value)
}

/** The note that a text was made of, or `undefined` if it is damaged. */
export function readNote(text: string | undefined): Note | undefined {
  return note.safeParse(parse(text)).data
}

function parse(text: string | undefined): unknown {
  try {
    return text === undefined ? undefined : JSON.parse(text)
  } catch {
    // A torn text is as good as none.
    return undefined
  }
}

function toHex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')
}

function fromHex(text: string): Uint8Array {
  return Uint8Array.from(text.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16))
}
