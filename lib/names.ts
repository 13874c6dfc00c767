import { OspError } from './errors.ts'
import { fixed } from './limits.ts'

const controls = /\p{Cc}/u
const bidirectional = /[\u061C\u200E\u200F\u202A-\u202E\u2066-\u2069]/u
/** Characters that are invisible in a file name. Joiners and variation selectors are allowed: languages and emoji need them. */
const invisible = /[\u00AD\u180E\u200B\u2028\u2029\u2060-\u2064\uFEFF]/u
/**
 * Characters of a user name that are invisible or look like a space: with them two users could look the same. This is a
 * function, so that the pattern is created only when it is used, which takes a fifth of a millisecond.
 */
const deceiving = () => /[\p{Default_Ignorable_Code_Point}\p{Cf}\p{Zl}\p{Zp}\u2800]|(?! )\p{Zs}/u
const separators = /[\\:]/u
const devices = /^(?:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9\u00B9\u00B2\u00B3])(?: *\.|$)/iu

/** Matches user names that need no further check. */
const plainUserName = /* @__PURE__ */ plainUserNamePattern()
/** Matches file names of up to 8 parts that need no further check. Does not match device names, with or without an extension. */
const plainFileName = /* @__PURE__ */ plainFileNamePattern(8)

const utf8 = new TextEncoder()

/** Does not use the flag `i`, because `\w` would then also match U+017F and U+212A. */
function deviceNamePattern(): string {
  return '[cC][oO][nN]|[pP][rR][nN]|[aA][uU][xX]|[nN][uU][lL]|[cC][oO][mM]\\d|[lL][pP][tT]\\d'
}

function plainUserNamePattern(): RegExp {
  return new RegExp(`^(?!(?:${deviceNamePattern()})$)[\\w-]{1,64}$`, 'u')
}

function plainFileNamePattern(mostParts: number): RegExp {
  const part = `(?!(?:${deviceNamePattern()})(?:[./]|$))[\\w-]{1,64}(?:\\.\\w{1,16}){0,2}`
  return new RegExp(`^${part}(?:/${part}){0,${mostParts - 1}}$`, 'u')
}

/** Returns whether a text is longer than `bytes` in UTF-8. A UTF-16 code unit takes at most three bytes. */
const isLonger = (text: string, bytes: number) => 3 * text.length > bytes && utf8.encode(text).length > bytes

/** Returns the fault of one part of a name, or `undefined` for a valid part (docs/protocol.md, "Names"). */
function faultOfPart(part: string): string | undefined {
  if (part === '') return 'it has an empty part'
  if (part === '.' || part === '..') return `it has "${part}" as a part`
  if (!part.isWellFormed()) return 'it is not UTF-8'
  if (part !== part.normalize('NFC')) return 'it is not in the Unicode form NFC'
  if (isLonger(part, fixed.namePartBytes)) return `a part is over ${fixed.namePartBytes} bytes`
  if (controls.test(part)) return 'it has a control character'
  if (bidirectional.test(part)) return 'it has a character that changes the direction of writing'
  const hidden = invisible.exec(part)
  if (hidden) return `it has the invisible character ${codeOf(hidden[0])}`
  if (separators.test(part)) return 'it has a "\\" or ":"'
  if (part.endsWith('.') || part.endsWith(' ')) return 'a part ends in a dot or a space'
  if (devices.test(part)) return `"${part}" is a device name on Windows`
  return undefined
}

function faultOfFileName(name: string): string | undefined {
  const fault = faultOfStoredName(name)
  if (fault) return fault
  const parts = partCount(name)
  return parts > fixed.nameParts ? `it has ${parts} parts; a name has at most ${fixed.nameParts}` : undefined
}

/** Returns the number of parts of a file name. */
export function partCount(name: string): number {
  let count = 1
  for (let at = name.indexOf('/'); at >= 0; at = name.indexOf('/', at + 1)) count++
  return count
}

