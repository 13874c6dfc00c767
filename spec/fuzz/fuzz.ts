import { turn } from '../support/turn.ts'
import { Draw } from './draw.ts'
import { shrunk } from './shrink.ts'
import { type Opening, type Pieces, piecesOf, textOf } from './target.ts'

/** Collects uncaught errors, which do not end the process, until it is disposed. */
interface Uncaught extends Disposable {
  readonly errors: readonly unknown[]
}

function uncaught(): Uncaught {
  const errors: unknown[] = []
  const others = process.listeners('uncaughtException')
  const gather = (error: unknown) => void errors.push(error)
  process.removeAllListeners('uncaughtException').on('uncaughtException', gather)
  return {
    errors,
    [Symbol.dispose]() {
      process.off('uncaughtException', gather)
      for (const listener of others) process.on('uncaughtException', listener)
    },
  }
}

/** A case that failed. */
interface Failure {
  readonly why: unknown
  readonly pieces: Pieces
}

export interface FuzzOptions {
  /** Seed of the first case; each further case has the next one. */
  readonly seed: number
  readonly cases: number
  /** Called after each case. */
  readonly done?: (cases: number) => void
}

/**
 * Runs cases against a target, and rejects at the first failure with the command that repeats it. An uncaught error
 * fails the case in which it happens.
 */
export async function fuzz(name: string, open: Opening, { seed, cases, done }: FuzzOptions): Promise<void> {
  await using target = await open()
  for (let at = 0; at < cases; at++) {
    const pieces = target.make(new Draw(seed + at))
    const why = await failureOf(target.run, pieces)
    if (why !== undefined)
      throw failed(name, `--seed ${seed + at} --cases 1`, await smallest(target.run, { why, pieces }))
    done?.(at + 1)
  }
}

/** Runs the case that `text` represents. */
export async function fuzzOnce(name: string, open: Opening, text: string): Promise<void> {
  await using target = await open()
  const pieces = piecesOf(text)
  const why = await failureOf(target.run, pieces)
  if (why !== undefined) throw failed(name, `--bytes ${text}`, { why, pieces })
}

type Run = (pieces: Pieces) => Promise<void> | void

/** Returns why a case fails, or `undefined` if it does not. */
async function failureOf(run: Run, pieces: Pieces): Promise<unknown> {
  using stray = uncaught()
  try {
    const running = run(pieces)
    if (running) {
      await running
      // An uncaught rejection is reported after all other work.
      await turn()
    }
  } catch (error) {
    return error ?? new Error('undefined was thrown')
  }
  return stray.errors[0]
}

async function smallest(run: Run, { why, pieces }: Failure): Promise<Failure> {
  let last = why
  const smaller = await shrunk(pieces, async (some) => {
    const other = await failureOf(run, some)
    if (other !== undefined) last = other
    return other !== undefined
  })
  return { why: last, pieces: smaller }
}

function failed(name: string, again: string, { why, pieces }: Failure): Error {
  const text = why instanceof Error ? why.message : String(why)
  const repeat = `npm run fuzz -- --target ${name}`
  return new Error(`${text}\n  ${repeat} ${again}\n  the same, smaller: --bytes ${textOf(pieces)}`, { cause: why })
}
