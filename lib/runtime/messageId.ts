/**
 * Returns the id of the message about a file to the users that the operator has specified, if the owner gets receipts. It is the id
 * of `FileNotice` with the last bit inverted.
 */
export function otherMessageId(id: Uint8Array): Uint8Array {
  const other = Uint8Array.from(id)
  other[other.length - 1] = (other.at(-1) ?? 0) ^ 1
  return other
}
