import assert from 'node:assert/strict'
import fc from 'fast-check'
import { ByteSocket } from '../../lib/adapters/byteSocket.ts'
import { memory } from '../../lib/adapters/memoryStorage.ts'
import type { ErrorCode } from '../../lib/errors.ts'
import { fixed, limitsWith } from '../../lib/limits.ts'
import type { LogEntry } from '../../lib/ports/log.ts'
import { Door } from '../../lib/server/door.ts'
import { FileApp } from '../../lib/server/fileApp.ts'
import { Session, type SessionHost } from '../../lib/server/session.ts'
import { UserPaces } from '../../lib/server/userPaces.ts'
import { encodeFrame, type Frame, FrameReader } from '../../lib/wire/frame.ts'
import { decode, type Message } from '../../lib/wire/message.ts'
import { events } from '../../lib/wire/protocol.ts'
import { cut } from '../support/bytes.ts'
import { FakeStream } from '../support/fakeStream.ts'
import { frameFor } from '../support/frames.ts'
import { patterned } from '../support/memorySource.ts'
import { helloBytes } from '../support/rawStream.ts'
import { heldPlatform } from '../support/serverRig.ts'
import { spec } from '../support/spec.ts'
import { turn } from '../support/turn.ts'

/** A session of a server in memory, on a fake stream and a held clock; what it was closed with, and what was logged. */
class Rig {
  readonly stream = new FakeStream()
  readonly platform = heldPlatform()
  readonly log: LogEntry[] = []
  readonly app: FileApp
  closed = 0
  readonly #storage = memory()

  private constructor() {
    const { platform } = this
    const limits = limitsWith({ fileInstances: 4, uploadsPerLink: 3, chunkBytes: 4_096 })
    const log = (entry: LogEntry) => this.log.push(entry)
    const storage = this.#storage
    const age = { now: () => platform.clock.wallTime() }
    const others = { onConflict: 'replace', noteMs: 1_000, stored: () => {} } as const
    this.app = new FileApp({ platform, storage, limits, log, age, ...others })
    const host: SessionHost = {
      platform,
      limits,
      authenticator: { authenticate: async ({ user }) => ({ user }), knows: async () => true },
      apps: new Map([['file', this.app]]),
      bootId: new Uint8Array(16),
      log,
      replaces: async () => {},
      closed: () => {
        this.closed++
      },
      unwrittenBytes: () => 1_000_000,
      door: new Door(limits, platform.clock, log),
      paces: new UserPaces(limits, platform.clock, log),
      listVersion: () => 0,
    }
    const peer = { host: 'fuzz', port: 1, local: true }
    const socket = new ByteSocket(
      this.stream,
      { peer, guarded: false },
      { platform, maxPayload: fixed.helloFrameBytes },
    )
    new Session(host, socket, 1)
  }

  static async start(): Promise<Rig> {
    const rig = new Rig()
    await rig.#storage.open(rig.platform)
    return rig
  }

  /** The other side says these pieces, and then ends; resolves when everything that this leads to has happened. */
  async hear(pieces: readonly Uint8Array[]): Promise<void> {
    for (const piece of pieces) {
      this.stream.hear(piece)
      await turn()
    }
    this.stream.hearEnd()
    for (let turns = 0; turns < 20 && this.closed === 0; turns++) await turn()
    // A silent rest: whatever waits for time is over now.
    for (let minutes = 0; minutes < 10; minutes++) {
      this.platform.clock.pass(60_000)
      await turn()
    }
  }

  /** That the session is gone, by an end that has a code, without a fault of the server, and nothing is left. */
  prove(): void {
    assert.equal(this.closed, 1, 'the session was closed once')
    assert.deepEqual([...this.app.receiving()], [])
    assert.deepEqual(
      this.log.filter(({ level }) => level === 'error'),
      [],
    )
    const ends: readonly unknown[] = ['malformed', 'link-lost', 'timed-out'] satisfies ErrorCode[]
    for (const { event, code } of this.log) if (event === 'link-closed') assert.ok(ends.includes(code), String(code))
    assert.deepEqual(this.platform.clock.set, [])
    const said = Buffer.concat(this.stream.wrote)
    // Everything that it says can be read, and the last word is GOODBYE or an answer.
    const frames = [...new FrameReader(this.platform.crc32, fixed.clientFrameBytes).push(said)]
    for (const frame of frames) decode(frame)
  }
}

async function survives(pieces: readonly Uint8Array[]): Promise<void> {
  const rig = await Rig.start()
  await rig.hear(pieces)
  rig.prove()
}

const { crc32 } = heldPlatform()
const wire = (frame: Frame) => Buffer.concat(encodeFrame(frame, crc32))
const lengths = fc.array(fc.integer({ min: 1, max: 400 }), { minLength: 1, maxLength: 4 })
const upload = { fileName: 'a', size: 1_000, modifiedAt: 1, digest: 2 }

