import { z } from 'zod'
import { storedFileName, userName } from '../../nameSchemas.ts'
import type { Checkpoint, StoredFile, TransferRecord } from '../../ports/storage.ts'

/** The record of a completed upload. */
export interface CompletionMarker {
  readonly file: StoredFile
  readonly modifiedAt: number
  /** Wall time in ms after which the marker is no longer valid. */
  readonly until: number
  /** `StoredNames.version` of the published file. */
  readonly stamp: string
  /** Whether the server has reported the file in its log and to its listeners. */
  readonly reported: boolean
}

/** The identity of an upload. */
export interface Subject {
  readonly user: string
  readonly name: string
}

interface Rows {
  readonly record: TransferRecord
  /** A completion marker that replaces the record. */
  readonly completed: CompletionMarker
  /** A completion marker that does not affect a record. */
  readonly note: CompletionMarker
  /** The record was removed. */
  readonly removed: Subject
  /** The completion marker was reported. */
  readonly reported: Subject
  /** The completion marker was removed. */
  readonly forgotten: Subject
}

/** The content of a row. */
export type Row = { readonly [K in keyof Rows]: { readonly kind: K; readonly value: Rows[K] } }[keyof Rows]

/** The highest valid token. No storage counts to it, and soon after a higher token a record could hold no other. */
const mostToken = 2 ** 52

const whole = z.int().nonnegative()
const algorithm = z.enum(['md5', 'sha256', 'xxh128'])
const hexadecimal = z.string().regex(/^(?:[0-9a-f]{2})+$/)

const checkpoint = z
  .tuple([whole, z.union([hexadecimal, z.literal('')])])
  .transform(([offset, digest]): Checkpoint => ({ offset, digest: fromHex(digest) }))

const storedFile = z.object({
  user: userName,
  name: storedFileName,
  storedName: storedFileName,
  replaced: z.boolean().default(false),
  size: whole,
  algorithm,
  digest: hexadecimal,
})

const record = z.object({
  user: userName,
  name: storedFileName,
  size: whole,
  modifiedAt: whole,
  algorithm,
  token: whole.max(mostToken),
  owner: z.object({ node: whole, instance: whole, session: z.string() }),
  superseded: z.array(z.string()),
  checkpoints: z.array(checkpoint),
  verified: storedFile.exactOptional(),
  verifiedStamp: z.string().exactOptional(),
  updatedAt: z.number(),
})

const note = z.object({
  file: storedFile,
  modifiedAt: whole,
  until: z.number(),
  stamp: z.string(),
  reported: z.boolean(),
})

const subject = z.object({ user: userName, name: storedFileName })

const row = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('record'), value: record }),
  z.object({ kind: z.enum(['completed', 'note']), value: note }),
  z.object({ kind: z.enum(['removed', 'reported', 'forgotten']), value: subject }),
])

/** Encodes a row as bytes. */
export function writeRow({ kind, value }: Row): Buffer {
  return Buffer.from(JSON.stringify({ kind, value: kind === 'record' ? plain(value) : value }))
}

/** Decodes a row, or returns `undefined` if the bytes are not a valid row. */
export function readRow(bytes: Buffer): Row | undefined {
  return row.safeParse(parse(bytes.toString('utf8'))).data as Row | undefined
}

/** Returns the user and the name of a row. */
export const subjectOfRow = (row: Row): Subject =>
  row.kind === 'completed' || row.kind === 'note' ? row.value.file : row.value

function plain(value: TransferRecord): unknown {
  return { ...value, checkpoints: value.checkpoints.map((at) => [at.offset, toHex(at.digest)]) }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function toHex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')
}

function fromHex(text: string): Uint8Array {
  return Uint8Array.from(text.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16))
}
