import { X509Certificate } from 'node:crypto'

const dayMs = 86_400_000
/** Time enough to get a new one. */
const warnedMs = 14 * dayMs

/** What to warn of, if a certificate in PEM has expired at this time, or does so soon. */
export function expiryOf(cert: string | Uint8Array, nowMs: number): { expires: string; text: string } | undefined {
  const expiresMs = Date.parse(new X509Certificate(cert).validTo)
  const leftMs = expiresMs - nowMs
  if (!(leftMs <= warnedMs)) return undefined
  const advice = 'put a new one in its place, then send SIGHUP'
  const text =
    leftMs <= 0
      ? `the certificate has expired: clients that go by its authority refuse it; ${advice}`
      : `the certificate expires within ${Math.ceil(leftMs / dayMs)} days; ${advice}`
  return { expires: new Date(expiresMs).toISOString(), text }
}
