import { numberOf, OspError } from '../../../errors.ts'
import type { Frame } from '../../../wire/frame.ts'
import { encode } from '../../../wire/message.ts'
import { apps, events, version } from '../../../wire/protocol.ts'
import { unreachable } from '../unreachable.ts'

/** What OpenSSL says of bytes that are no TLS at all. */
const noTls = new Set(['ERR_SSL_WRONG_VERSION_NUMBER', 'ERR_SSL_PACKET_LENGTH_TOO_LONG', 'ERR_SSL_UNEXPECTED_MESSAGE'])

/** What it says where the two share no version of TLS. */
const noVersion = new Set(['ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION', 'ERR_SSL_UNSUPPORTED_PROTOCOL'])

/** Why a handshake with the server at `place` has failed, and what can be done. */
export function handshakeError(place: string, cause: Error): OspError {
  const { code = '' } = cause as NodeJS.ErrnoException
  if (noTls.has(code)) {
    const text = `the server at ${place} does not speak TLS; start it with TLS (ospd serve --tls auto), or, if the way there is safe, connect without (no --tls)`
    return new OspError('unsupported-version', text, { cause })
  }
  if (noVersion.has(code)) {
    const text = `the server at ${place} has no TLS 1.3, which is the least that is taken; bring it up to date`
    return new OspError('unsupported-version', text, { cause })
  }
  return unreachable('connect', place, cause)
}

/** GOODBYE, as a peer reads it that speaks to a server of TLS without. */
export function speakTls(): Frame {
  const text = 'this server speaks TLS; connect with TLS (osp --tls)'
  const code = numberOf('unsupported-version')
  const { number, app } = events.GoodbyeNtf
  const payload = encode({ event: 'GoodbyeNtf', code, retryAfter: 0, text })
  return { flags: 0, version, event: number, seq: 0, app: apps[app], instance: 0, payload }
}
