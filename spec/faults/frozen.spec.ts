import assert from 'node:assert/strict'
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { commandEvents } from '../../bin/common/events.ts'
import { layoutOf } from '../../lib/adapters/disk/layout.ts'
import type { Client } from '../../lib/client/client.ts'
import { KiB } from '../../lib/limits.ts'
import { deferred } from '../../lib/runtime/deferred.ts'
import { place as folder, start } from '../support/commands.ts'
import { canFreeze, freeze, thaw } from '../support/frozen.ts'
import { memorySource, patterned } from '../support/memorySource.ts'
import { MortalServer } from '../support/mortalServer.ts'
import { published } from '../support/published.ts'
import { areOnline, Recipient } from '../support/recipients.ts'
import { spec } from '../support/spec.ts'
import { turns } from '../support/turns.ts'

const bytes = patterned(400_000)
const small = patterned(1_000, 2)
const windowBytes = 64 * KiB
const flags = ['--keep-alive', '300ms', '--chunk', '16K', '--window', '64K']

/** Resolves when the next link of a client is lost because nothing arrives. */
const isCutOff = (client: Client) =>
  new Promise<void>((resolve) => {
    client.on('status', (status, why) => {
      if (status === 'waiting' && why?.code === 'timed-out') resolve()
    })
  })

spec('a server that is frozen for longer than two keep-alive intervals', (it) => {
  if (!canFreeze) return it.skip('loses nothing', 'only Linux shows whether a process is frozen')

  it('loses only links; after it is thawed, it receives the rest of a file, and messages once and in order', async () => {
    await using place = await MortalServer.in()
    const server = await place.daemon(flags)
    const [alice, carol] = [place.client(), place.client({ user: 'carol' })]
    const bob = new Recipient(place.client({ user: 'bob' }))
    await areOnline(alice, ['bob'])
    await alice.send(['bob', 'dave'], '0')
    const source = memorySource('a', bytes)
    const [half, frozen] = [deferred<void>(), deferred<void>()]
    // The rest arrives while the server is frozen.
    source.beforeRead = (offset) => {
      if (offset < bytes.length / 2) return
      half.resolve()
      return frozen.promise
    }
    const upload = await carol.upload(source)
    await half.promise

    const cutOff = Promise.all([alice, carol, bob.client].map(isCutOff))
    await freeze(server)
    frozen.resolve()
    // They are in transit, or wait, when the links are given up.
    const sending = ['1', '2', '3'].map((text) => alice.send(['bob', 'dave'], text))
    await cutOff
    sending.push(alice.send(['bob', 'dave'], '4'))
    thaw(server)
    await Promise.all([...sending, upload.done])
    const dave = new Recipient(place.client({ user: 'dave' }))
    for (const recipient of [bob, dave]) {
      await recipient.got('4')
      assert.deepEqual(recipient.texts, ['0', '1', '2', '3', '4'])
    }
    assert.deepEqual(await place.files(), new Map([['carol/a', bytes]]))
    assert.deepEqual(await place.files('partial'), new Map())
  })
})

spec('osp send that is frozen for longer than two keep-alive intervals', (it) => {
  if (!canFreeze) return it.skip('continues afterwards', 'only Linux shows whether a process is frozen')

  it('yields its instance to others; after it is thawed, it continues at its progress', async () => {
    await using place = await MortalServer.in()
    await using at = await folder()
    await at.write('a', bytes)
    const server = await place.daemon([...flags, '--file-instances', '1'])
    const [, port] = await server.printed(/ready on 127\.0\.0\.1:(\d+)/u)
    const way = ['--server', `127.0.0.1:${port}`, '--user', 'alice', '--state', join(at.path, 'state')]
    await using sending = start('osp', ['send', 'a', ...way, '--limit-rate', '400k', '--json'], { cwd: at.path })
    const partial = layoutOf(place.data).partialOf('alice', 'a')
    let partialBytes = 0
    while (partialBytes < bytes.length / 4) {
      partialBytes = await stat(partial).then(
        ({ size }) => size,
        () => 0,
      )
    }

    const { length: told } = server.stderr
    await freeze(sending)
    await turns(() => /link-closed user=alice .*code=timed-out/u.test(server.stderr.slice(told)))
    const bob = place.client({ user: 'bob' })
    await (await bob.upload(memorySource('b', small))).done
    assert.equal(sending.stdout.includes('"stored"'), false)

    thaw(sending)
    assert.equal((await sending.ended).code, 0, sending.stderr)
    const stored = published(sending.stdout, commandEvents.send).filter(({ event }) => event === 'stored')
    assert.equal(stored.length, 1)
    const sent = Number(stored[0]?.transferred)
    assert.ok(sent <= bytes.length + 2 * windowBytes, `${sent} bytes were sent of ${bytes.length}`)
    const files = { 'alice/a': bytes, 'bob/b': small }
    assert.deepEqual(Object.fromEntries(await place.files()), files)
    assert.deepEqual(await place.files('partial'), new Map())
  })
})
