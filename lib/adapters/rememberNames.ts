import { constants } from 'node:fs'
import { fixed } from '../limits.ts'
import type { Authenticator } from '../ports/authenticator.ts'
import { openOwnFile } from './disk/ownFile.ts'

/**
 * An authenticator that remembers the users it has admitted. For a name without a list (`unlisted`) it reports whether a user
 * of that name was admitted before, or is `unseen`. With a `path` that outlives the process: the file there has a line for each name. A name
 * that cannot be written down is remembered until the process ends. After 20,000 names, and with a file that cannot be read, no
 * name is `unseen`.
 */
export function rememberNames(authenticator: Authenticator, path?: string): Authenticator {
  const seen = new SeenNames(path)
  return {
    async authenticate(credentials) {
      const admitted = await authenticator.authenticate(credentials)
      void seen.add(admitted.user)
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

const mostFileBytes = fixed.users * (fixed.userNameBytes + 1)

class SeenNames {
  readonly #path: string | undefined
  readonly #names = new Set<string>()
  /** Names are read once, and written one after another. */
  #last: Promise<void>
  #isLastLineWhole = true
  #isUnreadable = false

  constructor(path: string | undefined) {
    this.#path = path
    this.#last = path === undefined ? Promise.resolve() : this.#read(path)
  }

  async has(user: string): Promise<boolean> {
    await this.#last
    return this.#names.has(user) || this.#isFull
  }

  add(user: string): Promise<void> {
    this.#last = this.#last.then(async () => {
      if (this.#names.has(user) || this.#isFull) return
      this.#names.add(user)
      if (this.#path !== undefined) await this.#append(this.#path, user).catch(() => {})
    })
    return this.#last
  }

  get #isFull(): boolean {
    return this.#isUnreadable || this.#names.size >= fixed.users
  }

  async #read(path: string): Promise<void> {
    try {
      const file = await openOwnFile(path, constants.O_RDONLY)
      try {
        if ((await file.stat()).size > mostFileBytes) throw new Error('there are more names than are ever written')
        const text = await file.readFile('utf8')
        for (const name of text.split('\n')) if (name !== '') this.#names.add(name)
        this.#isLastLineWhole = text === '' || text.endsWith('\n')
      } finally {
        await file.close()
      }
    } catch (error) {
      this.#isUnreadable = (error as NodeJS.ErrnoException).code !== 'ENOENT'
    }
  }

  async #append(path: string, user: string): Promise<void> {
    const file = await openOwnFile(path, constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT)
    try {
      // A crash can have torn the last line.
      await file.writeFile(`${this.#isLastLineWhole ? '' : '\n'}${user}\n`)
      this.#isLastLineWhole = true
    } catch (error) {
      this.#isLastLineWhole = false
      throw error
    } finally {
      await file.close()
    }
  }
}