function faultOfStoredName(name: string): string | undefined {
  if (plainFileName.test(name)) return undefined
  if (name === '') return 'it is empty'
  if (isLonger(name, fixed.fileNameBytes)) return `it is over ${fixed.fileNameBytes} bytes`
  return name
    .split('/')
    .map(faultOfPart)
    .find((fault) => fault !== undefined)
}

/** Returns the fault of a user name, or `undefined` for a valid one. */
export function faultOfUserName(name: string): string | undefined {
  if (plainUserName.test(name)) return undefined
  if (name === '') return 'it is empty'
  if (name.includes('/')) return 'it has a "/"'
  if (isLonger(name, fixed.userNameBytes)) return `it is over ${fixed.userNameBytes} bytes`
  const fault = faultOfPart(name)
  if (fault) return fault
  const hidden = deceiving().exec(name)
  if (hidden) return `it has the character ${codeOf(hidden[0])}, which is invisible or looks like a space`
  return name.startsWith(' ') ? 'it begins with a space' : undefined
}

/** Returns the code of a character in the notation of Unicode, `U+200B`. */
const codeOf = (char: string) => `U+${char.codePointAt(0)?.toString(16).toUpperCase().padStart(4, '0')}`

/** Returns whether this can be the name of a file: parts joined by `/`, in NFC. */
export const isFileName = (name: string): boolean => faultOfFileName(name) === undefined

/** Returns whether this can be the name of a stored file: as `isFileName`, but with any number of parts. */
export const isStoredFileName = (name: string): boolean => faultOfStoredName(name) === undefined

/** Returns whether this can be the name of a user: one part of at most 64 bytes. */
export const isUserName = (name: string): boolean => faultOfUserName(name) === undefined

/** Returns a key that is unique for the device of a user, because neither name can contain a "/". */
export const deviceKey = ({ user, device }: { readonly user: string; readonly device: string }): string =>
  `${user}/${device}`

/** Returns a key that is equal for user names that people or file systems confuse: `Bob`, `bob` and `ｂｏｂ`. */
export const nameKey = (name: string): string => foldedCase(name.normalize('NFKC')).normalize('NFKC')

/** Returns a key that is equal for file names that a case-insensitive file system treats as one. */
export const fileNameKey = (name: string): string => foldedCase(name).normalize('NFC')

/** Converts to both cases, because some letters become equal only in upper case, and some only in lower case. */
const foldedCase = (text: string) => text.toUpperCase().toLowerCase()

/** Returns `name`. Throws OspError `bad-name` with the name and its fault. */
export const checkFileName = (name: string): string => check(faultOfFileName(name), name, 'file')

/** Returns `name`, which may have any number of parts. Throws OspError `bad-name` as `checkFileName` does. */
export const checkStoredName = (name: string): string => check(faultOfStoredName(name), name, 'file')

/** Returns `name`. Throws OspError `bad-name` with the name and its fault. */
export const checkUserName = (name: string): string => check(faultOfUserName(name), name, 'user')

/** Returns `name` if it follows the rules of user names. Otherwise throws OspError `bad-name` with the name and its fault. */
export const checkDeviceName = (name: string): string => check(faultOfUserName(name), name, 'device')

function check(fault: string | undefined, name: string, what: string): string {
  if (fault === undefined) return name
  const shown = JSON.stringify(name.length > 80 ? `${name.slice(0, 80).toWellFormed()}…` : name)
  throw new OspError('bad-name', `the ${what} name ${shown} is not allowed: ${fault}`)
}

/** Returns the name of the mailbox in which the receipts of a user wait. No user can have this name. */
export const receiptMailbox = (user: string): string => `${receiptPrefix}${user}`

/** Returns the user whose receipts wait in this mailbox, if it is a mailbox of receipts. */
export const receiptOwner = (mailbox: string): string | undefined =>
  mailbox.startsWith(receiptPrefix) ? mailbox.slice(receiptPrefix.length) : undefined

const receiptPrefix = ':receipts:'
