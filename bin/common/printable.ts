const raw = /[\p{Cc}\u061C\u200E\u200F\u2028\u2029\u202A-\u202E\u2066-\u2069]/gu

/** The text with what could steer a terminal or turn the direction of writing made visible, as `\u001b`. */
export function printable(text: string): string {
  return text.replace(raw, (char) => {
    if (char === '\n') return '\\n'
    return `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`
  })
}
