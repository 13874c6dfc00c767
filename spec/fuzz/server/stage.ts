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
import { type StreamTransport, streamTransport, deterministicPlatform } from './streamTransport.ts'
import { Witness, witnessName } from './witness.ts'

/** Resolves when `holds`, and rejects after too many turns in which it does not. */
export type Until = (what: string, holds: () => boolean) => Promise<void>

/** Turns that anything may take: far more than anything does. */
const mostTurns = 2_000

const limits = {
  fileInstances: 6,
  uploadsPerLink: 3,
  chunkBytes: 4_096,
  windowBytes: 16_384,
  // So few that a link stands still where what it has asked for is not counted off again.
  chunkMemoryBytes: 65_536,
  keepAliveMs: fixed.mostKeepAliveMs,
  parkedMs: 1_000,
  clients: 6,
  mailboxMessages: 50,
}

/** A whole server in memory on a clock that stands still, with a witness on a link of its own. */
export class Stage {
  readonly platform = deterministicPlatform()
  readonly log: LogEntry[] = []
  readonly door: StreamTransport = streamTransport()
  readonly links: FakeStream[] = []
  readonly #storage: MemoryStorage = memory()
  #server!: Server
  #witness!: Witness

  static async open(): Promise<Stage> {
    const stage = new Stage()
    const { platform, door: listen } = stage
    const log = (entry: LogEntry) => void stage.log.push(entry)
    stage.#server = await startServer({
      listen,
      storage: stage.#storage,
      authenticator: loopbackOnly(),
      limits,
      log,
      platform,
    })
    stage.#witness = await Witness.enter(stage.door.connect(), platform, until)
    return stage
  }

  /** A further link. */
  enter(): FakeStream {
    const stream = this.door.connect()
    this.links.push(stream)
    return stream
  }

  /** Everything that is under way happens, and the witness does its next step. */
  async step(): Promise<void> {
    await turn()
    this.#witness.step()
  }

  /** Ends all links but that of the witness. Proves that it was not disturbed, and that nothing is left of the others. */
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

  /** Whatever it was told, a server says frames of the protocol, and blames itself for nothing. */
  #assertSpeech({ wrote }: FakeStream): void {
    for (const frame of new FrameReader(this.platform.crc32, fixed.clientFrameBytes).push(Buffer.concat(wrote))) {
      const message = decode(frame)
      if ('code' in message) assert.notEqual(codeOf(message.code), 'internal', `${message.event}: ${message.text}`)
    }
  }
}

const until: Until = async (what, holds) => {
  for (let turns = 0; !holds(); turns++) {
    assert.ok(turns < mostTurns, `${mostTurns} turns are over before ${what}`)
    await turn()
  }
}
