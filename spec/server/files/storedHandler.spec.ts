import assert from 'node:assert/strict'
import { deferred } from '../../../lib/runtime/deferred.ts'
import { type HandledFile, StoredFileCalls } from '../../../lib/server/files/storedHandler.ts'
import { alteredSteps } from '../../adapters/cluster/alteredSteps.ts'
import { ClusterServers } from '../../support/clusterServers.ts'
import { patterned } from '../../support/memorySource.ts'
import { heldRig, MessageClient } from '../../support/messageClient.ts'
import { spec } from '../../support/spec.ts'
import { turn } from '../../support/turn.ts'
import { VirtualClock } from '../../support/virtualClock.ts'

const bytes = patterned(1_000)
/** Limits with which no pings are sent, however much time passes. */
const limits = { keepAliveMs: 3_600_000 }

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
  it('is called for a message that arrives just after the mailbox was found empty', async () => {
    for (let ticks = 0; ticks < 10; ticks++) {
      let reads = 0
      const read = async () => {
        reads++
        return []
      }
      const context = { storage: { mailboxes: { read } }, platform: { clock: new VirtualClock() } }
      const calls = new StoredFileCalls(context as never, {} as never, () => {})
      calls.open()
      for (let tick = 0; tick < ticks; tick++) await undefined
      const before = reads
      calls.wake()
      await turn()
      assert.ok(reads > before, `after ${ticks} ticks`)
    }
  })

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
    assert.deepEqual(
      rig.log.flatMap((line) =>
        line.event === 'stored-handler-failed' ? [[line.name, line.attempt, line.retryMs]] : [],
      ),
      [
        ['a', 1, 500],
        ['a', 2, 1_000],
      ],
    )
  })

  it('is called again after a restart if the server was closed during the last call', async () => {
    const attempts: number[] = []
    await using rig = await heldRig(
      {},
      {
        onStored: async (_, { attempt, signal }) => {
          attempts.push(attempt)
          if (attempts.length > 16) return
          if (attempt === 16) await new Promise((resolve) => signal.addEventListener('abort', resolve))
          throw new Error('not yet')
        },
      },
    )
    await (await rig.client()).put({ name: 'a', bytes })
    await passUntil(rig.clock, () => attempts.length === 16)
    await rig.server.close()
    await rig.restart()
    while (attempts.length < 17) await turn()
    assert.equal(attempts.at(-1), 1)
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
    const failed = rig.log.filter(({ event }) => event === 'stored-handler-failed')
    assert.deepEqual([failed.length, failed.at(-1)?.retryMs], [16, undefined])
    const aside = rig.log.filter(({ event }) => event === 'stored-file-set-aside')
    assert.deepEqual(
      aside.map(({ from, name, text }) => [from, name, text]),
      [['alice', 'a', failed.at(-1)?.text]],
    )
  })

  it('is called again for a file that was set aside and returned, and not for one that was removed', async () => {
    let fails = true
    const handled: string[] = []
    await using rig = await heldRig(
      {},
      {
        onStored: ({ name }) => {
          if (fails) throw new Error('not yet')
          handled.push(name)
        },
      },
    )
    const alice = await rig.client()
    for (const name of ['a', 'b']) await alice.put({ name, bytes })
    const { setAside } = rig.server
    while ((await setAside.list()).length < 2) {
      await rig.clock.pass(60_000)
      await turn()
    }
    const [a, b] = await setAside.list()
    assert.deepEqual([a?.name, a?.user, b?.name], ['a', 'alice', 'b'])
    assert.deepEqual(a && Buffer.from(await bytesOf(a)), Buffer.from(bytes))
    fails = false
    await setAside.remove([a?.seq ?? 0])
    await setAside.return([b?.seq ?? 0])
    while (handled.length === 0) await turn()
    assert.deepEqual([handled, await setAside.list()], [['b'], []])
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

spec('the handlers of stored files of a cluster', (it) => {
  it('handle the files of all servers at one server, in order, until this server is closed', async () => {
    await using cluster = await ClusterServers.create(new VirtualClock())
    const handled: string[] = []
    const handling = (at: string) => ({
      limits,
      onStored: ({ name }: HandledFile) => void handled.push(`${at} ${name}`),
    })
    const one = await cluster.start(handling('one'))
    const two = await cluster.start(handling('two'))
    const [alice, bob] = [await cluster.client(one), await cluster.client(two, { user: 'bob' })]
    await cluster.passing(alice.put({ name: 'a', bytes }))
    await cluster.passUntil(() => handled.length === 1)
    await cluster.passing(bob.put({ name: 'b', bytes }))
    await cluster.passUntil(() => handled.length === 2)
    await cluster.passing(one.close())
    await cluster.passing(bob.put({ name: 'c', bytes }))
    await cluster.passUntil(() => handled.length === 3)
    assert.deepEqual(handled, ['one a', 'one b', 'two c'])
  })

  it('continue at another server after a frozen server is declared dead, and abort the call of the frozen server when it resumes', async () => {
    await using cluster = await ClusterServers.create(new VirtualClock())
    const handled: string[] = []
    const frozen = { until: deferred<void>(), isFrozen: false }
    const begun = deferred<AbortSignal>()
    const one = await cluster.start(
      {
        limits,
        onStored: async ({ name }, { signal }) => {
          handled.push(`one ${name}`)
          begun.resolve(signal)
          await new Promise((_, reject) => signal.addEventListener('abort', () => reject(new Error('aborted'))))
        },
      },
      (steps) =>
        alteredSteps(steps, async (_, run) => {
          if (frozen.isFrozen) await frozen.until.promise
          return run()
        }),
    )
    const two = await cluster.start({ limits, onStored: ({ name }) => void handled.push(`two ${name}`) })
    const alice = await cluster.client(two)
    await cluster.passing(alice.put({ name: 'a', bytes }))
    await cluster.passing(alice.put({ name: 'b', bytes }))
    const signal = await cluster.passing(begun.promise)
    frozen.isFrozen = true
    await cluster.passUntil(() => handled.length === 3)
    assert.deepEqual(handled, ['one a', 'two a', 'two b'])
    frozen.isFrozen = false
    frozen.until.resolve()
    await cluster.passUntil(() => signal.aborted)
    await cluster.passing(alice.put({ name: 'c', bytes }))
    await cluster.passUntil(() => handled.length === 4)
    assert.equal(handled.at(-1), 'two c')
    void one
  })

  it('are called for a file whose server died after it stored the file and before it reported it', async () => {
    await using cluster = await ClusterServers.create(new VirtualClock())
    const handled: string[] = []
    const frozen = deferred<void>()
    let isFrozen = false
    const one = await cluster.start({ limits, onStored: () => {} }, (steps) =>
      alteredSteps(steps, async (name, run) => {
        isFrozen ||= name === 'mail.post'
        if (isFrozen) await frozen.promise
        return run()
      }),
    )
    await cluster.start({ limits, onStored: ({ name }) => void handled.push(name) })
    const alice = await cluster.client(one)
    alice.sendPut({ name: 'a', bytes })
    await cluster.passUntil(() => handled.length === 1)
    const lines = cluster.log.filter(({ event }) => event === 'upload-stored')
    assert.deepEqual(
      lines.map(({ recovered = false }) => recovered),
      [false, true],
    )
    frozen.resolve()
  })
})
