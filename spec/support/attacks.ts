import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { setTimeout as pause } from 'node:timers/promises'
import { BareLink, type Make, same, type Target } from './bareLink.ts'
import { bytesOf, helloBytes, RawStream } from './rawStream.ts'

/** A daemon that attacks need. */
interface ServerKind {
  /** Whether it has a list of users: then all of `knownUsers` have tokens, which the attackers know. */
  readonly users: boolean
  /** Flags of `ospd serve`. */
  readonly flags: readonly string[]
}

/** The daemons: all attacks that name one run one after another on the same daemon. */
export const serverKinds = {
  open: { users: false, flags: [] },
  users: { users: true, flags: [] },
} as const satisfies Record<string, ServerKind>

/** What an attack may do to a server and its honest client. */
export interface AttackBounds {
  /** How much longer pings of the honest client take at p99, in ms, than without the attack. */
  readonly pingMs: number
  /** How much more memory the server takes. */
  readonly memoryMiB: number
  /** Lines in the log a second, those about the honest client excepted. */
  readonly linesPerSecond: number
}

export const usualBounds: AttackBounds = { pingMs: 50, memoryMiB: 200, linesPerSecond: 20 }

export interface Attack {
  readonly name: string
  /** `open` unless told otherwise. */
  readonly server?: keyof typeof serverKinds
  /** What differs from `usualBounds`. */
  readonly bounds?: Partial<AttackBounds>
  /** Attacks until its process is killed, or `signal` aborts. */
  readonly run: (target: Target, signal: AbortSignal) => Promise<void>
}

/** Whose names, and on a server with users whose tokens, the attackers know. */
export const knownUsers = Array.from({ length: 20 }, (_, at) => `user-${at}`)

/** A connection of a stranger, 127.0.0.`from`; what comes is thrown away. */
async function connection(port: number, from: number): Promise<BareLink> {
  const link = new BareLink(port, from)
  await Promise.race([once(link.stream, 'connect').catch(() => {}), link.gone])
  return link
}

/** Does `one` again and again, `atOnce` at a time, until `signal` aborts. */
async function again(atOnce: number, signal: AbortSignal, one: (at: number) => Promise<void>): Promise<void> {
  const row = async (at: number) => {
    while (!signal.aborted) await one(at)
  }
  await Promise.all(Array.from({ length: atOnce }, (_, at) => row(at)))
}

type Run = Attack['run']

/** Opens connections from four addresses, and another one in place of each that was ended; `use` is what it does on one. */
function keepingOpen(links: number, use: (it: BareLink) => Promise<void> = ({ gone }) => gone): Run {
  return ({ port }, signal) =>
    again(links, signal, async (at) => {
      const link = await connection(port, 1 + (at % 4))
      await use(link)
      link.stream.destroy()
      // The attacker comes back somewhat later and ignores what it was told.
      await pause(100)
    })
}

/** A byte of a HELLO_REQ each second. */
async function byteBySecond({ stream, gone }: BareLink): Promise<void> {
  for (const byte of helloBytes()) {
    if (stream.destroyed) return
    stream.write(Uint8Array.of(byte))
    await Promise.race([pause(1_000), gone])
  }
  await gone
}

/** The header of a frame of nearly 4 GiB, and then what it is full of. */
async function announcing({ stream, gone }: BareLink): Promise<void> {
  const header = bytesOf({ event: 'PingReq' }).subarray(0, 20)
  header.writeUInt32BE(0xffff_ffff)
  stream.write(header)
  stream.write(new Uint8Array(65_536))
  await gone
}

/** Asks and asks, and reads no answer. */
const neverReading: Run = ({ port }, signal) =>
  again(1, signal, async () => {
    await using raw = await RawStream.letIn(port)
    raw.stream.pause()
    for (let seq = 2; !raw.over && !raw.stream.destroyed && !signal.aborted; seq += 2_000) {
      const pings = Array.from({ length: 2_000 }, (_, at) => bytesOf({ event: 'PingReq' }, seq + at))
      const given = pause(1_000)
      await Promise.race([raw.write(Buffer.concat(pings)), given])
    }
  })

/** HELLO_REQs that are refused, as fast as they can be said; `users` are who it claims to be, by the same token. */
function failing(users: readonly string[], token = ''): Run {
  let count = 0
  return ({ port }, signal) =>
    again(50, signal, async () => {
      const link = await connection(port, 1)
      link.stream.write(helloBytes('storm', users[count++ % users.length], 1, token))
      await link.gone
    })
}

/** Has each of `users` keep `links` links; `use` is what it does on one. */
function byLinks(
  users: readonly string[],
  links: number,
  use: (link: BareLink, signal: AbortSignal, at: number) => Promise<void>,
): Run {
  return (target, signal) =>
    again(users.length * links, signal, async (at) => {
      const user = users[at % users.length] ?? ''
      const link = await BareLink.letIn(target, user, { from: 1 + (at % 4), session: `${user}-${at}` })
      if (link) await use(link, signal, at)
      link?.stream.destroy()
      await pause(100)
    })
}

