import assert from 'node:assert/strict'
import { Readable } from 'node:stream'
import { connect, createClient, serve } from '../lib/index.ts'
import { memory, memoryTransport } from '../lib/memory.ts'
import {
  askControl,
  certificateNames,
  disk,
  file,
  keptToken,
  knownServers,
  openTasks,
  ownIdentity,
  serveControl,
  spool,
  stateDirectory,
  taskControl,
  tcp,
  tls,
  usersFile,
} from '../lib/node.ts'
import { checkOptions, kinds, optional } from '../lib/options.ts'
import { memorySource } from './support/memorySource.ts'
import { spec } from './support/spec.ts'

type Call = (...args: never[]) => unknown

/** Checks that a call fails with `usage`, and with a message of this package that begins with `where`. */
async function refused(where: string, call: () => unknown, message = /./u): Promise<void> {
  await assert.rejects(
    async () => await call(),
    (error: unknown) => {
      const { code, message: text } = error as { code: string; message: string }
      assert.equal(code, 'usage', text)
      assert.ok(text.startsWith(`${where}: `), text)
      assert.match(text, message)
      assert.doesNotMatch(text, /Invalid input|expected|Cannot read|is not a function|ERR_/u)
      return true
    },
  )
}

const odd = [null, 5, Number.NaN, 'x', true, [], () => {}, new Map(), Symbol('s'), 1n]
const nameOf = (value: unknown) =>
  `${typeof value} ${String(typeof value === 'object' ? JSON.stringify(value) : String(value))}`

spec('invalid options', (it) => {
  const server = () => ({ listen: memoryTransport(), storage: memory() })
  const client = () => ({ user: 'alice' })
  const calls: readonly (readonly [where: string, call: Call, good: object | undefined, wrong: object])[] = [
    [
      'serve',
      serve,
      server(),
      {
        listen: [undefined, ...odd.filter((value) => value !== 5 && value !== 'x'), {}],
        storage: [undefined, ...odd.filter((value) => value !== 'x'), {}],
        authenticator: [...odd, {}],
        allowPlaintext: [null, 'yes', 0],
        limits: [null, 5, 'x'],
        onConflict: [null, 'keep', 5],
        log: [null, 5, {}],
        platform: [...odd, {}, { clock: {} }],
        signal: [...odd, {}],
      },
    ],
    [
      'createClient',
      (options: never) => createClient(memoryTransport(), options),
      client(),
      {
        user: [undefined, null, 5, {}],
        token: [null, 'secret'],
        retryForMs: [null, '5', Number.NaN, -1, 1n],
        state: [...odd, './state', {}, { receipts: {} }],
        uploadsAtOnce: [0, 1.5, '2', Number.NaN, Number.POSITIVE_INFINITY],
        limitRate: [0, -1, '2M', Number.NaN],
        platform: [...odd, {}],
        signal: [...odd, {}],
      },
    ],
    ['connect', (options: never) => connect(memoryTransport(), options), client(), { retryForMs: [Number.NaN] }],
    ['tcp', tcp, { port: 1 }, { port: [undefined, null, '80', Number.NaN, -1, 65_536, 1.5], host: [null, 5, {}] }],
    ['tls', tls, { port: 1 }, { port: [undefined, '80'], host: [5], cert: [null, 5, '', {}], trust: [true] }],
    [
      'memory',
      memory,
      {},
      {
        capacityBytes: [null, 'x', Number.NaN, -1],
        segmentBytes: [0, '1'],
        operationMs: [-1, Number.POSITIVE_INFINITY],
      },
    ],
  ]
  for (const [where, call, good, wrong] of calls) {
    it(`of ${where} are named, with the permitted values`, async () => {
      const run = call as (options: unknown) => unknown
      for (const value of [undefined, ...odd]) {
        if (where === 'memory' && (value === undefined || typeof value === 'object')) continue
        await refused(where, () => run(value))
      }
      for (const [name, values] of Object.entries(wrong)) {
        for (const value of values as unknown[]) {
          await refused(
            where,
            () => run({ ...good, [name]: value }),
            new RegExp(`the option ${name} must be .*, not `, 'u'),
          )
        }
      }
      await refused(where, () => run({ ...good, colour: 1 }), /there is no option colour; the options are /u)
    })
  }

  it('of a server are reported only up to the first missing one', () =>
    refused(
      'serve',
      () => serve({} as never),
      /the option listen must be a port, a URL .*, or a transport, such as tcp\(\{ port \}\), not undefined$/u,
    ))

  it('that are unknown are reported, with the most similar name', async () => {
    const none = memoryTransport()
    const wrong: readonly (readonly [string, () => unknown, RegExp])[] = [
      ['serve', () => serve({ listen: none, stroage: './data' } as never), /storage must be/u],
      ['serve', () => serve({ ...server(), onconflict: 'rename' } as never), /option onconflict; did you mean onConf/u],
      [
        'connect',
        () => connect(none, { ...client(), retryForms: 5 } as never),
        /retryForms; did you mean retryForMs\?$/u,
      ],
      ['createClient', () => createClient(none, { ...client(), insecure: true } as never), /; the options are user, /u],
      [
        'files.list',
        () =>
          createClient(none, client())
            .files.list({ prefx: 'a' } as never)
            .next(),
        /mean prefix\?$/u,
      ],
    ]
    for (const [where, call, message] of wrong) await refused(where, call, message)
    await assert.rejects(serve({ ...server(), limits: { link: 5 } as never }), { message: /mean limits\.links\?$/u })
  })

  it('do not include undefined ones, which get their defaults', () => {
    checkOptions('f', { a: optional(kinds.count) }, { a: undefined })
    tcp({ port: 1, host: undefined as never })
  })
})

