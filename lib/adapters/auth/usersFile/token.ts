import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'

/** What every token begins with, so that one is known for what it is wherever it turns up. */
const prefix = 'osp_'

const tokenBytes = 32

/** What the token of somebody who is not known is compared with. */
const nobodys = Buffer.alloc(32)

/** A new token: 256 random bits. */
export function newToken(): string {
  return prefix + randomBytes(tokenBytes).toString('base64url')
}

/**
 * What is kept of a token: its SHA-256, in hexadecimal. A slow hash would add nothing: it makes guessing dear where people
 * choose a secret, while nobody guesses 256 random bits.
 */
export function hashOf(token: string): string {
  return digestOf(token).toString('hex')
}

/** Whether this is the token of that hash, found out in the same time for every token, also where there is no hash. */
export function holds(hash: string | undefined, token: string): boolean {
  const isSame = timingSafeEqual(hash === undefined ? nobodys : Buffer.from(hash, 'hex'), digestOf(token))
  return isSame && hash !== undefined
}

const digestOf = (token: string) => createHash('sha256').update(token).digest()
