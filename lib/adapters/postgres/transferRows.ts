import type { Announcement, Checkpoint, Claim, StoredFile, TransferRecord } from '../../ports/storage.ts'
import type { FileRecord } from '../../storage/catalogue/fileRecords.ts'
import type { FileChange } from '../cluster/fileSteps.ts'
import type { ClusterLink, LinkClaim } from '../cluster/steps.ts'

/** A row of `ospd.transfer` as JSON. */
export interface TransferRow {
  readonly user_name: string
  readonly name: string
  readonly size: number
  readonly modified_at: number
  readonly algorithm: TransferRecord['algorithm']
  readonly token: number
  readonly link: number
  readonly instance: number
  readonly session: string
  readonly superseded: readonly string[]
  /** In hexadecimal, after `\x`. */
  readonly checkpoints: string
  readonly verified: StoredFile | null
  readonly verified_stamp: string | null
  readonly updated_at: number
  readonly metadata: TransferRecord['metadata'] | null
  readonly store_as: string | null
  readonly reserved: number
  readonly reserved_entries: number
  readonly released: number
}

/** A stored file, with its metadata if it was announced with metadata. */
export type MarkedFile = StoredFile & Pick<Announcement, 'metadata'>

/** A row of `ospd.marker` as JSON. */
export interface MarkerRow {
  readonly file: MarkedFile
  readonly version: string
  readonly modified_at: number
  readonly source: string | null
  readonly server: number
}

/** A row of `ospd.file` as JSON. */
export interface FileRow extends Omit<FileRecord, 'user' | 'modifiedAt'> {
  readonly user_name: string
  readonly modified_at: number | null
}

/** Returns the record of a row of `ospd.file`. */
export function fileRecordOfRow({ user_name: user, modified_at: modifiedAt, ...row }: FileRow): FileRecord {
  const { name, version, size, algorithm, digest, metadata } = row
  return { user, name, version, size, ...(modifiedAt !== null && { modifiedAt }), algorithm, digest, metadata }
}

/** A row of `ospd.file_change` as JSON. */
export interface FileChangeRow {
  readonly fence: string
  readonly user_name: string
  readonly name: string
  readonly new_name: string | null
  readonly version: string
}

/** Returns the change of a row of `ospd.file_change`. */
export function fileChangeOfRow({ user_name: user, new_name: newName, ...row }: FileChangeRow): FileChange {
  const { fence, name, version } = row
  return { fence, user, name, version, ...(newName !== null && { newName }) }
}

/** The token and the owner of a claim that has ended. */
export interface EndedClaimRow extends ClusterLink {
  readonly token: number
}

/** Returns the record of a row. */
export function transferRecordOf(row: TransferRow): TransferRecord {
  const {
    user_name: user,
    name,
    size,
    modified_at: modifiedAt,
    algorithm,
    token,
    verified,
    verified_stamp: stamp,
  } = row
  return {
    ...{ user, name, size, modifiedAt, algorithm, token },
    owner: { node: row.link, instance: row.instance, session: sessionOf(row.session) },
    superseded: row.superseded.map(sessionOf),
    checkpoints: unpackedCheckpoints(Buffer.from(row.checkpoints.slice(2), 'hex')),
    ...(verified && { verified }),
    ...(stamp !== null && { verifiedStamp: stamp }),
    updatedAt: row.updated_at,
    ...(row.metadata && { metadata: row.metadata }),
    ...(row.store_as !== null && { storeAs: row.store_as }),
  }
}

/** Returns the completion marker of a row. */
export function markerOf({ file: marked, version, modified_at: modifiedAt }: MarkerRow): Announcement {
  const { metadata, ...file } = marked
  return { file, version, modifiedAt, ...(metadata && { metadata }) }
}

/** Returns the claim of an upload that has ended, and its owner. */
export function endedClaim({ user, name }: Pick<Claim, 'user' | 'name'>, row: EndedClaimRow): LinkClaim {
  return { user, name, token: row.token, server: row.server, link: row.link }
}

/** Returns the offset of the last checkpoint, or 0. */
export const durableOffset = (checkpoints: readonly Checkpoint[]): number => checkpoints.at(-1)?.offset ?? 0

/** Encodes checkpoints: of each its offset (8 bytes), the length of its digest (1 byte) and its digest. */
export function packedCheckpoints(checkpoints: readonly Checkpoint[]): Buffer {
  const parts = checkpoints.flatMap(({ offset, digest }) => {
    const head = Buffer.alloc(9)
    head.writeBigUInt64BE(BigInt(offset))
    head.writeUInt8(digest.length, 8)
    return [head, digest]
  })
  return Buffer.concat(parts)
}

function unpackedCheckpoints(bytes: Buffer): Checkpoint[] {
  const checkpoints: Checkpoint[] = []
  let at = 0
  while (at < bytes.length) {
    const end = at + 9 + bytes.readUInt8(at + 8)
    checkpoints.push({
      offset: Number(bytes.readBigUInt64BE(at)),
      digest: Uint8Array.from(bytes.subarray(at + 9, end)),
    })
    at = end
  }
  return checkpoints
}

/** Returns a uuid as 32 hexadecimal digits. */
const sessionOf = (uuid: string) => uuid.replaceAll('-', '')
