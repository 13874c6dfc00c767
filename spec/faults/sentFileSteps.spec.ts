import assert from 'node:assert/strict'
import { disk } from '../../lib/adapters/disk/disk.ts'
import { nodePlatform } from '../../lib/adapters/node/nodePlatform.ts'
import type { Client } from '../../lib/client/client.ts'
import type { Message } from '../../lib/client/messages/message.ts'
import type { Kill } from '../support/killableServer.ts'
import { memorySource, patterned } from '../support/memorySource.ts'
import { dyingAt } from '../support/messageSurvival.ts'
import { MortalServer } from '../support/mortalServer.ts'
import { spec } from '../support/spec.ts'

const recipients = ['bob', 'carol', 'dave']
const content = patterned(100_000)

/** The steps of publishing a file that is sent to other users, in their order. */
const steps: readonly Kill['at'][] = ['flush', 'verified', 'publish', 'complete', 'append message', 'reported']

/** Opens the data of a server that was killed. Resolves with what it has stored. */
async function left(data: string) {
  await using storage = disk(data)
  await storage.open(nodePlatform())
  const waiting = (await storage.mailboxes.levels()).map(({ user }) => user)
  return { isPublished: await storage.files.stored('alice', 'plan'), waiting }
}

/** Resolves with the messages until `last` has arrived. */
async function messagesUntil(client: Client, last: string): Promise<Message[]> {
  const messages: Message[] = []
  for await (const message of client.messages()) {
    if (message.text() === last) return messages
    messages.push(message)
  }
  return messages
}

async function bytesOf(client: Client, { file }: Message): Promise<Uint8Array> {
  assert.ok(file)
  const parts: Uint8Array[] = []
  for await (const part of client.files.download(file)) parts.push(part)
  return Buffer.concat(parts)
}

async function survives(at: Kill['at'], when: Kill['when']): Promise<void> {
  await using place = await MortalServer.in()
  const server = await dyingAt(at, when)(place)
  const alice = place.client()
  const upload = await alice.upload(memorySource('plan', content), { to: recipients })
  assert.equal((await server.ended).signal, 'SIGKILL')
  const { isPublished, waiting } = await left(place.data)
  // A message without a file would be a reference that leads nowhere.
  if (!isPublished) assert.deepEqual(waiting, [])

  await place.serve()
  await upload.done
  await alice.send(recipients, 'last')
  for (const user of recipients) {
    const client = place.client({ user })
    const messages = await messagesUntil(client, 'last')
    assert.equal(messages.length, 1, user)
    for (const message of messages) assert.deepEqual(Buffer.from(await bytesOf(client, message)), Buffer.from(content))
  }
}

spec('a file that is sent to three users, and its message for each, are stored once if the server is killed', (it) => {
  for (const step of steps) {
    for (const when of ['before', 'after'] as const) it(`${when} the step "${step}"`, () => survives(step, when))
  }
})

spec('the messages about a published file', (it) => {
  it('are stored by the next server, even if its client does not return', async () => {
    await using place = await MortalServer.in()
    const server = await dyingAt('complete', 'before')(place)
    const alice = place.client()
    const upload = await alice.upload(memorySource('plan', content), { to: recipients })
    upload.done.catch(() => {})
    assert.equal((await server.ended).signal, 'SIGKILL')
    await alice.close()
    await place.serve()
    for (const user of recipients) {
      const client = place.client({ user })
      for await (const message of client.messages()) {
        assert.deepEqual(Buffer.from(await bytesOf(client, message)), Buffer.from(content))
        break
      }
    }
  })
})
