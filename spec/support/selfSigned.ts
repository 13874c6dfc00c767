import { createPrivateKey } from 'node:crypto'
import { makeKey, selfSign } from '../../lib/adapters/net/tls/selfSigned.ts'

/** Makes a new key and a certificate for it, as `ospd serve --tls auto` does; in PEM. */
export function selfSigned(): { readonly cert: string; readonly key: string } {
  const key = makeKey()
  return { key, cert: selfSign(createPrivateKey(key)) }
}
