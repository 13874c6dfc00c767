import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { setTimeout as pause } from 'node:timers/promises'
import { defaultLimits } from '../../lib/limits.ts'
import type { WireMessage } from '../../lib/wire/message.ts'
import type { Attack } from './attack.ts'
import { knownUsers } from './attackedServers.ts'
import { again, byLinks, flooding, mallory, ofNothing, type Run, start, users } from './attackSteps.ts'
import { BareLink, type Make, same } from './bareLink.ts'
import { bodyOf } from './messageClient.ts'
import { bytesOf, helloBytes, RawStream } from './rawStream.ts'
import { storedFileAttacks } from './storedFileAttacks.ts'

/** The attackers come from four addresses. */
const linesOfMany = 4 * 10 * defaultLimits.logLinesPerAddress

/** An unauthenticated connection from 127.0.0.`from`; what it receives is discarded. */
async function connection(port: number, from: number): Promise<BareLink> {
  const link = new BareLink(port, from)
  await Promise.race([once(link.stream, 'connect').catch(() => {}), link.gone])
  return link
}

/** Opens connections from four addresses, and replaces each one that ends; `use` runs on each connection. */
function keepingOpen(links: number, use: (it: BareLink) => Promise<void> = ({ gone }) => gone): Run {
  return ({ port }, signal) =>
    again(links, signal, async (at) => {
      const link = await connection(port, 1 + (at % 4))
      await use(link)
      link.stream.destroy()
      // The attacker reconnects somewhat later, and ignores the reason.
      await pause(100)
    })
}

/** Sends one byte of a HELLO_REQ per second. */
async function byteBySecond({ stream, gone }: BareLink): Promise<void> {
  for (const byte of helloBytes()) {
    if (stream.destroyed) return
    stream.write(Uint8Array.of(byte))
    await Promise.race([pause(1_000), gone])
  }
  await gone
}

/** Sends the header of a frame of nearly 4 GiB, and then the beginning of its payload. */
async function announcing({ stream, gone }: BareLink): Promise<void> {
  const header = bytesOf({ event: 'PingReq' }).subarray(0, 20)
  header.writeUInt32BE(0xffff_ffff)
  stream.write(header)
  stream.write(new Uint8Array(65_536))
  await gone
}

/** Sends requests endlessly, and does not read the answers. */
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

/** Sends HELLO_REQs that are refused, as fast as possible, as each of `users` with the same token. */
function failing(users: readonly string[], token = ''): Run {
  let count = 0
  return ({ port }, signal) =>
    again(50, signal, async () => {
      const link = await connection(port, 1)
      link.stream.write(helloBytes('storm', users[count++ % users.length], 1, token))
      await link.gone
    })
}

/** A chunk of 1 MiB without its last byte, to an instance that no link holds; it is never answered. */
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

/** The same on a registered link; `make` receives its instance. */
const registered = (make: (instance: number) => Make): Run =>
  byLinks([mallory], 1, async (link, signal) => {
    const came = await link.reply(same({ event: 'RegistReq', userName: mallory, flags: 0 }))
    const ack = came?.message()
    if (ack?.event === 'RegistAck') await link.flood(make(ack.instance), signal)
  })

/** Begins an upload. Resolves with its instance, or with `undefined` if the server refused it. */
async function begun(link: BareLink, fileName: string, size?: number): Promise<number | undefined> {
  const ack = (await link.reply(same(start(fileName, size))))?.message()
  if (ack?.event === 'StartPostFileAck') return ack.instance
  await pause(10)
  return undefined
}

/** Sends requests to the instance of an upload on one link. */
const toUpload = (make: (instance: number) => Make): Run =>
  byLinks([mallory], 1, async (link, signal) => {
    const instance = await begun(link, 'held')
    if (instance !== undefined) await link.flood(make(instance), signal)
  })

/** Runs `step` repeatedly for five uploads on each of `links` links of each user. */
const uploading = (
  users: readonly string[],
  links: number,
  step: (link: BareLink, name: string) => Promise<unknown>,
): Run =>
  byLinks(users, links, async (link, signal, at) => {
    const five = Array.from({ length: 5 }, (_, upload) => `upload-${at}-${upload}`)
    await Promise.all(
      five.map(async (name) => {
        while (!link.over && !signal.aborted) await step(link, name)
      }),
    )
  })

/** Uploads an empty file completely. */
async function empty(link: BareLink, name: string): Promise<void> {
  const instance = await begun(link, name, 0)
  if (instance !== undefined) await link.reply(same({ event: 'FileMd5Req', digest: ofNothing }, instance))
}

