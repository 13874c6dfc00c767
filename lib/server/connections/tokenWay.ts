import { OspError } from '../../errors.ts'
import type { Socket } from '../../ports/socket.ts'
import { isInsecure } from '../../runtime/isInsecure.ts'

/** Throws OspError `unauthorized` for a token that others may have read on its way: it proves nothing. */
export function checkTokenWay(token: string, socket: Socket, insecure: boolean): void {
  if (token === '' || insecure || !isInsecure(socket)) return
  throw new OspError(
    'unauthorized',
    'a token is not taken over a link that others can read: use TLS, and have this token replaced by another one',
  )
}
