import type { Socket } from '../ports/socket.ts'

/** Whether somebody on the way to the peer can read what the socket carries: neither guarded, nor within this machine. */
export function isInsecure({ guarded, peer }: Pick<Socket, 'guarded' | 'peer'>): boolean {
  return !guarded && !peer.local
}