/** START, PAUSE and CONTINUE. */
async function pausing(link: BareLink, name: string): Promise<void> {
  let instance = await begun(link, name)
  for (let count = 0; count < 100 && instance !== undefined && !link.over; count++) {
    await link.reply(same({ event: 'PauseFileReq' }, instance))
    const again = await link.reply(same({ ...start(name), event: 'ContinuePostFileReq', progress: 0 }))
    const ack = again?.message()
    instance = ack?.event === 'ContinuePostFileAck' ? ack.instance : undefined
  }
}

/** Sends one kind of request for five users with many uploads and files, as fast as the server accepts it. */
const floodingByKeepers = (message: (seq: number) => WireMessage): Run =>
  byLinks(knownUsers.slice(0, 5), 1, (link, signal) => link.flood((seq) => bytesOf(message(seq), seq), signal))

/** Registers as listening and as not listening, in turn. */
function alternating(user: string): Make {
  const [on, off] = [1, 0].map((flags) => same({ event: 'RegistReq', userName: user, flags }))
  return (seq) => (seq % 2 ? on : off)?.(seq) ?? Buffer.alloc(0)
}

/** Sends empty messages of one user, each to 16 of 160 names, and continues after the server refuses them. */
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
        { event: 'PostMsgReq', messages: [{ messageId: randomBytes(16), recipients, body: bodyOf('') }] },
        seq,
        instance,
      )
    }
    await link.flood(post, signal, 200)
  })(target, signal)

/** Starts listening programs of one user from four addresses; each takes over from the previous one. */
const superseding: Run = (target, signal) => {
  let program = 0
  return again(16, signal, async (at) => {
    const link = await BareLink.letIn(target, 'user-0', { from: 1 + (at % 4), session: `program ${program++}` })
    link?.ask(same({ event: 'RegistReq', userName: 'user-0', flags: 1 }))
    if (link) await link.gone
    else await pause(100)
  })
}

/** Takes all instances by uploads that send nothing, then requests more. */
const startsWhileTaken: Run = byLinks(knownUsers, 10, async (link, signal, at) => {
  if (at < 100) {
    for (let count = 0; count < 5; count++) link.ask(same(start(`held-${at}-${count}`)))
    await link.gone
  } else await link.flood((seq) => bytesOf(start(`wanted-${seq % 2_000}`), seq), signal)
})

/** Logs in and disconnects repeatedly, on `atOnce` links; `use` runs in between. */
function comingAndGoing(
  users: readonly string[],
  atOnce: number,
  use?: (link: BareLink, user: string) => Promise<unknown>,
): Run {
  let count = 0
  return (target, signal) =>
    again(atOnce, signal, async (at) => {
      const user = users[at % users.length] ?? ''
      const link = await BareLink.letIn(target, user, { session: `${count++}` })
      if (!link) return pause(20)
      await use?.(link, user)
      link.stream.destroy()
      await link.gone
    })
}

const listening = (link: BareLink, user: string) => link.reply(same({ event: 'RegistReq', userName: user, flags: 1 }))

/** Makes a message with a new id each time. */
function posts(instance: number, recipients: readonly string[], bytes = 0): Make {
  const body = bodyOf(new Uint8Array(bytes))
  return (seq) => {
    const messageId = new Uint8Array(16)
    new DataView(messageId.buffer).setUint32(0, seq)
    new DataView(messageId.buffer).setFloat64(8, Math.random())
    return bytesOf({ event: 'PostMsgReq', messages: [{ messageId, recipients, body }] }, seq, instance)
  }
}

const sixteen = (name: string) => Array.from({ length: 16 }, (_, at) => `${name}-${at}`)

/** Floods with `make` on each link of many users. */
const crowd = (make: (user: string) => Make, links = 5): Run =>
  byLinks(knownUsers, links, (link, signal, at) => link.flood(make(knownUsers[at % knownUsers.length] ?? ''), signal))

/** Runs ninety listeners, and a link that runs `use`. Needs a server without users. */
const amongListeners = (use: (link: BareLink, signal: AbortSignal) => Promise<void>): Run =>
  byLinks([...Array.from({ length: 90 }, (_, at) => `listener-${at}`), mallory], 1, async (link, signal, at) => {
    if (at === 90) return use(link, signal)
    await listening(link, `listener-${at}`)
    await link.gone
  })