spec('invalid arguments', (it) => {
  const paths: Record<string, Call> = {
    disk,
    stateDirectory,
    usersFile,
    keptToken,
    ownIdentity,
    knownServers,
    taskControl,
    serveControl,
    askControl,
    spool,
    file,
  }
  for (const [where, call] of Object.entries(paths)) {
    it(`of ${where} are named`, async () => {
      for (const value of [undefined, null, 5, '', {}, [], Number.NaN])
        await refused(where, () => (call as (path: unknown) => unknown)(value))
    })
  }

  it('after the first one are named as well', async () => {
    await refused('disk', () => disk('x', { segmentBytes: Number.NaN }), /the option segmentBytes must be/u)
    await refused('disk', () => disk('x', null as never))
    await refused('file', () => file('x', { name: 5 as never }), /the option name must be a string, not 5/u)
    await refused('file', () => file(new URL('http://x/y') as never), /a file: URL/u)
    await refused('usersFile', () => usersFile('x', {} as never))
    await refused('certificateNames', () => certificateNames({} as never))
    await refused(
      'knownServers',
      () => knownServers('x', { pinned: 5 as never }),
      /the option pinned must be a function/u,
    )
    await refused('openTasks', () => openTasks(undefined as never, 'x'))
    await refused(
      'taskControl',
      () => taskControl('x', { client: 5 as never }),
      /the option client must be a function/u,
    )
    await refused('spool', () => spool('x', undefined as never, 'a'), /the stream must be a stream of bytes/u)
  })
})

spec('a client rejects', (it) => {
  const client = createClient(memoryTransport(), { user: 'alice' })
  const upload = client.upload.bind(client) as (source: unknown, options?: unknown) => Promise<unknown>

  const sources: readonly (readonly [what: string, value: unknown, message: RegExp])[] = [
    ['an empty path', '', /must be a path, a file: URL, a Blob, bytes, a stream of bytes, or a source, .*, not ""$/u],
    ['another URL', new URL('https://host/a'), /class URL; download it, and pass the body of the response$/u],
    ['a response', new Response('x'), /class Response; pass its body$/u],
    ['several paths', ['a', 'b'], /not an array; call upload for each of them$/u],
    ...[undefined, ...odd.filter((value) => value !== 'x'), { open: 5 }, { open() {} }].map(
      (value) => [nameOf(value), value, /such as file\(path\), not /u] as const,
    ),
  ]
  for (const [what, value, message] of sources) {
    it(`as a source ${what}`, () => refused('client.upload', () => upload(value), message))
  }

  const unnamed: readonly (readonly [what: string, value: unknown])[] = [
    ['a Buffer', Buffer.from('x')],
    ['a Readable', Readable.from(['x'])],
    ['a stream of the web', new Blob(['x']).stream()],
    ['a Blob', new Blob(['x'])],
    ['a generator', (async function* () {})()],
  ]
  for (const [what, value] of unnamed) {
    it(`${what} without a name`, () =>
      refused('client.upload', () => upload(value), /: the option name is required for an object/u))
  }

  it('invalid options of a source', async () => {
    for (const source of [memorySource('a', new Uint8Array()), Buffer.from('x'), './a', Readable.from(['x'])]) {
      for (const value of [null, 5, 'x', { name: 5 }, { digest: 'sha1' }, { nmae: 'b' }, { name: 'a', signal: 5 }])
        await refused('client.upload', () => upload(source, value))
    }
  })

  it('invalid arguments of a message', async () => {
    const send = client.send.bind(client) as (...args: unknown[]) => Promise<unknown>
    for (const to of [undefined, 'bob', [], [5]])
      await refused('client.send', () => send(to, 'x'), /the recipients must be/u)
    for (const content of [undefined, 5, {}])
      await refused('client.send', () => send(['bob'], content), /the content must be/u)
    for (const options of [
      null,
      5,
      { id: 'x' },
      { id: new Uint8Array(16) },
      { inReplyTo: '00' },
      { signal: 5 },
      { colour: 1 },
    ])
      await refused('client.send', () => send(['bob'], 'x', options))
    await refused('client.receive', () => client.receive(5 as never))
    for (const options of [null, { concurrency: 0 }, { concurrency: 257 }, { tries: 0.5 }, { ack: 'manual' }])
      await refused('client.receive', () => client.receive(() => {}, options as never))
    for (const options of [{ ack: true }, { concurrency: 2 }, { tries: 'x' }])
      await refused('client.messages', () => client.messages(options as never))
  })

  it('invalid ids of uploads', async () => {
    for (const name of ['pause', 'resume', 'cancel', 'restore'] as const) {
      for (const ids of [5, 'x', ['1'], [Number.NaN], [1.5], null, ...(name === 'cancel' ? [undefined] : [])])
        await refused(`uploads.${name}`, () => (client.uploads[name] as (ids: unknown) => unknown)(ids))
    }
  })
})
