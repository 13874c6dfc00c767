import type { Draw } from './draw.ts'

/** A case is bytes in pieces, whatever they mean: so every case can be printed, made smaller and run again. */
export type Pieces = readonly Uint8Array[]

/** Something that takes bytes from outside. */
export interface Target extends AsyncDisposable {
  make(draw: Draw): Pieces
  /** Carries a case out; throws, or rejects, where something happens that must not. It leaves nothing for the next one. */
  run(pieces: Pieces): Promise<void> | void
}

/** Whoever opens a target disposes of it. */
export type Opening = () => Promise<Target>

/** A target that needs nothing to be opened. */
export function plainTarget(target: Pick<Target, 'make' | 'run'>): Opening {
  return async () => ({ ...target, [Symbol.asyncDispose]: async () => {} })
}

/** Pieces as one text: hexadecimal digits, with a dot behind each piece. */
export function textOf(pieces: Pieces): string {
  return pieces.map((piece) => `${Buffer.from(piece).toString('hex')}.`).join('')
}

/** The pieces of such a text. */
export function piecesOf(text: string): Pieces {
  return text
    .split('.')
    .slice(0, -1)
    .map((digits) => Uint8Array.from(Buffer.from(digits, 'hex')))
}
