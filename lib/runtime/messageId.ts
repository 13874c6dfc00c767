import { bytesOfHex, hex } from './hex.ts'

/**
 * Returns the ids of the messages about a file, by the id of its `FileNotice`: that of the message to the users that the sender has
 * named, and that of the message to the users that the server itself notifies. The receipts have these ids.
 */
export function fileMessageIds(noticeId: string): readonly [named: string, notified: string] {
  return [noticeId, hex(otherMessageId(bytesOfHex(noticeId)))]
}

/**
 * Returns the id of the message about a file to the users that the operator has specified, if the owner gets receipts. It is the id
 * of `FileNotice` with the last bit inverted.
 */
export function otherMessageId(id: Uint8Array): Uint8Array {
  const other = Uint8Array.from(id)
  other[other.length - 1] = (other.at(-1) ?? 0) ^ 1
  return other
}
