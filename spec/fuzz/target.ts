import type { Draw } from './draw.ts'

/** A case: bytes in pieces, whatever they mean, so that every case can be printed, reduced and run again. */
export type Pieces = readonly Uint8Array[]

/** Code that reads bytes from outside. */
export interface Target extends AsyncDisposable {
  make(draw: Draw): Pieces
  /** Runs a case; throws or rejects if it violates a rule. It leaves nothing behind for the next case. */
  run(pieces: Pieces): Promise<void> | void
}

/** The caller that opens a target disposes it. */
export type Opening = () => Promise<Target>

/** Makes a target that needs no opening. */
export function plainTarget(target: Pick<Target, 'make' | 'run'>): Opening {
  return async () => ({ ...target, [Symbol.asyncDispose]: async () => {} })
}

/** Formats pieces as one text: hexadecimal digits, with a dot after each piece. */
export function textOf(pieces: Pieces): string {
  return pieces.map((piece) => `${Buffer.from(piece).toString('hex')}.`).join('')
}

/** Parses such a text into pieces. */
export function piecesOf(text: string): Pieces {
  return text
    .split('.')
    .slice(0, -1)
    .map((digits) => Uint8Array.from(Buffer.from(digits, 'hex')))
}
