import { constants } from 'node:fs'
import { fixed } from '../../limits.ts'
import { originOf } from '../../origins.ts'
import type { Authenticator } from '../../ports/authenticator.ts'
import { fitsShare } from '../../runtime/share.ts'
import { replaceFile } from '../disk/directories.ts'
import { openOwnFile } from '../disk/rights.ts'

/**
 * Returns an authenticator that remembers the users that it has accepted. For an `unlisted` name it reports whether a user
 * of that name was accepted before, or `unseen`. With a `path`, the names are stored in a file, with one line for each name
 * and the address from which it first logged in. A name that cannot be written is remembered until the process ends. Up to
 * 20,000 names are remembered. The names of one address are limited to a share of the free ones (`fitsShare`). Beyond it, a
 * new name replaces the least recently seen name of that address. If the file cannot be read, no name is `unseen`.
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

/** The share of the names that one address can use if no other address uses any. */
const sharePercent = 50

/** The maximum length of an address: IPv6 with a zone. */
const addressBytes = 128

/** The file grows by a line for each new name. At this number of lines it is rewritten with the remembered names. */
const mostLines = 2 * fixed.users
const mostFileBytes = mostLines * (fixed.userNameBytes + addressBytes + 2)

class RememberedNames {
  readonly #path: string | undefined
  /** The address of each name. */
  readonly #names = new Map<string, string>()
  /** The names of each address, the least recently seen first. */
  readonly #byOrigin = new Map<string, Set<string>>()
  /** The users that log in while a file operation runs. They are remembered together after it. */
  #joining: { readonly user: string; readonly origin: string }[] = []
  /** The last file operation. Operations run one after another. */
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
    if (this.#joining.push({ user, origin }) === 1) this.#last = this.#last.then(() => this.#addJoining())
    return this.#last
  }

  async #addJoining(): Promise<void> {
    const joining = this.#joining
    this.#joining = []
    if (this.#isUnreadable) return
    const fresh = joining.filter(({ user, origin }) => this.#remember(user, origin))
    if (fresh.length === 0 || this.#path === undefined) return
    const lines = fresh.map(({ user, origin }) => lineOf(user, origin))
    const writing =
      this.#lines + lines.length <= mostLines ? this.#append(this.#path, lines) : this.#rewrite(this.#path)
    await writing.catch(() => {})
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
    if (!fitsShare(pool, own, 1, sharePercent)) this.#forgetOldest(own > 0 ? origin : this.#largest)
    this.#enter(user, origin)
    return true
  }

  #enter(user: string, origin: string): void {
    this.#names.set(user, origin)
    this.#byOrigin.set(origin, (this.#byOrigin.get(origin) ?? new Set()).add(user))
  }

  get #largest(): string {
    let largest = ''
    let most = 0
    for (const [origin, { size }] of this.#byOrigin) if (size > most) [largest, most] = [origin, size]
    return largest
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
      await using file = await openOwnFile(path, constants.O_RDONLY)
      if ((await file.stat()).size > mostFileBytes) throw new Error('the file has more names than this program writes')
      const text = await file.readFile('utf8')
      for (const line of text.split('\n')) this.#readLine(line)
      this.#isLastLineWhole = text === '' || text.endsWith('\n')
    } catch (error) {
      this.#isUnreadable = (error as NodeJS.ErrnoException).code !== 'ENOENT'
    }
  }

  /** Reads a line. An earlier version wrote no address. */
  #readLine(line: string): void {
    const [name = '', origin = ''] = line.split('\t')
    if (name === '') return
    this.#lines++
    if (origin !== '') this.#remember(name, origin)
    else if (this.#names.size < fixed.users) this.#enter(name, origin)
  }

  async #append(path: string, lines: readonly string[]): Promise<void> {
    await using file = await openOwnFile(path, constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT)
    // A crash can leave an incomplete last line.
    const start = this.#isLastLineWhole ? '' : '\n'
    this.#isLastLineWhole = false
    await file.writeFile(`${start}${lines.join('')}`)
    this.#isLastLineWhole = true
    this.#lines += lines.length
  }

  async #rewrite(path: string): Promise<void> {
    await replaceFile(path, [...this.#names].map(([name, origin]) => lineOf(name, origin)).join(''), false)
    this.#lines = this.#names.size
    this.#isLastLineWhole = true
  }
}

const lineOf = (user: string, origin: string) => (origin === '' ? `${user}\n` : `${user}\t${origin}\n`)
