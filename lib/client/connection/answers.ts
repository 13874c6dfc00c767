import { OspError } from '../../errors.ts'
import { fixed } from '../../limits.ts'
import { isStoredFileName } from '../../names.ts'
import type { Message } from '../../wire/message.ts'
import { version } from '../../wire/protocol.ts'
import type { SentFile } from '../uploads/upload.ts'

/** `welcome`, or an OspError `malformed` that says what a client can't live with. */
export function checkWelcome(welcome: Message<'HelloAck'>): Message<'HelloAck'> {
  const { leastKeepAliveMs, mostKeepAliveMs, helloFrameBytes } = fixed
  const { maxFrame, keepAlive, maxUploads } = welcome
  if (welcome.version !== version)
    throw protocolViolation(`it has chosen version ${welcome.version}, which was not offered`)
  if (maxFrame < helloFrameBytes) throw protocolViolation(`it takes payloads of at most ${maxFrame} bytes`)
  if (keepAlive < leastKeepAliveMs || keepAlive > mostKeepAliveMs)
    throw protocolViolation(`its keep-alive is ${keepAlive} ms`)
  if (maxUploads === 0) throw protocolViolation('it takes no uploads')
  return welcome
}

/** The place of a file on the server. */
export type StoredAs = Pick<SentFile, 'storedName' | 'replaced'>

/** Returns the place of a file. Throws OspError `malformed` if it is not safe to show to people and programs. */
export function storedAs({ storedName, replaced = 0 }: Message<'FileMd5Ack'>): StoredAs {
  if (!isStoredFileName(storedName)) throw protocolViolation('the name of the stored file is not allowed')
  return { storedName, replaced: replaced !== 0 }
}

/** That the server does not keep to the protocol, and how. */
export const protocolViolation = (what: string) =>
  new OspError('malformed', `the server does not keep to the protocol: ${what}`)
