/**
 * What could steer a terminal, turn the direction of writing, or hide. Joiners and variation selectors are left alone where
 * they can do what they are for: behind a character that is neither ASCII nor Latin, and a digit's before its keycap; a
 * selector can stand between. So are the tags of a flag, as Scotland's.
 */
const raw =
  /(?<flag>\u{1F3F4}[\u{E0030}-\u{E0039}\u{E0061}-\u{E007A}]{1,6}\u{E007F})|(?<=[^\p{ASCII}\p{Script=Latin}\p{DI}\p{Z}\p{C}])(?<joined>\p{Variation_Selector}?[\u200C\u200D]|\p{Variation_Selector})|(?<=[#*0-9])(?<keycap>\uFE0F\u20E3)|[\p{Cc}\p{Cs}\p{Zl}\p{Zp}\p{DI}\uFFF9-\uFFFB]/gu

/**
 * Returns the text with these characters escaped, as `\u001b`, and bytes of a path that are not UTF-8 as `\xe9`. The
 * value of JSON text does not change.
 */
export function printable(text: string): string {
  return text.replace(raw, (found, flag?: string, joined?: string, keycap?: string) => {
    if (flag ?? joined ?? keycap) return found
    if (/[\uDC80-\uDCFF]/u.test(found)) return `\\x${(found.charCodeAt(0) - 0xdc00).toString(16)}`
    return found === '\n' ? '\\n' : [...units(found)].join('')
  })
}

/** JSON knows no other way to write a character beyond U+FFFF. */
function* units(char: string): Generator<string> {
  for (let at = 0; at < char.length; at++) yield `\\u${char.charCodeAt(at).toString(16).padStart(4, '0')}`
}

/** Returns a word as a shell must be given it. */
export function shellWord(word: string): string {
  return /^[\w@%+=:,./[\]-]+$/u.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`
}
