import type { WriteStream } from 'node:tty'

/** Whether a stream is a terminal that moves its cursor. */
export function isTerminal(stream: NodeJS.WriteStream): stream is WriteStream {
  return stream.isTTY === true && process.env.TERM !== 'dumb'
}

const codes = { bold: [1, 22], dim: [2, 22], red: [31, 39], green: [32, 39], yellow: [33, 39], cyan: [36, 39] } as const

export type Style = (text: string) => string
export type Styles = Readonly<Record<keyof typeof codes, Style>>

/** Ways to write on a stream: colours on a terminal, unless NO_COLOR is set (no-color.org); nothing elsewhere. */
export function stylesFor(stream: NodeJS.WriteStream): Styles {
  const colours = isTerminal(stream) && !process.env.NO_COLOR
  const style =
    (name: keyof typeof codes): Style =>
    (text) =>
      colours && text !== '' ? `\u001B[${codes[name][0]}m${text}\u001B[${codes[name][1]}m` : text
  return {
    bold: style('bold'),
    dim: style('dim'),
    red: style('red'),
    green: style('green'),
    yellow: style('yellow'),
    cyan: style('cyan'),
  }
}