/** Frames that need no reply and get none, or one that is not counted. */
const unheard = (bytes: Buffer): Run =>
  byLinks([mallory], 1, async (link, signal) => {
    const many = Buffer.concat(Array.from({ length: 500 }, () => bytes))
    while (!link.over && !signal.aborted) {
      if (!link.stream.write(many)) await Promise.race([once(link.stream, 'drain').catch(() => {}), link.gone])
      else await pause(0)
    }
  })

const longName = `${'d'.repeat(50)}/`.repeat(20).slice(0, 1_019)

const cancel = (fileName: string): Make => same({ event: 'CancelFileReq', fileName })

/** Several users cause more log lines than one. */
const many = { bounds: { lines: linesOfMany } } as const

/** Attacks by unauthenticated clients. */
const ofStrangers: readonly Attack[] = [
  { name: '2,000 silent links', run: keepingOpen(2_000) },
  {
    name: '2,000 links of one user from four addresses',
    server: 'users',
    run: byLinks(['user-0'], 2_000, (link) => link.gone),
  },
  { ...many, name: '400 links that begin a chunk and do not complete it', server: 'users', run: begunChunks },
  { name: '400 links that send one byte per second', run: keepingOpen(400, byteBySecond) },
  { name: '20 links that announce 4 GiB, repeatedly', run: keepingOpen(20, announcing) },
  { name: 'a link that sends requests and never reads', run: neverReading },
  { name: 'a storm of HELLO_REQs with a bad name', run: failing(['..']) },
  { name: 'a storm of HELLO_REQs of four kilobytes', run: failing(['u'.repeat(1_900)], 't'.repeat(1_900)) },
  {
    name: 'a storm of wrong tokens for known names',
    server: 'users',
    run: failing(knownUsers, `osp_${'a'.repeat(43)}`),
  },
  {
    name: 'connections that are closed immediately',
    run: ({ port }, signal) =>
      again(50, signal, async (at) => {
        const link = await connection(port, 1 + (at % 4))
        link.stream.destroy()
        await link.gone
      }),
  },
  { name: 'messages of one user to 16 recipients each, until they are refused', run: fillingMailboxes },
  { name: 'programs of one user that supersede each other', server: 'users', run: superseding },
]

