import assert from 'node:assert/strict'
import { loopbackOnly } from '../../../lib/adapters/auth/unverified.ts'
import { type MemoryStorage, memory } from '../../../lib/adapters/memory/memoryStorage.ts'
import { codeOf } from '../../../lib/errors.ts'
import { fixed } from '../../../lib/limits.ts'
import type { LogEntry } from '../../../lib/ports/log.ts'
import { type Server, startServer } from '../../../lib/server/server.ts'
import { FrameReader } from '../../../lib/wire/frame.ts'
import { decode } from '../../../lib/wire/message.ts'
import type { FakeStream } from '../../support/fakeStream.ts'
import { turn } from '../../support/turn.ts'
import { deterministicPlatform, type StreamTransport, streamTransport } from './streamTransport.ts'
import { Witness, witnessName } from './witness.ts'

/** Resolves when `holds` returns true, and rejects after too many turns. */
export type Until = (what: string, holds: () => boolean) => Promise<void>

/** Maximum number of turns: far more than anything needs. */
const mostTurns = 2_000

const limits = {
  fileInstances: 6,
  uploadsPerLink: 3,
  chunkBytes: 4_096,
  windowBytes: 16_384,
  // So few that a link stops if answered requests were still counted.
  chunkMemoryBytes: 65_536,
  keepAliveMs: fixed.mostKeepAliveMs,
  parkedMs: 1_000,
  clients: 6,
  mailboxMessages: 50,
}

/** A whole server in memory on a manual clock, with a witness on its own link. */
export class Stage {
  readonly platform = deterministicPlatform()
  readonly log: LogEntry[] = []
  readonly transport: StreamTransport = streamTransport()
  readonly links: FakeStream[] = []
  readonly #storage: MemoryStorage = memory()
  #server!: Server
  #witness!: Witness

  static async open(): Promise<Stage> {
    const stage = new Stage()
    const { platform, transport: listen } = stage
    const log = (entry: LogEntry) => void stage.log.push(entry)
    stage.#server = await startServer({
      listen,
      storage: stage.#storage,
      authenticator: loopbackOnly(),
      limits,
      log,
      platform,
    })
    stage.#witness = await Witness.enter(stage.transport.connect(), platform, until)
    return stage
  }

  /** Opens another link. */
  enter(): FakeStream {
    const stream = this.transport.connect()
    this.links.push(stream)
    return stream
  }

  /** Runs all pending work, and the next step of the witness. */
  async step(): Promise<void> {
    await turn()
    this.#witness.step()
  }

  /**
   * Ends all links except that of the witness. Fails if the witness was disturbed, or if anything of the other links is
   * left.
   */
  async end(): Promise<void> {
    for (const link of this.links) link.hearEnd()
    for (let seconds = 0; seconds < 20; seconds++) {
      await turn()
      this.platform.clock.pass(1_000)
    }
    await until('the other links are ended', () => this.links.every(({ destroyed }) => destroyed))
    const stored = await this.#witness.finish()
    assert.deepEqual(this.#storage.read(witnessName, 'seen'), stored)
    const { links, users, uploads } = this.#server.status()
    assert.deepEqual({ links, users, uploads }, { links: 1, users: [witnessName], uploads: [] })
    this.#witness.leave()
    await this.#server.close()
    await turn()
    assert.deepEqual(this.platform.clock.set, [], 'an alarm is left')
    assert.deepEqual(
      this.log.filter(({ level }) => level === 'error'),
      [],
    )
    for (const link of this.links) this.#assertSpeech(link)
  }

  /** Whatever it receives, a server sends only frames of the protocol, and no internal error. */
  #assertSpeech({ wrote }: FakeStream): void {
    for (const frame of new FrameReader(this.platform.crc32, fixed.clientFrameBytes).push({
      bytes: Buffer.concat(wrote),
    })) {
      const message = decode(frame)
      if ('code' in message) assert.notEqual(codeOf(message.code), 'internal', `${message.event}: ${message.text}`)
    }
  }
}

const until: Until = async (what, holds) => {
  for (let turns = 0; !holds(); turns++) {
    assert.ok(turns < mostTurns, `${mostTurns} turns have passed before ${what}`)
    await turn()
  }
}
