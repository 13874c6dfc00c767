const graphemes = new Intl.Segmenter(undefined, { granularity: 'grapheme' })

const picture = /\p{Emoji_Presentation}|\uFE0F|\u200D|^\p{Regional_Indicator}{2}/u
const nothing = /^[\p{Mn}\p{Me}\p{Cf}\p{Cc}]$/u
/** East Asian wide and full-width characters (Unicode Standard Annex 11). */
const wide =
  /^[\u1100-\u115F\u2E80-\u303E\u3041-\u33FF\u3400-\u4DBF\u4E00-\uA4CF\uA960-\uA97F\uAC00-\uD7A3\uF900-\uFAFF\uFE10-\uFE19\uFE30-\uFE6F\uFF01-\uFF60\uFFE0-\uFFE6\u{16FE0}-\u{18CFF}\u{1AFF0}-\u{1B2FF}\u{1F200}-\u{1F2FF}\u{20000}-\u{3FFFD}]$/u

/** How many columns of a terminal the text takes. */
export function widthOf(text: string): number {
  let width = 0
  for (const { segment } of graphemes.segment(text)) width += widthOfGrapheme(segment)
  return width
}

function widthOfGrapheme(grapheme: string): number {
  if (picture.test(grapheme)) return 2
  let width = 0
  for (const char of grapheme) width += nothing.test(char) ? 0 : wide.test(char) ? 2 : 1
  return width
}

/** Returns the text in exactly `columns` columns: padded with spaces, or truncated with an ellipsis. */
export function fit(text: string, columns: number, keep: 'start' | 'end' = 'start'): string {
  const width = widthOf(text)
  const shown = width <= columns ? text : cut(text, columns, keep)
  return shown + ' '.repeat(Math.max(0, columns - Math.min(width, widthOf(shown))))
}

/** Truncates a text. A path keeps its end, which distinguishes it from others. */
function cut(text: string, columns: number, keep: 'start' | 'end'): string {
  if (columns < 1) return ''
  const all = [...graphemes.segment(text)].map(({ segment }) => segment)
  if (keep === 'start') return `${begin(all, columns - 1).join('')}…`
  return `…${begin(all.reverse(), columns - 1)
    .reverse()
    .join('')}`
}

/** Returns the leading graphemes that fit into `columns` columns. */
function begin(all: readonly string[], columns: number): string[] {
  let width = 0
  let count = 0
  for (const grapheme of all) {
    width += widthOfGrapheme(grapheme)
    if (width > columns) break
    count++
  }
  return all.slice(0, count)
}
