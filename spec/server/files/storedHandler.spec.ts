import assert from 'node:assert/strict'
import { deferred } from '../../../lib/runtime/deferred.ts'
import type { HandledFile } from '../../../lib/server/files/storedHandler.ts'
import { patterned } from '../../support/memorySource.ts'
import { heldRig, MessageClient } from '../../support/messageClient.ts'
import { spec } from '../../support/spec.ts'
import { turn } from '../../support/turn.ts'

const bytes = patterned(1_000)

async function bytesOf(file: HandledFile): Promise<Uint8Array> {
  const parts: Uint8Array[] = []
  for await (const part of file.content()) parts.push(part)
  return Buffer.concat(parts)
}

/** Lets time pass until a fact holds. */
async function passUntil(clock: { pass(ms: number): void }, holds: () => boolean): Promise<void> {
  while (!holds()) {
    await clock.pass(1_000)
    await turn()
  }
}

spec('the handler of stored files', (it) => {
  it('is called for one file at a time, in order, and can read the file', async () => {
    const handled: string[] = []
    let running = 0
    await using rig = await heldRig(
      {},
      {
        onStored: async (file, { attempt }) => {
          assert.equal(++running, 1)
          assert.deepEqual(Buffer.from(await bytesOf(file)), Buffer.from(bytes))
          handled.push(`${file.user} ${file.name} ${file.algorithm} ${attempt}`)
          running--
        },
      },
    )
    const alice = await rig.client()
    await alice.put({ name: 'a', bytes })
    await alice.upload({ name: 'b', bytes })
    await (await rig.client({ user: 'bob' })).put({ name: 'c', bytes })
    while (handled.length < 3) await turn()
    assert.deepEqual(handled, ['alice a sha256 1', 'alice b sha256 1', 'bob c sha256 1'])
  })

  it('is called again after it has failed, and then for the next file', async () => {
    const handled: string[] = []
    await using rig = await heldRig(
      {},
      {
        onStored: ({ name }, { attempt }) => {
          handled.push(`${name} ${attempt}`)
          if (name === 'a' && attempt < 3) throw new Error('not yet')
        },
      },
    )
    const alice = await rig.client()
    for (const name of ['a', 'b']) await alice.put({ name, bytes })
    await passUntil(rig.clock, () => handled.length === 4)
    assert.deepEqual(handled, ['a 1', 'a 2', 'a 3', 'b 1'])
    assert.equal(rig.log.filter(({ event }) => event === 'stored-handler-failed').length, 2)
  })

  it('is no longer called for a file after 16 failures', async () => {
    const handled: string[] = []
    await using rig = await heldRig(
      {},
      {
        onStored: ({ name }) => {
          handled.push(name)
          if (name === 'a') throw new Error('never')
        },
      },
    )
    const alice = await rig.client()
    for (const name of ['a', 'b']) await alice.put({ name, bytes })
    await passUntil(rig.clock, () => handled.includes('b'))
    assert.equal(handled.filter((name) => name === 'a').length, 16)
    assert.equal(handled.at(-1), 'b')
  })

  it('is called after a restart for the files that it has not handled', async () => {
    const begun = deferred<void>()
    await using rig = await heldRig(
      {},
      {
        onStored: async (_, { signal }) => {
          begun.resolve()
          await new Promise((_, reject) => signal.addEventListener('abort', reject))
        },
      },
    )
    const alice = await rig.client()
    for (const name of ['a', 'b']) await alice.put({ name, bytes })
    await begun.promise
    await rig.server.close()
    const handled: string[] = []
    await rig.restart({ onStored: ({ name }) => void handled.push(name) })
    await rig.clock.pass(1)
    while (handled.length < 2) await turn()
    assert.deepEqual(handled, ['a', 'b'])
    assert.deepEqual(await rig.storage.mailboxes.levels(), [])
  })

  it('has a mailbox that no client can send to', async () => {
    await using rig = await heldRig({}, { onStored: () => {} })
    const alice = await MessageClient.listen(rig, 'alice')
    await alice.postRefused(1, [':stored'], 'hi', 'bad-name')
  })
})
