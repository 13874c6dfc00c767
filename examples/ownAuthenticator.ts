// A custom authenticator, tested by the suite of its port: `node ownAuthenticator.ts`.
import { test } from 'node:test'
import { type Authenticator, OspError } from 'ospd'
import { authenticatorContract } from 'ospd/testing'

/** Admits the users of this table with their tokens. */
class Table implements Authenticator {
  readonly #tokens: Map<string, string>
  readonly #watching = new Set<{ readonly changed: (user: string | undefined) => void }>()

  constructor(tokens: Readonly<Record<string, string>>) {
    this.#tokens = new Map(Object.entries(tokens))
  }

  async authenticate({ user, token }: { user: string; token: string }): Promise<{ user: string }> {
    if (this.#tokens.has(user) && this.#tokens.get(user) === token) return { user }
    throw new OspError('unauthorized', `there is no user ${user} with this token`)
  }

  async knows(user: string): Promise<boolean> {
    return this.#tokens.has(user)
  }

  watch(changed: (user: string | undefined) => void): Disposable {
    const watching = { changed }
    this.#watching.add(watching)
    return { [Symbol.dispose]: () => this.#watching.delete(watching) }
  }

  remove(user: string): void {
    this.#tokens.delete(user)
    for (const { changed } of this.#watching) changed(user)
  }
}

const peer = { host: '192.0.2.1', port: 1, local: false }

const gate = async () => {
  const authenticator = new Table({ alice: 'secret-of-alice', bob: 'secret-of-bob' })
  const known = { user: 'alice', token: 'secret-of-alice', peer }
  return {
    authenticator,
    known,
    strangers: [
      { ...known, token: '' },
      { ...known, token: 'secret-of-bob' },
      { ...known, user: 'carol' },
    ],
    unknown: 'carol',
    revoke: async () => authenticator.remove('alice'),
    async [Symbol.asyncDispose]() {},
  }
}
for (const { subject, name, run, limitMs } of authenticatorContract('table', gate, { changing: true })) {
  test(`${subject} ${name}`, { timeout: limitMs }, run)
}
