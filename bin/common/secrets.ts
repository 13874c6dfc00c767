import { UsageError } from './usage.ts'

/** Matches a token as printed by `ospd user`, also if its end is missing. */
const tokenForm = /osp_[\w-]{32,}/gu

/** A shorter secret could be an ordinary word. */
const leastCharacters = 8

/** Matches the URL of a database with a password. */
const databaseForm = /postgres(?:ql)?:\/\/(?:[^\s:@]*:\S+@|\S*[?&]password=)[^\s"']*/giu

class Secrets {
  readonly #known = new Set<string>()

  /** Hides a token of any form from then on. */
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

/** Throws UsageError, without the value, if `value`, given as `what`, contains a token, or with `isWhole` is one. */
export function refuseToken(what: string, value: unknown, isWhole = false): void {
  if (typeof value !== 'string') return
  const found = value.match(tokenForm)
  if (!found || (isWhole && found[0] !== value)) return
  const instead = 'provide a token with "osp login", OSP_TOKEN or --token-file'
  throw new UsageError(`${what} is a token; ${instead}. Other users may have seen this token: have it replaced`)
}

/** Returns a text of this machine with each URL of a database that contains a password replaced. */
export function hideDatabaseUrls(text: string): string {
  return text.includes('://') ? text.replace(databaseForm, 'postgres://…') : text
}

/**
 * Throws UsageError, without the value, if `value`, given as `what`, is the URL of a database, or contains one with a password.
 * `isServer`: the program is `ospd`, which can use a database.
 */
export function refuseDatabaseUrl(what: string, value: unknown, isServer: boolean): void {
  if (typeof value !== 'string') return
  const isExposed = hideDatabaseUrls(value) !== value
  if (!isExposed && !/^postgres(?:ql)?:\/\//iu.test(value)) return
  const instead = isServer
    ? 'provide it with OSPD_CLUSTER or --cluster'
    : 'osp connects to an ospd server (HOST:PORT), never to its database'
  const advice = isExposed ? '. Other users may have seen its password: have it replaced' : ''
  throw new UsageError(`${what} is the URL of a database; ${instead}${advice}`)
}