/** A chunk of 1 MiB, all but its last byte, which is nobody's: it is never answered. */
function begunChunk(): Buffer {
  const chunk = bytesOf({ event: 'PostFileReq', progress: 0, content: [new Uint8Array(1024 * 1024)] }, 2, 1)
  return chunk.subarray(0, chunk.length - 1)
}

/** Begins a chunk on each of 400 links, and does not complete it. */
const begunChunks: Run = (target, signal) => {
  const chunk = begunChunk()
  return byLinks(knownUsers, 20, async ({ stream, gone }) => {
    stream.write(chunk)
    await gone
  })(target, signal)
}

/** One kind of request from one link of a user, as fast as the server takes it. */
const flooding = (make: Make, most?: number): Run =>
  byLinks(knownUsers.slice(0, 1), 1, (link, signal) => link.flood(make, signal, most))

const start = (name: string) =>
  ({ event: 'StartPostFileReq', fileName: name, size: 1_000, modifiedAt: 1, digest: 2 }) as const

/** Listening and not listening, in turn. */
function alternating(user: string): Make {
  const [on, off] = [1, 0].map((flags) => same({ event: 'RegistReq', userName: user, flags }))
  return (seq) => (seq % 2 ? on : off)?.(seq) ?? Buffer.alloc(0)
}

/** Empty messages of one user, each to 16 of 160 names, until the server refuses them and beyond. */
const fillingMailboxes: Run = (target, signal) =>
  byLinks(['user-0'], 1, async (link) => {
    const registered = link.next('RegistAck')
    link.ask(same({ event: 'RegistReq', userName: 'user-0', flags: 0 }))
    const ack = (await registered)?.message()
    const instance = ack?.event === 'RegistAck' ? ack.instance : 0
    let first = 0
    const post: Make = (seq) => {
      const recipients = Array.from({ length: 16 }, (_, at) => `name-${(first + at) % 160}`)
      first += 16
      return bytesOf(
        { event: 'PostMsgReq', messageId: randomBytes(16), recipients, content: Buffer.alloc(0) },
        seq,
        instance,
      )
    }
    await link.flood(post, signal, 200)
  })(target, signal)

/** Programs of one user from four addresses that come in and listen, each in place of another one. */
const superseding: Run = (target, signal) => {
  let program = 0
  return again(16, signal, async (at) => {
    const link = await BareLink.letIn(target, 'user-0', { from: 1 + (at % 4), session: `program ${program++}` })
    link?.ask(same({ event: 'RegistReq', userName: 'user-0', flags: 1 }))
    if (link) await link.gone
    else await pause(100)
  })
}

/** Takes all instances by uploads that send nothing, then asks for more. */
const startsWhileTaken: Run = (target, signal) =>
  byLinks(knownUsers, 10, async (link, _, at) => {
    if (at < 100) {
      for (let count = 0; count < 5; count++) link.ask(same(start(`held-${at}-${count}`)))
      await link.gone
    } else await link.flood((seq) => bytesOf(start(`wanted-${seq % 2_000}`), seq), signal)
  })(target, signal)

/** What `npm run bench:attack` does to a daemon, one after another. */
export const attacks: readonly Attack[] = [
  { name: '2,000 links that never speak', run: keepingOpen(2_000) },
  {
    name: '2,000 links of one user from four addresses',
    server: 'users',
    run: byLinks(['user-0'], 2_000, (link) => link.gone),
  },
  { name: '400 links that begin a chunk and do not complete it', server: 'users', run: begunChunks },
  { name: '400 links that say a byte a second', run: keepingOpen(400, byteBySecond) },
  { name: '20 links that announce 4 GiB, again and again', run: keepingOpen(20, announcing) },
  { name: 'a link that asks and never reads', run: neverReading },
  { name: 'a storm of HELLO_REQs with a bad name', run: failing(['..']) },
  {
    name: 'a storm of wrong tokens for names that are known',
    server: 'users',
    run: failing(knownUsers, `osp_${'a'.repeat(43)}`),
  },
  { name: 'PING_REQs of one link', run: flooding(same({ event: 'PingReq' }), 5_000) },
  { name: 'LIST_REQs of one link', run: flooding(same({ event: 'ListReq' }), 5_000) },
  {
    name: 'registrations that alternate, of one link',
    server: 'users',
    run: byLinks(['user-0'], 1, (link, signal) => link.flood(alternating('user-0'), signal)),
  },
  { name: 'messages of one user to 16 recipients each, until they are refused', run: fillingMailboxes },
  { name: 'programs of one user that supersede each other', server: 'users', run: superseding },
  { name: 'STARTs while all instances are taken', server: 'users', run: startsWhileTaken },
]
