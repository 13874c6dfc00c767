import * as z from 'zod/mini'
import { storedFileName, userName } from '../../nameSchemas.ts'
import type { Checkpoint, TransferRecord } from '../../ports/storage.ts'
import { bytesOfHex, hex } from '../../runtime/hex.ts'
import { jsonOf } from '../../runtime/json.ts'
import type { FileRecord } from '../catalogue/fileRecords.ts'

/** The highest valid token. No storage counts to it, and soon after a higher token a record could hold no other. */
const mostToken = 2 ** 52

const whole = z.int().check(z.nonnegative())
const algorithm = z.enum(['md5', 'sha256', 'xxh128'])
const hexadecimal = z.string().check(z.regex(/^(?:[0-9a-f]{2})+$/))

const metadata = z.record(z.string(), z.string())

const checkpoint = z.pipe(
  z.tuple([whole, z.union([hexadecimal, z.literal('')])]),
  z.transform(([offset, digest]): Checkpoint => ({ offset, digest: bytesOfHex(digest) })),
)

const storedFile = z.object({
  user: userName,
  name: storedFileName,
  storedName: storedFileName,
  replaced: z._default(z.boolean(), false),
  size: whole,
  algorithm,
  digest: hexadecimal,
  notice: z.exactOptional(
    z.object({ id: hexadecimal, recipients: z.readonly(z.array(userName)), receipt: z.exactOptional(z.boolean()) }),
  ),
})

const record = z.object({
  user: userName,
  name: storedFileName,
  size: whole,
  modifiedAt: whole,
  algorithm,
  token: whole.check(z.maximum(mostToken)),
  owner: z.object({ node: whole, instance: whole, session: z.string() }),
  superseded: z.array(z.string()),
  checkpoints: z.array(checkpoint),
  verified: z.exactOptional(storedFile),
  verifiedStamp: z.exactOptional(z.string()),
  updatedAt: z.number(),
  metadata: z.exactOptional(metadata),
  storeAs: z.exactOptional(storedFileName),
})

const completionMarker = z.object({
  file: storedFile,
  modifiedAt: whole,
  /** Wall time in ms after which the marker moves to the records of stored files. */
  until: z.number(),
  /** `StoredNames.version` of the published file. */
  stamp: z.string(),
  /** Whether the server has reported the file in its log and to its listeners. */
  reported: z.boolean(),
  /** Whether it was written before the file was published, so that the file may not have been stored. */
  announced: z.exactOptional(z.literal(true)),
  metadata: z.exactOptional(metadata),
})

/** The record of a completed upload. */
export type CompletionMarker = Readonly<z.infer<typeof completionMarker>>

/** Returns what a completion marker says about its stored file. */
export function fileRecordOf({
  file,
  modifiedAt,
  stamp,
  metadata = {},
}: Pick<CompletionMarker, 'file' | 'modifiedAt' | 'stamp'> & Pick<TransferRecord, 'metadata'>): FileRecord {
  const { user, storedName, size, algorithm, digest } = file
  return { user, name: storedName, version: stamp, size, modifiedAt, algorithm, digest, metadata }
}

const subject = z.object({ user: userName, name: storedFileName })

/** The identity of an upload. */
export type Subject = Readonly<z.infer<typeof subject>>

/** The content of a row. */
export type Row =
  | { readonly kind: 'record'; readonly value: TransferRecord }
  /** A `completed` marker replaces the record. */
  | { readonly kind: 'completed' | 'note'; readonly value: CompletionMarker }
  /** The record was removed, or the marker was reported or removed. */
  | { readonly kind: 'removed' | 'reported' | 'forgotten'; readonly value: Subject }

const row = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('record'), value: record }),
  z.object({ kind: z.enum(['completed', 'note']), value: completionMarker }),
  z.object({ kind: z.enum(['removed', 'reported', 'forgotten']), value: subject }),
])

/** Encodes a row as bytes. */
export function writeRow(row: Row): Buffer {
  if (row.kind !== 'record') return Buffer.from(JSON.stringify(row))
  const checkpoints = row.value.checkpoints.map((at) => [at.offset, hex(at.digest)])
  return Buffer.from(JSON.stringify({ kind: row.kind, value: { ...row.value, checkpoints } }))
}

/** Decodes a row, or returns `undefined` if the bytes are not a valid row. */
export function readRow(bytes: Buffer): Row | undefined {
  return row.safeParse(jsonOf(bytes.toString('utf8'))).data as Row | undefined
}
