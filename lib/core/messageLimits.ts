import { OspError } from '../errors.ts'
import { fixed } from '../limits.ts'
import type { Attributes } from '../wire/messageBody.ts'
import { checkMetadata } from './metadata.ts'

/** Throws OspError `too-large` if a message exceeds a limit, and `malformed` if its headers are not valid. */
export function checkMessageParts({ headers = [] }: Attributes, content: Uint8Array): void {
  checkMetadata(headers, 'a message', 'headers')
  if (content.length <= fixed.messageBytes) return
  const text = `a message has at most ${fixed.messageBytes} bytes; this one has ${content.length}`
  throw new OspError('too-large', text)
}
