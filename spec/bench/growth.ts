/**
 * `npm run bench:growth -- [--out DIRECTORY] [--rounds N] [--only REGEX]`: how cost grows with the number of uploads, the size of
 * a file, the round-trip time, the number of clients online and the number of files that a server has stored. Prints the figures,
 * and draws a chart of each into DIRECTORY.
 */
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer, connect as dial, type Socket } from 'node:net'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { connect } from 'ospd'
import { tcp } from 'ospd/node'
import { KiB, MiB } from '../../lib/limits.ts'
import { registerMany } from '../support/barePeer.ts'
import { type Running, startNode } from '../support/processes.ts'
import { chart, type Series } from './chart.ts'
import { contest, cpuSeconds, type Summary } from './contest.ts'
import { type Load, type OspdServer, UploadField } from './uploadContest.ts'

// With this variable, Node reads certificates at the start of each process, which takes 30 ms.
delete process.env.NODE_EXTRA_CA_CERTS

const { values: options } = parseArgs({
  options: {
    out: { type: 'string' },
    rounds: { type: 'string', default: '3' },
    only: { type: 'string', default: '.' },
  },
})
const only = new RegExp(options.only, 'u')
const GiB = 1024 * MiB
const base = mkdtempSync('/dev/shm/ospd-bench-')

interface Step {
  readonly at: number
  readonly load: Load
  readonly flags?: readonly string[]
}

const load = (count: number, bytes: number): Load => ({ name: '', count, bytes, atOnce: 1, unit: 'MiB/s' })

/** Uploads of each step with osp and rsync, as whole commands. */
async function uploads(
  name: string,
  x: string,
  steps: readonly Step[],
  labelOf: (at: number) => string,
): Promise<void> {
  if (!only.test(name)) return
  const lines = new Map<string, [number, number][]>()
  for (const { at, load, flags = [] } of steps) {
    await using field = new UploadField(join(base, 'uploads'), undefined)
    const paths = field.make(load)
    const server = await field.ospd(false, ['--uploads-per-link', '200', '--uploads-per-user', '400'])
    const results = await contest(
      [
        field.send('osp send --digest xxh128', load, paths, server, ['--digest', 'xxh128', ...flags]),
        await field.rsync(load, paths, ['-aW', '--fsync']),
      ],
      Number(options.rounds),
    )
    print(`${name}, ${labelOf(at)}`, results)
    for (const { name: line, median } of results) lines.set(line, [...(lines.get(line) ?? []), [at, median]])
  }
  draw(name, { x, y: 'MiB/s', labelOf }, lines)
}

/** One upload of 64 MiB through a relay that delays each direction. */
async function roundTrips(name: string): Promise<void> {
  if (!only.test(name)) return
  const lines = new Map<string, [number, number][]>()
  for (const ms of [0, 10, 100]) {
    await using field = new UploadField(join(base, 'uploads'), undefined)
    const one = load(1, 64 * MiB)
    const paths = field.make(one)
    const server = await field.ospd()
    await using relay = await delayed(server.port, ms / 2)
    const far: OspdServer = { ...server, port: relay.port }
    const results = await contest([field.send('osp send', one, paths, far, [])], Number(options.rounds))
    print(`${name}, ${ms} ms`, results)
    for (const { name: line, median } of results) lines.set(line, [...(lines.get(line) ?? []), [ms + 1, median]])
  }
  draw(name, { x: 'round-trip time, ms', y: 'MiB/s', labelOf: (at) => `${at - 1}` }, lines)
}

/** CPU time of the server for messages between two users while others are online. A rate would depend more on the machine. */
async function clients(name: string): Promise<void> {
  if (!only.test(name)) return
  const points: [number, number][] = []
  for (const online of [10, 100, 1_000, 10_000]) {
    const data = mkdtempSync(join(base, 'messages-'))
    const most = `${online + 100}`
    const many = [
      '--max-clients',
      most,
      '--max-links',
      most,
      '--links-per-address',
      most,
      '--hellos-per-second',
      '100000',
    ]
    const server = startNode('dist/bin/ospd.js', ['serve', '--port', '0', '--data', data, '--quiet', ...many])
    const [, port] = await server.printed(/ready on [^:]+:(\d+)/u)
    const to = tcp({ port: Number(port) })
    const others = await registerMany(to, online)
    const [sender, receiver] = [await connect(to, { user: 'sender' }), await connect(to, { user: 'receiver' })]
    // V8 has not optimized the code of a new server yet.
    await flood(sender, receiver)
    const run = async () => {
      const before = cpuSeconds(server.child.pid ?? 0)
      const count = await flood(sender, receiver)
      return { value: ((cpuSeconds(server.child.pid ?? 0) - before) * 1e6) / count }
    }
    const results = await contest([{ name: 'CPU µs of a message', run }], Number(options.rounds))
    print(`${name}, ${online}`, results)
    if (results[0]) points.push([online, results[0].median])
    await Promise.all([sender.close(), receiver.close()])
    for (const { socket } of others) socket.destroy()
    await server.kill('SIGTERM')
  }
  draw(name, { x: 'clients online', y: 'CPU µs of the server per message' }, new Map([['1:1, 100 unanswered', points]]))
}

