import assert from 'node:assert/strict'
import type { Authenticator, Credentials } from '../ports/authenticator.ts'
import { type Checks, type TestCase, testCasesOf } from './testCases.ts'

/** An authenticator for one test case, with credentials that it accepts and refuses. */
export interface AuthenticatorFixture extends AsyncDisposable {
  readonly authenticator: Authenticator
  /** Credentials that it accepts. */
  readonly known: Credentials
  /** Credentials that it refuses. */
  readonly strangers: readonly Credentials[]
  /** The name of a user that does not exist. */
  readonly unknown?: string
  /** Revokes the right of `known`; required if the authenticator is `changing`. */
  revoke?(): Promise<void>
}

export const here = { host: '127.0.0.1', port: 1, local: true }
export const afar = { host: '192.0.2.1', port: 1, local: false }

/** Returns the promises of `lib/ports/authenticator.ts` as test cases; those about `watch` only if `changing` is set. */
export function authenticatorContract(
  name: string,
  open: () => Promise<AuthenticatorFixture>,
  { changing }: { changing: boolean },
): readonly TestCase[] {
  const checks = changing ? { ...usualChecks, ...changeChecks } : usualChecks
  return testCasesOf(`the authenticator ${name}`, checks, open)
}

const usualChecks: Checks<AuthenticatorFixture> = {
  'accepts a known user each time, under the given name': async ({ authenticator, known }) => {
    for (let time = 0; time < 3; time++) {
      assert.equal((await authenticator.authenticate(known)).user, known.user)
    }
  },
  'refuses all others as unauthorized, and never repeats a token': async ({ authenticator, strangers }) => {
    for (const stranger of strangers) {
      await assert.rejects(authenticator.authenticate(stranger), ({ code, message }: Error & { code?: string }) => {
        assert.equal(code, 'unauthorized', `${JSON.stringify(stranger)}: ${message}`)
        return stranger.token === '' || !message.includes(stranger.token)
      })
    }
  },
  'knows the users that it accepts, and no other user': async ({ authenticator, known, unknown }) => {
    assert.notEqual(await authenticator.knows(known.user), false)
    if (unknown !== undefined) assert.equal(await authenticator.knows(unknown), false)
  },
  'reports no change while nothing changes': async ({ authenticator, known, strangers }) => {
    const reported = changesOf(authenticator)
    await authenticator.authenticate(known)
    await Promise.allSettled(strangers.map((stranger) => authenticator.authenticate(stranger)))
    await authenticator.authenticate(known)
    assert.deepEqual(reported, [])
  },
}

const changeChecks: Checks<AuthenticatorFixture> = {
  'refuses a user whose right was revoked, after it has reported the change': async (fixture) => {
    const { authenticator, known } = fixture
    const reported = changesOf(authenticator)
    await authenticator.authenticate(known)
    await fixture.revoke?.()
    await assert.rejects(authenticator.authenticate(known), { code: 'unauthorized' })
    assert.deepEqual(reported, [known.user])
  },
  'reports a revoked user without being asked': async (fixture) => {
    await fixture.authenticator.authenticate(fixture.known)
    const reported = new Promise((resolve) => fixture.authenticator.watch?.(resolve))
    await fixture.revoke?.()
    assert.equal(await reported, fixture.known.user)
  },
  'reports nothing to a disposed watcher, and every change to the others': async (fixture) => {
    const { authenticator, known } = fixture
    const reported = changesOf(authenticator)
    const afterDisposal: unknown[] = []
    authenticator.watch?.((user) => afterDisposal.push(user))[Symbol.dispose]()
    await authenticator.authenticate(known)
    await fixture.revoke?.()
    await assert.rejects(authenticator.authenticate(known))
    assert.deepEqual([reported, afterDisposal], [[known.user], []])
  },
}

/** Returns a list of the reported changes, to which later ones are added. */
function changesOf(authenticator: Authenticator): (string | undefined)[] {
  const users: (string | undefined)[] = []
  authenticator.watch?.((user) => users.push(user))
  return users
}
