import { createPrivateKey } from 'node:crypto'
import { makeKey, selfSign } from '../../lib/adapters/net/tls/selfSigned.ts'

/** A new key, and a certificate of it as `ospd serve --tls auto` makes one; in PEM. */
export function selfSigned(): { readonly cert: string; readonly key: string } {
  const key = makeKey()
  return { key, cert: selfSign(createPrivateKey(key)) }
}