/** Attacks by one user with requests that are allowed. */
const ofOneUser: readonly Attack[] = [
  { ...users, name: 'PING_REQs of one link', run: flooding(same({ event: 'PingReq' }), 5_000) },
  {
    ...users,
    name: 'PING_REQs of twenty links',
    run: byLinks([mallory], 20, (link, signal) => link.flood(same({ event: 'PingReq' }), signal, 5_000)),
  },
  { ...users, name: 'LIST_REQs of one link', run: flooding(same({ event: 'ListReq' }), 5_000) },
  {
    ...users,
    name: 'a request that is repeated under one seq',
    run: unheard(bytesOf({ event: 'CancelFileReq', fileName: 'x' }, 2)),
  },
  {
    ...users,
    name: 'replies without a request',
    run: unheard(bytesOf({ event: 'DeliverMsgAck', mailboxSeq: 1, rejected: [] }, 9)),
  },
  {
    ...users,
    name: 'REGIST_REQs that change nothing',
    run: flooding(same({ event: 'RegistReq', userName: mallory, flags: 1 })),
  },
  {
    ...users,
    name: 'REGIST_REQs for another user',
    run: flooding(same({ event: 'RegistReq', userName: 'honest', flags: 1 })),
  },
  { ...users, name: 'registrations that alternate, of one link', run: flooding(alternating(mallory)) },
  { ...users, name: 'links that take a registration from each other', run: comingAndGoing([mallory], 10, listening) },
  { ...users, name: 'links that log in and disconnect', run: comingAndGoing([mallory], 50) },
  { ...users, name: 'STARTs of one name', run: flooding(same(start('same'))) },
  {
    ...users,
    name: 'STARTs of more names than are allowed',
    run: flooding((seq) => bytesOf(start(`name-${seq % 10_000}`), seq)),
  },
  { ...users, name: 'STARTs of a long bad name', run: flooding(same(start(`${longName}/..`))) },
  {
    ...users,
    name: 'CONTINUEs of one name',
    run: flooding(same({ ...start('same'), event: 'ContinuePostFileReq', progress: 0 })),
  },
  { ...users, name: 'CANCELs of a missing name', run: flooding(cancel('missing')) },
  {
    ...users,
    name: 'CANCELs of a missing name with a hundred folders',
    run: flooding(cancel('d/'.repeat(500).concat('d'))),
  },
  {
    ...users,
    name: 'STARTs and CANCELs in turn',
    run: flooding((seq) => (seq % 2 ? same(start('same')) : cancel('same'))(seq)),
  },
  { ...users, name: 'uploads that are paused and continued', run: uploading([mallory], 4, pausing) },
  { ...users, name: 'empty files, twenty links', run: uploading([mallory], 20, empty) },
  ...storedFileAttacks,
  { ...users, name: 'FILE_MD5s to no instance', run: flooding(same({ event: 'FileMd5Req', digest: ofNothing }, 199)) },
  {
    ...users,
    name: 'FILE_MD5s of a megabyte',
    run: flooding(same({ event: 'FileMd5Req', digest: new Uint8Array(1_000_000) }, 199)),
  },
  {
    ...users,
    name: 'chunks to no instance',
    run: flooding(same({ event: 'PostFileReq', progress: 0, content: [new Uint8Array(1)] }, 199), 5_000),
  },
  {
    ...users,
    name: 'empty chunks',
    run: toUpload((instance) => same({ event: 'PostFileReq', progress: 0, content: [] }, instance)),
  },
  {
    ...users,
    name: 'chunks at a wrong offset',
    run: toUpload((instance) =>
      same({ event: 'PostFileReq', progress: 9, content: [new Uint8Array(1_000)] }, instance),
    ),
  },
  { ...users, name: 'messages of a link that has not registered', run: flooding(posts(7, sixteen('user'))) },
  {
    ...users,
    name: 'messages to sixteen unknown users',
    run: registered((instance) => posts(instance, sixteen('unknown'))),
  },
  {
    ...users,
    name: 'messages to sixteen offline users',
    run: registered((instance) => posts(instance, sixteen('user').slice(1))),
  },
  {
    ...users,
    name: 'messages of 64 KiB to sixteen users',
    run: registered((instance) => posts(instance, sixteen('user').slice(1), 65_536)),
  },
  {
    ...users,
    name: 'one message, repeatedly',
    run: registered((instance) =>
      same(
        {
          event: 'PostMsgReq',
          messages: [{ messageId: new Uint8Array(16).fill(7), recipients: ['user-1'], body: new Uint8Array(10) }],
        },
        instance,
      ),
    ),
  },
  {
    name: 'registrations that alternate among ninety listeners',
    ...many,
    run: amongListeners((link, signal) => link.flood(alternating(mallory), signal)),
  },
  {
    name: 'LIST_REQs among ninety listeners',
    ...many,
    run: amongListeners((link, signal) => link.flood(same({ event: 'ListReq' }), signal, 5_000)),
  },
]

/** Attacks by many users together. */
const ofUsers: readonly Attack[] = [
  { ...users, ...many, name: 'STARTs while all instances are taken', run: startsWhileTaken },
  { ...users, ...many, name: 'PING_REQs of twenty users', run: crowd(() => same({ event: 'PingReq' })) },
  { ...users, ...many, name: 'registrations that alternate, of twenty users', run: crowd(alternating, 1) },
  { ...users, ...many, name: 'CANCELs of twenty users', run: crowd(() => cancel('missing')) },
  {
    ...users,
    ...many,
    name: 'STARTs and CANCELs of twenty users',
    run: crowd(() => (seq) => (seq % 2 ? same(start('same')) : cancel('same'))(seq)),
  },
  {
    ...users,
    name: 'CANCELs in deep folders by 190 links of one user',
    run: byLinks([mallory], 190, async (link, signal, at) => {
      const folder = 'd/'.repeat(31)
      // The folders must exist: the server looks at each folder in the path of a file.
      if (at === 0) await empty(link, `${folder}stored`)
      await link.flood(cancel(`${folder}${at}`), signal)
    }),
  },
  { ...users, ...many, name: 'empty files of twenty users', run: uploading(knownUsers, 2, empty) },
  {
    name: 'CANCELs of missing names by users with 2,000 unfinished uploads',
    server: 'keeping',
    ...many,
    run: floodingByKeepers((seq) => ({ event: 'CancelFileReq', fileName: `missing-${seq}` })),
  },
  {
    name: 'STARTs that a quota refuses, of users with many uploads',
    server: 'keeping',
    ...many,
    run: floodingByKeepers((seq) => start(`new-${seq % 5}`, 2 ** 33)),
  },
  {
    name: 'STARTs with the name of a full folder',
    server: 'keeping',
    run: flooding((seq) => bytesOf(start('folder'), seq)),
  },
]

export const attacks: readonly Attack[] = [...ofStrangers, ...ofOneUser, ...ofUsers]
