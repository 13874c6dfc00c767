import assert from 'node:assert/strict'
import type { Authenticator, Credentials } from '../ports/authenticator.ts'
import { type It, type TestCase, testCasesOf } from './testCases.ts'

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
  return testCasesOf(`the authenticator ${name}`, (it) => {
    it('accepts a known user each time, under the given name', async () => {
      await using gate = await open()
      const { authenticator, known } = gate
      for (let time = 0; time < 3; time++) {
        assert.equal((await authenticator.authenticate(known)).user, known.user)
      }
    })

    it('refuses all others as unauthorized, and never repeats a token', async () => {
      await using gate = await open()
      for (const stranger of gate.strangers) {
        await assert.rejects(gate.authenticator.authenticate(stranger), (why: Error & { code?: string }) => {
          assert.equal(why.code, 'unauthorized', `${JSON.stringify(stranger)}: ${why.message}`)
          return stranger.token === '' || !why.message.includes(stranger.token)
        })
      }
    })

    it('knows the users that it accepts, and no other user', async () => {
      await using gate = await open()
      assert.notEqual(await gate.authenticator.knows(gate.known.user), false)
      if (gate.unknown !== undefined) assert.equal(await gate.authenticator.knows(gate.unknown), false)
    })

    it('reports no change while nothing changes', async () => {
      await using gate = await open()
      const told = watched(gate)
      await gate.authenticator.authenticate(gate.known)
      await Promise.allSettled(gate.strangers.map((stranger) => gate.authenticator.authenticate(stranger)))
      await gate.authenticator.authenticate(gate.known)
      assert.deepEqual(told, [])
    })

    if (changing) changeCases(it, open)
  })
}

function changeCases(it: It, open: () => Promise<AuthenticatorFixture>): void {
  it('refuses a user whose right was revoked, after it has reported the change', async () => {
    await using gate = await open()
    const { authenticator, known } = gate
    const told = watched(gate)
    await authenticator.authenticate(known)
    await gate.revoke?.()
    await assert.rejects(authenticator.authenticate(known), { code: 'unauthorized' })
    assert.deepEqual(told, [known.user])
  })

  it('reports a revoked user without being asked', async () => {
    await using gate = await open()
    await gate.authenticator.authenticate(gate.known)
    const told = new Promise((resolve) => gate.authenticator.watch?.(resolve))
    await gate.revoke?.()
    assert.equal(await told, gate.known.user)
  })

  it('reports nothing to a disposed watcher, and every change to the others', async () => {
    await using gate = await open()
    const { authenticator, known } = gate
    const [told, stopped]: string[][] = [[], []]
    const changed = (user: string | undefined) => stopped?.push(`${user}`)
    authenticator.watch?.((user) => told?.push(`${user}`))
    authenticator.watch?.(changed)[Symbol.dispose]()
    await authenticator.authenticate(known)
    await gate.revoke?.()
    await assert.rejects(authenticator.authenticate(known))
    assert.deepEqual([told, stopped], [[known.user], []])
  })
}

function watched({ authenticator }: AuthenticatorFixture): (string | undefined)[] {
  const told: (string | undefined)[] = []
  authenticator.watch?.((user) => told.push(user))
  return told
}
