import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { FileReference } from '../../../lib/client/files/fileRequests.ts'
import { type Client, connect, type Message, type NotifyRule, serve } from '../../../lib/index.ts'
import { memory, memoryTransport } from '../../../lib/memory.ts'
import { place } from '../../support/commands.ts'
import { memorySource, patterned } from '../../support/memorySource.ts'
import { spec } from '../../support/spec.ts'

/** Starts a server whose clients have the names of their users. */
async function bench(...notify: NotifyRule[]) {
  const listen = memoryTransport()
  const server = await serve({ listen, storage: memory(), notify })
  const clients: Client[] = []
  return {
    async client(user: string): Promise<Client> {
      const client = await connect(listen, { user })
      clients.push(client)
      return client
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(clients.map((client) => client.close()))
      await server.close()
    },
  }
}

/** Resolves with the next message. */
async function next(client: Client): Promise<Message> {
  for await (const message of client.messages()) {
    await message.ack()
    return message
  }
  throw new Error('there is no message')
}

async function bytesOf(client: Client, file: FileReference): Promise<Uint8Array> {
  const parts: Uint8Array[] = []
  for await (const part of client.files.download(file)) parts.push(part)
  return Buffer.concat(parts)
}

spec('a file that is sent to other users', (it) => {
  for (const length of [0, 10, 3_000_000]) {
    it(`can be downloaded by each of them, but by no other user: ${length} bytes`, async () => {
      await using at = await bench()
      const alice = await at.client('alice')
      const content = patterned(length)
      const metadata = { contentType: 'text/plain' }
      const upload = await alice.upload(memorySource('plan', content, 5_000), { to: ['bob', 'carol'], metadata })
      const { digest } = await upload.done
      for (const user of ['bob', 'carol']) {
        const client = await at.client(user)
        const { from, file } = await next(client)
        assert.ok(file)
        assert.deepEqual(
          [from, file.owner, file.name, file.size, file.digest],
          ['alice', 'alice', 'plan', length, digest],
        )
        assert.deepEqual([file.modifiedAt, file.metadata], [5_000, metadata])
        assert.deepEqual(Buffer.from(await bytesOf(client, file)), Buffer.from(content))
        const eve = await at.client('eve')
        // An empty file needs no request.
        if (length > 0) await assert.rejects(bytesOf(eve, file), { code: 'unauthorized' })
      }
    })
  }

  it('is verified and written to a path, even with a reference that was stored as JSON', async () => {
    await using at = await bench()
    await using folder = await place()
    const alice = await at.client('alice')
    await (await alice.upload(memorySource('plan', patterned(1_000)), { to: ['bob'] })).done
    const bob = await at.client('bob')
    const file = JSON.parse(JSON.stringify((await next(bob)).file))
    const to = join(folder.path, 'of alice')
    await bob.files.download(file, { to }).done
    assert.deepEqual(Buffer.from(readFileSync(to)), Buffer.from(patterned(1_000)))
  })

  it('is gone for them after its owner has removed it', async () => {
    await using at = await bench()
    const alice = await at.client('alice')
    await (await alice.upload(memorySource('plan', patterned(1_000)), { to: ['bob'] })).done
    const bob = await at.client('bob')
    const { file } = await next(bob)
    assert.ok(file)
    await alice.files.remove('plan')
    await assert.rejects(bytesOf(bob, file), { code: 'gone' })
  })

  it('is not sent if a recipient is not valid', async () => {
    await using at = await bench()
    const alice = await at.client('alice')
    const add = (to: string[]) => alice.upload(memorySource('plan', patterned(10)), { to })
    await assert.rejects(add(['a/b']), { code: 'bad-name' })
    const many = await add(Array.from({ length: 17 }, (_, at) => `user-${at}`))
    await assert.rejects(many.done, { code: 'too-many-recipients' })
    for await (const { name } of alice.files.list()) assert.fail(`${name} is stored`)
  })
})

spec('the messages of a server about stored files', (it) => {
  it('reach a program that downloads each file', async () => {
    await using at = await bench({ user: 'ingest' })
    const alice = await at.client('alice')
    const names = ['a', 'b', 'c']
    for (const name of names) await (await alice.upload(memorySource(name, patterned(20)))).done
    const ingest = await at.client('ingest')
    const found: string[] = []
    for await (const { file } of ingest.messages()) {
      assert.ok(file)
      assert.deepEqual(Buffer.from(await bytesOf(ingest, file)), Buffer.from(patterned(20)))
      if (found.push(file.name) === names.length) break
    }
    assert.deepEqual(found, names)
  })
})
