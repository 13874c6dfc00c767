import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { tcp } from '../../lib/adapters/net/tcp.ts'
import { nodePlatform } from '../../lib/adapters/node/nodePlatform.ts'
import { RunningClient } from '../../lib/client/runningClient.ts'
import { initialized, type Shared } from '../cli/sharedCluster.ts'
import { memorySource, patterned } from '../support/memorySource.ts'
import { databaseMissing } from '../support/postgres.ts'
import { startSource } from '../support/sources.ts'
import { spec } from '../support/spec.ts'

const recipients = ['bob', 'carol', 'dave']
const content = patterned(100_000)

/** The steps of publishing a file that is sent to other users, in their order. */
const steps = ['transfers.verified', 'publish', 'transfers.complete', 'mail.post', 'transfers.reported']
const kills = steps.flatMap((step) => (['before', 'after'] as const).map((when) => ({ step, when })))

/** A client whose server is killed while it publishes the file. It then connects to the server `next`. */
class Sender implements AsyncDisposable {
  readonly user: string
  readonly client: RunningClient
  readonly #shared: Shared
  #port = 0

  constructor(shared: Shared, user: string) {
    this.#shared = shared
    this.user = user
    const dial = (...given: Parameters<ReturnType<typeof tcp>['dial']>) => tcp({ port: this.#port }).dial(...given)
    const to = { dial, listen: () => Promise.reject(new Error('this transport only dials')) }
    const real = nodePlatform()
    const platform = { ...real, random: { ...real.random, fraction: () => 0 } }
    this.client = new RunningClient({ to, user, platform, software: 'spec' })
  }

  /** Kills the server. Resolves with the upload. */
  async send(step: string, when: string, next: number) {
    const doomed = [this.#shared.url, this.#shared.files, step, when]
    await using server = startSource('spec/support/doomedMember.ts', doomed)
    const [, port] = await server.printed(/ready on (\d+)/u)
    this.#port = Number(port)
    const upload = await this.client.upload(memorySource('plan', content), { to: recipients })
    upload.done.catch(() => {})
    assert.equal((await server.ended).signal, 'SIGKILL', server.stderr)
    this.#port = next
    return upload
  }

  get isPublished(): boolean {
    return existsSync(join(this.#shared.files, 'files', this.user, 'plan'))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.client.close()
  }
}

/** Resolves with the number of messages that each of these users has sent to each recipient. */
async function sent(shared: Shared, users: readonly string[]) {
  const rows = await shared.sql<{ sender: string; recipient: string; count: number }>(
    `SELECT s.name AS sender, b.name AS recipient, count(*)::int AS count FROM ospd.mail m
     JOIN ospd.box s ON s.id = m.sender JOIN ospd.box b ON b.id = m.box GROUP BY 1, 2`,
  )
  const countOf = (user: string, to: string) =>
    rows.find(({ sender, recipient }) => sender === user && recipient === to)?.count ?? 0
  return new Map(users.map((user) => [user, recipients.map((to) => countOf(user, to))]))
}

spec('a file that is sent to three users, and its messages, if the server of a cluster is killed', (it) => {
  const titles = {
    once: 'are stored once by another server after the client has connected to it',
    whole: 'are both stored or both not, if the client does not return',
  }
  if (databaseMissing !== undefined) return it.skip(titles.once, databaseMissing)

  it(titles.once, async () => {
    await using shared = await initialized()
    await using next = await shared.serve('next')
    const users = kills.map((_, at) => `alice-${at}`)
    for (const [at, { step, when }] of kills.entries()) {
      await using sender = new Sender(shared, users[at] ?? '')
      const upload = await sender.send(step, when, next.port)
      await upload.done
      assert.ok(sender.isPublished, `${when} ${step}`)
    }
    for (const [user, counts] of await sent(shared, users)) assert.deepEqual(counts, [1, 1, 1], user)
  })

  it(titles.whole, async () => {
    await using shared = await initialized()
    await using next = await shared.serve('next')
    const senders: Sender[] = []
    for (const [at, { step, when }] of kills.entries()) {
      const sender = new Sender(shared, `alice-${at}`)
      senders.push(sender)
      await sender.send(step, when, 0)
      await sender.client.close()
    }
    const waiting = () => senders.map(({ user }) => user)
    const living = () => shared.sql("SELECT FROM ospd.server WHERE name = 'doomed' AND NOT dead")
    while ((await living()).length > 0) await pause(200)
    // The other server completes each file whose record is marked as verified.
    const isComplete = async () => {
      const counts = await sent(shared, waiting())
      return senders.slice(1).every((sender) => sender.isPublished && `${counts.get(sender.user)}` === '1,1,1')
    }
    while (!(await isComplete())) await pause(200)
    assert.deepEqual([senders[0]?.isPublished, (await sent(shared, waiting())).get('alice-0')], [false, [0, 0, 0]])
    void next
  })
})
