import type { WriteStream } from 'node:tty'

/** Text whose characters are visible and occupy one column each. */
const plain = /^[ -~]*$/u

/**
 * Matches characters that could control a terminal, change the writing direction, or be invisible. Also matches, in named
 * groups, joiners and variation selectors in their proper use, which stay: after a character that is neither ASCII nor
 * Latin, or between a digit and its keycap; a selector can stand between. The tags of a flag such as Scotland's stay too.
 * This is a function, like some patterns below, so that the pattern is created only when it is used: a pattern with large sets
 * of characters takes half a millisecond to create.
 */
const raw = () =>
  /(?<flag>\u{1F3F4}[\u{E0030}-\u{E0039}\u{E0061}-\u{E007A}]{1,6}\u{E007F})|(?<=[^\p{ASCII}\p{Script=Latin}\p{DI}\p{Z}\p{C}])(?<joined>\p{Variation_Selector}?[\u200C\u200D]|\p{Variation_Selector})|(?<=[#*0-9])(?<keycap>\uFE0F\u20E3)|[\p{Cc}\p{Cs}\p{Zl}\p{Zp}\p{DI}\uFFF9-\uFFFB]/gu

/** Escapes these characters (`\u001b`), and bytes of a path that are not UTF-8 (`\xe9`). JSON text keeps its value. */
export function printable(text: string): string {
  if (plain.test(text)) return text
  return text.replace(raw(), (found, flag?: string, joined?: string, keycap?: string) => {
    if (flag ?? joined ?? keycap) return found
    if (/[\uDC80-\uDCFF]/u.test(found)) return `\\x${(found.charCodeAt(0) - 0xdc00).toString(16)}`
    if (found === '\n') return '\\n'
    // JSON escapes a character beyond U+FFFF as two code units.
    const units = found.split('').map((unit) => unit.charCodeAt(0).toString(16).padStart(4, '0'))
    return units.map((unit) => `\\u${unit}`).join('')
  })
}

/** Returns a word quoted for a shell. */
export function shellWord(word: string): string {
  return /^[\w@%+=:,./[\]-]+$/u.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`
}

let segmenter: Intl.Segmenter | undefined

/** Creates the segmenter on first use, since that takes longer than loading all modules of a command. */
function graphemesOf(text: string): string[] {
  if (plain.test(text)) return [...text]
  segmenter ??= new Intl.Segmenter(undefined, { granularity: 'grapheme' })
  return Array.from(segmenter.segment(text), ({ segment }) => segment)
}

const picture = () => /\p{Emoji_Presentation}|\uFE0F|\u200D|^\p{Regional_Indicator}{2}/u
const nothing = () => /^[\p{Mn}\p{Me}\p{Cf}\p{Cc}]$/u
/** East Asian wide and full-width characters (Unicode Standard Annex 11). */
const wide = () =>
  /^[\u1100-\u115F\u2E80-\u303E\u3041-\u33FF\u3400-\u4DBF\u4E00-\uA4CF\uA960-\uA97F\uAC00-\uD7A3\uF900-\uFAFF\uFE10-\uFE19\uFE30-\uFE6F\uFF01-\uFF60\uFFE0-\uFFE6\u{16FE0}-\u{18CFF}\u{1AFF0}-\u{1B2FF}\u{1F200}-\u{1F2FF}\u{20000}-\u{3FFFD}]$/u

/** Returns the number of terminal columns that the text occupies. */
export function widthOf(text: string): number {
  if (plain.test(text)) return text.length
  let width = 0
  for (const grapheme of graphemesOf(text)) width += widthOfGrapheme(grapheme)
  return width
}

function widthOfGrapheme(grapheme: string): number {
  if (picture().test(grapheme)) return 2
  let width = 0
  for (const char of grapheme) width += nothing().test(char) ? 0 : wide().test(char) ? 2 : 1
  return width
}

/** Returns the text in exactly `columns` columns: padded with spaces, or truncated with an ellipsis. */
export function fit(text: string, columns: number, keep: 'start' | 'end' = 'start'): string {
  const shown = widthOf(text) <= columns ? text : cut(text, columns, keep)
  return shown + ' '.repeat(Math.max(0, columns - widthOf(shown)))
}

/** Truncates a text. A path keeps its end, which distinguishes it from others. */
function cut(text: string, columns: number, keep: 'start' | 'end'): string {
  if (columns < 1) return ''
  const all = graphemesOf(text)
  if (keep === 'end') all.reverse()
  let width = 1
  const tooWide = all.findIndex((grapheme) => {
    width += widthOfGrapheme(grapheme)
    return width > columns
  })
  const kept = all.slice(0, tooWide)
  return keep === 'start' ? `${kept.join('')}…` : `…${kept.reverse().join('')}`
}

/** Returns rows of cells as lines, with the cells aligned in columns. */
export function tableLines(rows: readonly (readonly string[])[], indent = ''): readonly string[] {
  const widths: number[] = []
  for (const row of rows) for (const [at, cell] of row.entries()) widths[at] = Math.max(widths[at] ?? 0, widthOf(cell))
  return rows.map((row) => (indent + row.map((cell, at) => fit(cell, widths[at] ?? 0)).join('  ')).trimEnd())
}

/** Returns whether a stream is a terminal that can move its cursor. */
export function isTerminal(stream: NodeJS.WriteStream): stream is WriteStream {
  return stream.isTTY === true && process.env.TERM !== 'dumb'
}

const codes = { bold: [1, 22], dim: [2, 22], red: [31, 39], green: [32, 39], yellow: [33, 39], cyan: [36, 39] } as const

export type Style = (text: string) => string
export type Styles = Readonly<Record<keyof typeof codes, Style>>

/** Returns the styles of a stream: colours on a terminal unless NO_COLOR is set (no-color.org), plain text elsewhere. */
export function stylesFor(stream: NodeJS.WriteStream): Styles {
  const colours = isTerminal(stream) && !process.env.NO_COLOR
  const styles = Object.entries(codes).map(([name, [on, off]]) => {
    const style: Style = (text) => (colours && text !== '' ? `\u001B[${on}m${text}\u001B[${off}m` : text)
    return [name, style] as const
  })
  return Object.fromEntries(styles) as Styles
}
