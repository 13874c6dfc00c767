import assert from 'node:assert/strict'
import type { Authenticator, Credentials } from '../ports/authenticator.ts'
import { factsOf, type It, type TestCase } from './testCases.ts'

/** An authenticator of one kind, for one fact, and what is true of it. */
export interface Gate extends AsyncDisposable {
  readonly authenticator: Authenticator
  /** Who comes in. */
  readonly known: Credentials
  /** Who don't. */
  readonly strangers: readonly Credentials[]
  /** A name that no message can be addressed to. */
  readonly unknown?: string
  /** Takes away the right of `known`; needed of one that is `changing`. */
  revoke?(): Promise<void>
}

export const here = { host: '127.0.0.1', port: 1, local: true }
export const afar = { host: '192.0.2.1', port: 1, local: false }

/** Every promise of `lib/ports/authenticator.ts`; of one that is `changing`, also those about `watch`; as facts. */
export function authenticatorContract(
  name: string,
  open: () => Promise<Gate>,
  { changing }: { changing: boolean },
): readonly TestCase[] {
  return factsOf(`the authenticator ${name}`, (it) => {
    it('lets in who belongs, as often as they come, under the name that they give', async () => {
      await using gate = await open()
      const { authenticator, known } = gate
      for (let time = 0; time < 3; time++) {
        assert.equal((await authenticator.authenticate(known)).user, known.user)
      }
    })

    it('refuses everybody else as unauthorized, and tells none of their tokens', async () => {
      await using gate = await open()
      for (const stranger of gate.strangers) {
        await assert.rejects(gate.authenticator.authenticate(stranger), (why: Error & { code?: string }) => {
          assert.equal(why.code, 'unauthorized', `${JSON.stringify(stranger)}: ${why.message}`)
          return stranger.token === '' || !why.message.includes(stranger.token)
        })
      }
    })

    it('knows whom it lets in, and nobody who can’t be', async () => {
      await using gate = await open()
      assert.notEqual(await gate.authenticator.knows(gate.known.user), false)
      if (gate.unknown !== undefined) assert.equal(await gate.authenticator.knows(gate.unknown), false)
    })

    it('tells of no change while there is none', async () => {
      await using gate = await open()
      const told = watched(gate)
      await gate.authenticator.authenticate(gate.known)
      await Promise.allSettled(gate.strangers.map((stranger) => gate.authenticator.authenticate(stranger)))
      await gate.authenticator.authenticate(gate.known)
      assert.deepEqual(told, [])
    })

    if (changing) changeFacts(it, open)
  })
}

function changeFacts(it: It, open: () => Promise<Gate>): void {
  it('refuses whose right was taken away, and has told that before', async () => {
    await using gate = await open()
    const { authenticator, known } = gate
    const told = watched(gate)
    await authenticator.authenticate(known)
    await gate.revoke?.()
    await assert.rejects(authenticator.authenticate(known), { code: 'unauthorized' })
    assert.deepEqual(told, [known.user])
  })

  it('tells whose right was taken away, though nobody asks', async () => {
    await using gate = await open()
    await gate.authenticator.authenticate(gate.known)
    const told = new Promise((resolve) => gate.authenticator.watch?.(resolve))
    await gate.revoke?.()
    assert.equal(await told, gate.known.user)
  })

  it('tells nothing to who has stopped watching, and all to the others', async () => {
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

function watched({ authenticator }: Gate): (string | undefined)[] {
  const told: (string | undefined)[] = []
  authenticator.watch?.((user) => told.push(user))
  return told
}
