/**
 * Returns the id of the message about a file to the users that the operator has specified, if the owner gets receipts. It is the id
 * of `FileNotice` with the last bit inverted.
 */
export function otherMessageId(id: Uint8Array): Uint8Array {
  const other = Uint8Array.from(id)
  other[other.length - 1] = (other.at(-1) ?? 0) ^ 1
  return other
}

/** Number of bytes at the end of the ids of an upload's messages that depend on the version of its source. */
const versionBytes = 8

/**
 * Returns the id of the message about one version of the source of an upload. If the source changes after the server has stored a
 * version, the message about the next version must have another id. The last bit does not depend on the version, so that
 * `otherMessageId` of one version is never the id of another one.
 */
export function versionMessageId(
  id: Uint8Array,
  { digest, modifiedAt }: { readonly digest: Uint8Array; readonly modifiedAt: number },
): Uint8Array {
  const own = Uint8Array.from(id)
  const time = new Uint8Array(versionBytes)
  new DataView(time.buffer).setBigUint64(0, BigInt(modifiedAt) << 1n)
  const first = own.length - versionBytes
  for (let at = 0; at < versionBytes; at++)
    own[first + at] = (id[first + at] ?? 0) ^ (digest[at] ?? 0) ^ (time[at] ?? 0)
  own[own.length - 1] = ((own.at(-1) ?? 0) & 0xfe) | ((id.at(-1) ?? 0) & 1)
  return own
}

/** Returns the part of a hexadecimal id that the ids of all messages about the files of an upload share with that of its `FileNotice`. */
export const uploadPartOf = (messageId: string): string => messageId.slice(0, -2 * versionBytes)
