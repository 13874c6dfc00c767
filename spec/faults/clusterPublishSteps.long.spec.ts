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

/** How a file is sent, and who gets a message about it. */
interface Way {
  readonly size: number
  readonly to: readonly string[]
  /** The user of `--notify` also gets a message about each file. */
  readonly recipients: readonly string[]
  /** The steps of publishing the file, in their order. */
  readonly steps: readonly string[]
  /** The number of kills, before and after each step, after which the file is not stored unless its client returns. */
  readonly unstored: number
}

const to = ['bob', 'carol', 'dave']
const ways: Readonly<Record<string, Way>> = {
  'a file that is sent to three users': {
    ...{ size: 100_000, to, recipients: [...to, 'ingest'], unstored: 1 },
    steps: ['transfers.verified', 'publish', 'transfers.complete', 'mail.post', 'transfers.reported'],
  },
  'a small file': {
    ...{ size: 1_000, to: [], recipients: ['ingest'], unstored: 3 },
    steps: ['transfers.announce', 'publish', 'transfers.settle', 'mail.post', 'transfers.reported'],
  },
}

const killsOf = ({ steps }: Way) =>
  steps.flatMap((step) => (['before', 'after'] as const).map((when) => ({ step, when })))

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
  async send({ size, to }: Way, step: string, when: string, next: number) {
    const doomed = [this.#shared.url, this.#shared.files, step, when, this.user]
    await using server = startSource('spec/support/doomedMember.ts', doomed)
    const [, port] = await server.printed(/ready on (\d+)/u)
    this.#port = Number(port)
    const upload = await this.client.upload(memorySource('plan', patterned(size)), { to })
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
async function sent(shared: Shared, { recipients }: Way, users: readonly string[]) {
  const rows = await shared.sql<{ sender: string; recipient: string; count: number }>(
    `SELECT s.name AS sender, b.name AS recipient, count(*)::int AS count FROM ospd.mail m
     JOIN ospd.box s ON s.id = m.sender JOIN ospd.box b ON b.id = m.box GROUP BY 1, 2`,
  )
  const countOf = (user: string, to: string) =>
    rows.find(({ sender, recipient }) => sender === user && recipient === to)?.count ?? 0
  return users.map((user) => recipients.map((to) => countOf(user, to)))
}

for (const [what, way] of Object.entries(ways)) {
  const { recipients, unstored } = way
  const kills = killsOf(way)
  const users = kills.map((_, at) => `alice-${at}`)

  spec(`${what}, and the messages about it, if the server of a cluster is killed`, (it) => {
    const titles = {
      once: 'are stored once by another server after the client has connected to it',
      whole: 'are both stored or both not, if the client does not return',
    }
    if (databaseMissing !== undefined) return it.skip(titles.once, databaseMissing)

    it(titles.once, async () => {
      await using shared = await initialized()
      await using next = await shared.serve('next', ['--notify', 'ingest'])
      for (const [at, { step, when }] of kills.entries()) {
        await using sender = new Sender(shared, users[at] ?? '')
        const upload = await sender.send(way, step, when, next.port)
        await upload.done
        assert.ok(sender.isPublished, `${when} ${step}`)
      }
      const expected = users.map(() => recipients.map(() => 1))
      // The messages about some files are stored when the killed server is declared dead.
      while (`${await sent(shared, way, users)}` !== `${expected}`) await pause(200)
    })

    it(titles.whole, async () => {
      await using shared = await initialized()
      await using _ = await shared.serve('next', ['--notify', 'ingest'])
      const senders: Sender[] = []
      for (const [at, { step, when }] of kills.entries()) {
        await using sender = new Sender(shared, users[at] ?? '')
        senders.push(sender)
        await sender.send(way, step, when, 0)
      }
      const living = () => shared.sql("SELECT FROM ospd.server WHERE name = 'doomed' AND NOT dead")
      while ((await living()).length > 0) await pause(200)
      const expected = users.map((_, at) => recipients.map(() => (at < unstored ? 0 : 1)))
      while (`${await sent(shared, way, users)}` !== `${expected}`) await pause(200)
      assert.deepEqual(
        senders.map(({ isPublished }) => isPublished),
        users.map((_, at) => at >= unstored),
      )
    })
  })
}
