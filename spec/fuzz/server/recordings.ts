import type { Client } from '../../../lib/client/client.ts'
import { RunningClient } from '../../../lib/client/runningClient.ts'
import type { Socket, Transport } from '../../../lib/ports/socket.ts'
import type { Frame } from '../../../lib/wire/frame.ts'
import { concatenated } from '../../support/bytes.ts'
import { type MemorySource, memorySource, patterned } from '../../support/memorySource.ts'
import { turn } from '../../support/turn.ts'
import { Stage } from './stage.ts'

/** A frame of a client on one of the links of a conversation; without a frame the client ends the link. */
export interface Line {
  readonly link: number
  readonly frame?: Frame
}

/** A recorded conversation of real clients with a server: the clients' frames in order. */
export type Script = readonly Line[]

/** Records the frames of clients; each dial is another link. */
class Recorder implements Pick<Transport, 'dial' | 'listen'> {
  readonly script: Line[] = []
  readonly sockets: Socket[] = []
  readonly #stage: Stage
  readonly #clients: Client[] = []

  constructor(stage: Stage) {
    this.#stage = stage
  }

  listen(): never {
    throw new Error('only the stage can listen')
  }

  async dial(...given: Parameters<Transport['dial']>): Promise<Socket> {
    const socket = await this.#stage.transport.dial(...given)
    const link = this.sockets.push(socket) - 1
    const send = socket.send.bind(socket)
    socket.send = (frame, left) => {
      this.script.push({ link, frame: { ...frame, payload: [concatenated(frame.payload)] } })
      return send(frame, left)
    }
    return socket
  }

  client(user: string): Client {
    const client = new RunningClient({ to: this, user, platform: this.#stage.platform, software: 'fuzz' })
    this.#clients.push(client)
    return client
  }

  /** The clients end the link with GOODBYE. */
  async close(): Promise<void> {
    for (const client of this.#clients) await this.during(client.close())
  }

  /** The link breaks. */
  cut(link: number): void {
    this.sockets[link]?.destroy()
    this.script.push({ link })
  }

  /** Resolves with the result of `work`, while time passes. */
  async during<T>(work: Promise<T>): Promise<T> {
    let isOver = false
    const over = () => {
      isOver = true
    }
    work.then(over, over)
    for (let turns = 0; !isOver; turns++) {
      if (turns > 10_000) throw new Error('the conversation never ends')
      await turn()
      this.#stage.platform.clock.pass(5)
    }
    return work
  }
}

const bytes = patterned(20_000, 3)

const conversations: readonly ((recorder: Recorder) => Promise<void>)[] = [
  async function uploads(recorder) {
    const client = recorder.client('alice')
    for (const [name, size, digest] of [
      ['a', 9_000, 'sha256'],
      ['b/c', 0, 'md5'],
      ['b/d', 500, 'sha256'],
    ] as const) {
      const { done: finished } = await client.upload(memorySource(name, bytes.subarray(0, size)), { digest })
      await recorder.during(finished)
    }
  },

  async function pauseAndCancel(recorder) {
    const client = recorder.client('alice')
    const paused = sourceAt('a', () => void client.uploads.pause([1]).then(() => client.uploads.resume([1])))
    const cancelled = sourceAt('b', () => void client.uploads.cancel([2]))
    const added = [await client.upload(paused), await client.upload(cancelled)]
    await recorder.during(Promise.allSettled(added.map(({ done: finished }) => finished)))
  },

  async function takeOver(recorder) {
    const second = recorder.client('alice')
    let taken: Promise<unknown> = Promise.resolve()
    const take = () => {
      taken = second.upload(memorySource('a', bytes)).then(({ done: finished }) => finished)
    }
    const { done: finished } = await recorder.client('alice').upload(sourceAt('a', take))
    await recorder.during(finished.catch(() => {}))
    await recorder.during(taken)
  },

  async function lostLink(recorder) {
    const { done: finished } = await recorder.client('alice').upload(sourceAt('a', () => recorder.cut(0)))
    await recorder.during(finished)
  },

  async function messages(recorder) {
    const [alice, bob] = [recorder.client('alice'), recorder.client('bob')]
    alice.receive(() => {})
    bob.receive(() => {})
    await recorder.during(Promise.all([alice.presence.ready(), bob.presence.ready()]))
    for (const text of ['1', '2', 'x'.repeat(300)]) await recorder.during(alice.send(['bob', 'carol', 'alice'], text))
    await recorder.during(bob.send(['alice'], bytes.subarray(0, 2_000)))
    const carol = recorder.client('carol')
    let left = 3
    await recorder.during(new Promise<void>((resolve) => carol.receive(() => void (--left === 0 && resolve()))))
  },
]

/** A source that calls `act` before its fourth piece is read, and gives it time. */
function sourceAt(name: string, act: () => void): MemorySource {
  const source = memorySource(name, bytes)
  let reads = 0
  source.beforeRead = async () => {
    if (++reads !== 4) return
    act()
    for (let turns = 0; turns < 10; turns++) await turn()
  }
  return source
}

/** Records every conversation, each with a new server; the result is always the same. */
export async function recorded(): Promise<readonly Script[]> {
  const scripts: Script[] = []
  for (const hold of conversations) {
    const stage = await Stage.open()
    const recorder = new Recorder(stage)
    await hold(recorder)
    await recorder.close()
    scripts.push(recorder.script)
    await stage.end()
  }
  return scripts
}
