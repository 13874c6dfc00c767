import { UsageError } from './usage.ts'

/** A token as `ospd user` prints it, also if its end is missing. */
const tokenForm = /osp_[\w-]{32,}/gu

/** A shorter secret could be a word of an ordinary sentence. */
const leastCharacters = 8

/** Keeps tokens out of the output of a program. */
class Secrets {
  readonly #known = new Set<string>()

  /** Hides a token of any form from now on. */
  add(token: string): void {
    if (token.length >= leastCharacters) this.#known.add(token)
  }

  /** Returns a text with each known token, and each word of the form of a token, replaced by `osp_…`. */
  hide(text: string): string {
    let hidden = text
    for (const token of this.#known) if (hidden.includes(token)) hidden = hidden.replaceAll(token, 'osp_…')
    return hidden.includes('osp_') ? hidden.replace(tokenForm, 'osp_…') : hidden
  }
}

/** The tokens of this process, shared by all of its output. */
export const secrets = new Secrets()

/** Throws UsageError that does not repeat it if `value`, given as `what`, contains a token, or `isWhole` is one. */
export function refuseToken(what: string, value: unknown, isWhole = false): void {
  if (typeof value !== 'string') return
  const found = value.match(tokenForm)
  if (!found || (isWhole && found[0] !== value)) return
  const instead = 'give a token by "osp login", OSP_TOKEN or in the file of --token-file'
  throw new UsageError(`${what} is a token; ${instead}. Other users could have seen this one: have it replaced`)
}