/** CPU time of servers for small files, after they have stored others. */
async function storedFiles(name: string): Promise<void> {
  if (!only.test(name)) return
  const together = 10_000
  const source = join(base, 'source')
  mkdirSync(source)
  const contents = Array.from({ length: together }, (_, at) => `${at}`.padEnd(KiB))
  contents.forEach((content, at) => {
    writeFileSync(join(source, `${at}.txt`), content)
  })
  const servers: { readonly stored: number; readonly server: Running; send(): Promise<number> }[] = []
  for (const stored of [0, 100_000, 300_000]) {
    const data = mkdtempSync(join(base, 'stored-'))
    const server = startNode('dist/bin/ospd.js', ['serve', '--port', '0', '--data', data, '--quiet'])
    const [, port] = await server.printed(/ready on [^:]+:(\d+)/u)
    let sets = 0
    const send = async () => {
      // Each set of files gets names of its own.
      const directory = join(base, `set${stored}-${sets++}`)
      renameSync(source, directory)
      const before = cpuSeconds(server.child.pid ?? 0)
      const state = `${directory}-state`
      const flags = ['-r', '--digest', 'xxh128', '--server', `127.0.0.1:${port}`, '--state', state, '--quiet']
      const { code } = await startNode('dist/bin/osp.js', ['send', ...flags, directory]).ended
      renameSync(directory, source)
      rmSync(state, { recursive: true, force: true })
      if (code !== 0) throw new Error(`osp send ended with ${code}`)
      return ((cpuSeconds(server.child.pid ?? 0) - before) * 1e6) / together
    }
    // V8 has not optimized the code of a new server yet.
    for (let left = Math.max(stored, 2 * together); left > 0; left -= together) await send()
    servers.push({ stored, server, send })
  }
  const contenders = servers.map(({ stored, send }) => {
    return { name: `${stored}`, run: async () => ({ value: await send() }) }
  })
  const results = await contest(contenders, Number(options.rounds))
  print(`${name}, CPU µs of a file`, results)
  for (const { stored, server } of servers) {
    console.log(
      `${name}: ${stored}: ${statusOf(server, 'VmHWM')} MiB at most, ${statusOf(server, 'RssAnon')} MiB of anonymous memory`,
    )
    await server.kill('SIGTERM')
  }
}

/** Returns a size in the status of a process, in MiB. */
function statusOf({ child }: Running, field: string): string {
  const status = readFileSync(`/proc/${child.pid}/status`, 'utf8')
  return (Number(new RegExp(`${field}:\\s+(\\d+) kB`, 'u').exec(status)?.[1] ?? 0) / 1024).toFixed(0)
}

type Sender = Awaited<ReturnType<typeof connect>>

/** Sends messages of 100 bytes, 100 at a time. Resolves with their number when all have been received. */
async function flood(sender: Sender, receiver: Sender): Promise<number> {
  const count = 20_000
  let left = count
  let receiving: AsyncDisposable | undefined
  const all = new Promise<void>((resolve) => {
    receiving = receiver.receive(() => {
      if (--left === 0) resolve()
    })
  })
  let sent = 0
  const worker = async () => {
    while (sent++ < count) await sender.send(['receiver'], 'x'.repeat(100))
  }
  await Promise.all([...Array.from({ length: 100 }, worker), all])
  await receiving?.[Symbol.asyncDispose]()
  return count
}

/** Starts a relay to a port of this machine that delays each direction by `ms`. */
async function delayed(to: number, ms: number) {
  const pass = (from: Socket, into: Socket) => {
    from.on('data', (bytes) => setTimeout(() => into.write(bytes), ms))
    from.on('close', () => setTimeout(() => into.destroy(), ms))
    from.on('error', () => {})
  }
  const listener = createServer({ noDelay: true }, (client) => {
    const server = dial({ port: to, host: '127.0.0.1', noDelay: true })
    pass(client, server)
    pass(server, client)
  })
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve))
  return {
    port: (listener.address() as AddressInfo).port,
    [Symbol.asyncDispose]: async () => void listener.close(),
  }
}

function print(name: string, results: readonly Summary[]): void {
  for (const { name: line, median, min, max, rounds } of results) {
    console.log(`${name}: ${line}: ${median.toFixed(0)} (${min.toFixed(0)} to ${max.toFixed(0)}, ${rounds} rounds)`)
  }
}

function draw(
  name: string,
  axes: { x: string; y: string; labelOf?: (at: number) => string },
  lines: ReadonlyMap<string, readonly [number, number][]>,
): void {
  if (options.out === undefined) return
  mkdirSync(options.out, { recursive: true })
  const series: Series[] = Array.from(lines, ([line, points]) => ({ name: line, points }))
  writeFileSync(join(options.out, `${name.replaceAll(' ', '-')}.svg`), chart(series, { title: name, ...axes }))
}

const sizeLabel = (bytes: number) =>
  bytes >= GiB ? `${bytes / GiB} GiB` : bytes >= MiB ? `${bytes / MiB} MiB` : `${bytes / KiB} KiB`

try {
  mkdirSync(join(base, 'uploads'), { recursive: true })
  const many = [1, 10, 100, 200].map((count) => ({
    at: count,
    load: load(count, Math.floor((512 * MiB) / count)),
    flags: ['--jobs', `${count}`],
  }))
  await uploads('concurrent uploads', 'uploads at once, 512 MiB together', many, String)
  const sizes = [
    [2_000, KiB],
    [2_000, 16 * KiB],
    [1_000, 256 * KiB],
    [100, 4 * MiB],
    [8, 64 * MiB],
    [1, GiB],
    [1, 4 * GiB],
  ] as const
  const steps = sizes.map(([count, bytes]) => ({ at: bytes / KiB, load: load(count, bytes) }))
  await uploads('file size', 'size of a file', steps, (at) => sizeLabel(at * KiB))
  await roundTrips('round-trip time')
  await clients('clients online')
  await storedFiles('files stored before')
} finally {
  rmSync(base, { recursive: true, force: true })
}
