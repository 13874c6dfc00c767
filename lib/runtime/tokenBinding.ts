import { OspError } from '../errors.ts'
import type { Socket } from '../ports/socket.ts'

/**
 * The weakest connection over which a token may be sent, from strong to weak:
 * - `authority`: to a server whose certificate has a trusted root, which can be any root.
 * - `SHA256:…`: to the server with this public key, or to one whose certificate has a trusted root.
 * - `local`: within this machine, or to a server whose certificate has a trusted root.
 * - `unrecorded`: the token was stored without its connection. To a server whose certificate has a trusted root, and without TLS
 *   within this machine or with the option `allowPlaintext`; never to a server that is known only by its key.
 * - `open`: over every connection.
 */
export type TokenBinding = 'authority' | `SHA256:${string}` | 'local' | 'unrecorded' | 'open'

/** A token and the connections over which it may be sent. */
export interface BoundToken {
  readonly token: string
  readonly boundTo: TokenBinding
}

/** The result of the `token` option of a client. A string has the binding `open`. */
export type GivenToken = string | BoundToken

/** Returns the binding of a token that was accepted over this connection. */
export function bindingOf({ peer }: Pick<Socket, 'peer'>): TokenBinding {
  const { verification, local } = peer
  if (verification?.by === 'authority') return 'authority'
  if (verification) return verification.fingerprint as TokenBinding
  return local ? 'local' : 'open'
}

/** Returns whether others could read this token in transit, although `allowPlaintext` does not permit that. */
export function isTokenExposed(
  token: string,
  { guarded, peer }: Pick<Socket, 'guarded' | 'peer'>,
  allowPlaintext: boolean,
): boolean {
  return token !== '' && !allowPlaintext && !guarded && !peer.local
}

/** Closes the socket and throws OspError `unauthorized` if the token must not be sent over it. */
export function assertTokenAllowed(given: GivenToken, socket: Socket, allowPlaintext: boolean): void {
  const { token, boundTo } = typeof given === 'string' ? ({ token: given, boundTo: 'open' } as const) : given
  if (token === '') return
  const reason = isTokenExposed(token, socket, allowPlaintext) ? exposedReason : weakerReason(boundTo, socket)
  if (reason === undefined) return
  socket.destroy()
  throw new OspError('unauthorized', `the token was not sent to ${socket.peer.host}: ${reason}`)
}

const exposedReason =
  'others could read it in transit; use TLS (--tls), or the option allowPlaintext (--allow-plaintext) on a network that you trust'

function weakerReason(boundTo: TokenBinding, { peer, guarded }: Socket): string | undefined {
  const { verification, local } = peer
  if (boundTo === 'open' || verification?.by === 'authority') return undefined
  if (verification?.fingerprint === boundTo) return undefined
  if (boundTo === 'local' && local) return undefined
  if (boundTo === 'unrecorded' && !verification && (local || !guarded)) return undefined
  const now = verification
    ? `this one is known only by its key ${verification.fingerprint}`
    : 'this one is not verified'
  return (
    `${formerly(boundTo)}, and ${now}; another program may be posing as the server. ` +
    'If its operator confirms the change, log in again (osp login)'
  )
}

function formerly(boundTo: TokenBinding): string {
  if (boundTo === 'authority') return 'it was stored for a server whose certificate an authority vouched for'
  if (boundTo === 'local') return 'it was stored for a server on this machine'
  if (boundTo === 'unrecorded') return 'it was stored without a record of how its server was verified'
  return `it was stored for the server with the key ${boundTo}`
}