/** Requests of a client that knows the protocol and does as it likes with it. */
const request: fc.Arbitrary<Message> = fc.oneof(
  fc
    .record({
      fileName: fc.constantFrom('a', 'b', 'a/b', '../a', ''),
      size: fc.constantFrom(0, 10, 1_000, 2 ** 53 - 1),
    })
    .chain((some) =>
      fc.constantFrom<Message>(
        { event: 'StartPostFileReq', ...upload, ...some },
        { event: 'ContinuePostFileReq', ...upload, ...some, progress: 3 },
        { event: 'CancelFileReq', fileName: some.fileName },
      ),
    ),
  fc
    .record({ progress: fc.constantFrom(0, 1, 500, 1_000, 2 ** 53 - 1), length: fc.nat(1_200) })
    .map(({ progress, length }): Message => ({ event: 'PostFileReq', progress, content: [patterned(length)] })),
  fc.uint8Array({ maxLength: 70 }).map((digest): Message => ({ event: 'FileMd5Req', digest })),
  fc.constantFrom<Message>({ event: 'PauseFileReq' }, { event: 'PingReq' }, { event: 'ListReq' }),
  fc.constantFrom<Message>({ event: 'PingAck', listVersion: undefined }, { event: 'HelloReq', ...hello() }),
)

function hello() {
  return { versions: [1], userName: 'a', token: '', session: new Uint8Array(16), software: '', features: 0 }
}

const number = (most: number) => fc.oneof(fc.nat(4), fc.integer({ min: 0, max: most }))

spec('a session, whatever it hears,', (it) => {
  const limitMs = 60_000

  it(
    'ends with a code: random bytes',
    () =>
      fc.assert(
        fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), fc.boolean(), lengths, (bytes, greeted, sizes) =>
          survives([...(greeted ? [helloBytes()] : []), ...cut(bytes, sizes)]),
        ),
        { numRuns: 800 },
      ),
    { limitMs },
  )

  it(
    'ends with a code: frames with random headers and payloads',
    () => {
      const any = fc.record({
        version: fc.constantFrom(1, 1, 1, 0, 2, 255),
        flags: number(255),
        event: fc.oneof(fc.constantFrom(...Object.values(events).map((row) => row.number)), number(0xffff)),
        seq: number(0xffff_ffff),
        app: fc.oneof(fc.nat(2), number(0xffff)),
        instance: number(0xffff),
        payload: fc.uint8Array({ maxLength: 200 }).map((bytes) => [bytes]),
      })
      const property = fc.asyncProperty(
        fc.array(any, { maxLength: 6 }),
        fc.boolean(),
        lengths,
        (frames, greeted, sizes) =>
          survives([...(greeted ? [helloBytes()] : []), ...cut(Buffer.concat(frames.map(wire)), sizes)]),
      )
      return fc.assert(property, { numRuns: 1_500 })
    },
    { limitMs },
  )

  it(
    'ends with a code: requests of every kind in any order, to any instance',
    () => {
      const asked = fc.array(fc.tuple(request, fc.nat(5)), { maxLength: 15 })
      const property = fc.asyncProperty(asked, lengths, (requests, sizes) => {
        const frames = requests.map(([message, instance], at) => {
          const row = events[message.event]
          const daemon = row.kind !== 'request' || row.to !== 'instance'
          return wire(frameFor(message, at + 2, daemon ? 0 : instance))
        })
        return survives([helloBytes(), ...cut(Buffer.concat(frames), sizes)])
      })
      return fc.assert(property, { numRuns: 1_000 })
    },
    { limitMs },
  )

  it(
    'ends with a code: a good conversation in which bytes are changed, doubled or left out, with a right CRC or a wrong one',
    () => {
      const content = [patterned(1_000)]
      const good: readonly Frame[] = [
        frameFor({ event: 'ContinuePostFileReq', ...upload, progress: 0 }, 2),
        frameFor({ event: 'PostFileReq', progress: 0, content }, 3, 1),
        frameFor({ event: 'FileMd5Req', digest: patterned(32) }, 4, 1),
        frameFor({ event: 'CancelFileReq', fileName: 'a' }, 5),
      ]
      const change = fc.record({ frame: fc.nat(3), at: fc.nat(1_100), byte: fc.nat(255), how: fc.nat(3) })
      const property = fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 4 }), lengths, (changes, sizes) => {
        const frames = good.map((frame, at) =>
          mutated(
            frame,
            changes.filter((change) => change.frame === at),
          ),
        )
        return survives([helloBytes(), ...cut(Buffer.concat(frames), sizes)])
      })
      return fc.assert(property, { numRuns: 1_500 })
    },
    { limitMs },
  )
})

interface Change {
  readonly at: number
  readonly byte: number
  readonly how: number
}

/** 0 and 1 change the payload under a right CRC; 2 changes a byte of the wire; 3 leaves some of the payload out. */
function mutated(frame: Frame, changes: readonly Change[]): Buffer {
  let payload = Buffer.concat(frame.payload)
  for (const { at, byte, how } of changes) {
    if (how < 2 && at < payload.length) payload[at] = byte
    if (how === 3) payload = payload.subarray(0, at)
  }
  const bytes = wire({ ...frame, payload: [payload] })
  for (const { at, byte, how } of changes) if (how === 2 && at < bytes.length) bytes[at] = byte
  return bytes
}
