import { constants } from 'node:fs'
import { rename } from 'node:fs/promises'
import { fixed } from '../../limits.ts'
import { originOf } from '../../origins.ts'
import type { Authenticator } from '../../ports/authenticator.ts'
import { fitsShare } from '../../runtime/share.ts'
import { makeOwnFile, openOwnFile } from '../disk/rights.ts'

/**
 * An authenticator that remembers the users it has admitted. For a name without a list (`unlisted`) it reports whether a user
 * of that name was admitted before, or is `unseen`. With a `path` that outlives the process: the file there has a line for each
 * name, with the address that it first came from. A name that cannot be written down is remembered until the process ends. Up to
 * 20,000 names are remembered, of one address only a share of what is left free (`fitsShare`): beyond it a new name takes the place
 * of the one of this address that has not come in for longest. With a file that cannot be read no name is `unseen`.
 */
export function rememberNames(authenticator: Authenticator, path?: string): Authenticator {
  const seen = new RememberedNames(path)
  return {
    async authenticate(credentials) {
      const admitted = await authenticator.authenticate(credentials)
      void seen.add(admitted.user, originOf(credentials.peer.host))
      return admitted
    },
    async knows(user) {
      const known = await authenticator.knows(user)
      if (known !== 'unlisted') return known
      return (await seen.has(user)) ? true : 'unseen'
    },
    ...(authenticator.watch && { watch: authenticator.watch.bind(authenticator) }),
  }
}

/** What one address may have of the names, if no other has any. */
const sharePercent = 50

/** Longest text of an address: of IPv6 in groups of four digits, with a zone. */
const addressBytes = 128

/** The file grows by a line for each new name, until it is written anew with the names that are remembered. */
const mostLines = 2 * fixed.users
const mostFileBytes = mostLines * (fixed.userNameBytes + addressBytes + 2)

class RememberedNames {
  readonly #path: string | undefined
  /** The address of each name. */
  readonly #names = new Map<string, string>()
  /** The names of each address, those that have not come in for longest first. */
  readonly #byOrigin = new Map<string, Set<string>>()
  /** Names are read once, and written one after another. */
  #last: Promise<void>
  #lines = 0
  #isLastLineWhole = true
  #isUnreadable = false

  constructor(path: string | undefined) {
    this.#path = path
    this.#last = path === undefined ? Promise.resolve() : this.#read(path)
  }

  async has(user: string): Promise<boolean> {
    await this.#last
    return this.#names.has(user) || this.#isUnreadable
  }

  add(user: string, origin: string): Promise<void> {
    this.#last = this.#last.then(async () => {
      if (this.#isUnreadable || !this.#remember(user, origin) || this.#path === undefined) return
      const path = this.#path
      await (this.#lines < mostLines ? this.#append(path, user, origin) : this.#rewrite(path)).catch(() => {})
    })
    return this.#last
  }

  /** Returns whether the name is new. */
  #remember(user: string, origin: string): boolean {
    const known = this.#names.get(user)
    if (known !== undefined) {
      const names = this.#byOrigin.get(known)
      names?.delete(user)
      names?.add(user)
      return false
    }
    const own = this.#byOrigin.get(origin)?.size ?? 0
    const pool = { most: fixed.users, held: this.#names.size }
    if (!fitsShare(pool, own, 1, sharePercent)) this.#forgetOldest(own > 0 ? origin : this.#fullest)
    this.#enter(user, origin)
    return true
  }

  #enter(user: string, origin: string): void {
    this.#names.set(user, origin)
    const names = this.#byOrigin.get(origin)
    if (names) names.add(user)
    else this.#byOrigin.set(origin, new Set([user]))
  }

  get #fullest(): string {
    let fullest = ''
    let most = 0
    for (const [origin, { size }] of this.#byOrigin) if (size > most) [fullest, most] = [origin, size]
    return fullest
  }

  #forgetOldest(origin: string): void {
    const names = this.#byOrigin.get(origin)
    const [oldest] = names ?? []
    if (!names || oldest === undefined) return
    this.#names.delete(oldest)
    names.delete(oldest)
    if (names.size === 0) this.#byOrigin.delete(origin)
  }

  async #read(path: string): Promise<void> {
    try {
      const file = await openOwnFile(path, constants.O_RDONLY)
      try {
        if ((await file.stat()).size > mostFileBytes) throw new Error('there are more names than are ever written')
        const text = await file.readFile('utf8')
        for (const line of text.split('\n')) this.#readLine(line)
        this.#isLastLineWhole = text === '' || text.endsWith('\n')
      } finally {
        await file.close()
      }
    } catch (error) {
      this.#isUnreadable = (error as NodeJS.ErrnoException).code !== 'ENOENT'
    }
  }

  /** An earlier version has written no address. */
  #readLine(line: string): void {
    const [name = '', origin = ''] = line.split('\t')
    if (name === '') return
    this.#lines++
    if (origin !== '') this.#remember(name, origin)
    else if (this.#names.size < fixed.users) this.#enter(name, origin)
  }

  async #append(path: string, user: string, origin: string): Promise<void> {
    const file = await openOwnFile(path, constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT)
    try {
      // A crash can have torn the last line.
      await file.writeFile(`${this.#isLastLineWhole ? '' : '\n'}${lineOf(user, origin)}`)
      this.#isLastLineWhole = true
      this.#lines++
    } catch (error) {
      this.#isLastLineWhole = false
      throw error
    } finally {
      await file.close()
    }
  }

  async #rewrite(path: string): Promise<void> {
    const anew = `${path}.new`
    const file = await makeOwnFile(anew, constants.O_WRONLY)
    try {
      await file.writeFile([...this.#names].map(([name, origin]) => lineOf(name, origin)).join(''))
    } finally {
      await file.close()
    }
    await rename(anew, path)
    this.#lines = this.#names.size
    this.#isLastLineWhole = true
  }
}

const lineOf = (user: string, origin: string) => (origin === '' ? `${user}\n` : `${user}\t${origin}\n`)
