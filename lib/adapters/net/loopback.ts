/** Returns an IPv6 address without its zone: `fe80::1` for `fe80::1%eth0`. */
export const withoutZone = (address: string): string => address.replace(/%.*$/u, '')

/** Whether only this machine can be at the other end of an IP address: 127.0.0.0/8, ::1, ::ffff:127.0.0.0/104. */
export function isLoopback(address: string): boolean {
  return /^(::ffff:)?127\.|^::1$/i.test(withoutZone(address))
}
