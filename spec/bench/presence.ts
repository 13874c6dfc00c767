/**
 * `npm run bench:presence`: cost of the presence list with many registered peers that only count frames: 10,000 over the memory
 * transport (server and peers in one process), 2,000 over TCP (the server in its own process); and `ospd serve` with 10,000
 * clients in two other processes, which arrive all at once, after a start and after `kill -9`, compared with a plain Node server
 * with as many; and the same over TLS with 2,000. Options: `--clients N`; `--only REGEX` (memory, tcp, arrival or tls); `--idle
 * SECONDS` before the second measurement of memory; `--profile DIRECTORY` for a CPU profile of each daemon.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { parseArgs } from 'node:util'
import { loopbackOnly } from '../../lib/adapters/auth/unverified.ts'
import { memory } from '../../lib/adapters/memory/memoryStorage.ts'
import { memoryTransport } from '../../lib/adapters/memory/memoryTransport.ts'
import { tcp } from '../../lib/adapters/net/tcp.ts'
import { tls } from '../../lib/adapters/net/tls.ts'
import { nodePlatform } from '../../lib/adapters/node/nodePlatform.ts'
import type { Limits } from '../../lib/limits.ts'
import type { Transport } from '../../lib/ports/socket.ts'
import { startServer } from '../../lib/server/server.ts'
import { BarePeer, registerMany } from '../support/barePeer.ts'
import type { ManyCommand, ManyReport } from '../support/manyClients.ts'
import type { Use } from '../support/measured.ts'
import { pathOf } from '../support/processes.ts'
import { programOf } from '../support/sources.ts'
import { watchedServer } from '../support/watchedServer.ts'

const { values: options } = parseArgs({
  options: {
    clients: { type: 'string', default: '10000' },
    only: { type: 'string', default: '.' },
    idle: { type: 'string', default: '0' },
    profile: { type: 'string' },
  },
})
const only = new RegExp(options.only, 'u')

const changes = 20
/** Visits to `ospd serve`, which take longer. */
const visitsMany = 6

function limitsFor(count: number): Partial<Limits> {
  return {
    clients: count + 10,
    links: count + 10,
    linksPerAddress: count + 10,
    hellosPerSecond: 1_000_000,
    keepAliveMs: 600_000,
  }
}

const median = (values: readonly number[]) => [...values].sort((a, b) => a - b)[values.length >> 1] ?? 0

/**
 * One client connects and disconnects repeatedly: measures the cost of each change per peer, and the time until it has
 * reached all.
 */
async function measure(name: string, to: Transport, count: number, usedBytes: () => Promise<number>): Promise<void> {
  const before = await usedBytes()
  const began = performance.now()
  const peers = await registerMany(to, count)
  const registeredMs = performance.now() - began
  const perPeer = ((await usedBytes()) - before) / count
  const reachedMs: number[] = []
  await settled(peers, count)
  const bytesBefore = peers.reduce((sum, { bytes }) => sum + bytes, 0)
  let version = count
  for (let change = 0; change < changes; change++) {
    // A change shortly after another one waits: for 50 ms, or 100 us for each client.
    await new Promise((resolve) => setTimeout(resolve, Math.max(100, count / 5)))
    const start = performance.now()
    const visitor = await BarePeer.register(to, 'visitor')
    await settled(peers, ++version)
    reachedMs.push(performance.now() - start)
    visitor.socket.destroy()
    await settled(peers, ++version)
  }
  const bytes = peers.reduce((sum, peer) => sum + peer.bytes, 0) - bytesBefore
  console.log(
    `${name}, ${count} peers: ${(bytes / count / changes / 2).toFixed(1)} bytes per change and peer; ` +
      `${(perPeer / 1024).toFixed(1)} KiB of memory per peer; registered in ${(registeredMs / 1000).toFixed(1)} s; ` +
      `a change has reached all after ${median(reachedMs).toFixed(0)} ms (median of ${changes}, at most ${Math.max(...reachedMs).toFixed(0)})`,
  )
  for (const peer of peers) peer.socket.destroy()
}

async function settled(peers: readonly BarePeer[], version: number): Promise<void> {
  await Promise.all(peers.map((peer) => peer.until(() => peer.version >= version)))
}

async function inMemory(count: number): Promise<void> {
  const transport = memoryTransport()
  const server = await startServer({
    platform: nodePlatform(),
    authenticator: loopbackOnly(),
    listen: transport,
    storage: memory(),
    limits: limitsFor(count),
  })
  await measure('memory socket (both ends)', transport, count, async () => {
    globalThis.gc?.()
    const { heapUsed, external } = process.memoryUsage()
    return heapUsed + external
  })
  await server.close()
}

async function overTcp(count: number): Promise<void> {
  await using server = await watchedServer(limitsFor(count), { peaks: false })
  await measure(
    'TCP (the server alone)',
    tcp({ port: server.port }),
    count,
    async () => (await server.report()).usedBytes,
  )
}

/** A server in a process of its own, which prints its port. It has the same port after a restart. */
class Daemon {
  readonly name: string
  readonly overTls: boolean
  readonly #program: string
  readonly #args: (port: number) => readonly string[]
  port = 0
  #child: ChildProcess | undefined

  constructor(name: string, overTls: boolean, program: string, args: (port: number) => readonly string[]) {
    this.name = overTls ? `${name} over TLS` : name
    this.overTls = overTls
    this.#program = program
    this.#args = args
  }

  async start(): Promise<void> {
    const profile = options.profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${options.profile}`]
    const execArgv = ['--expose-gc', '--import', pathOf(programOf('spec/support/measured.ts')), ...profile]
    const child = fork(pathOf(this.#program), this.#args(this.port), {
      execArgv,
      stdio: ['ignore', 'pipe', 'ignore', 'ipc'],
    })
    this.#child = child
    for await (const line of createInterface(child.stdout ?? process.stdin)) {
      if (!line.startsWith('{')) continue
      this.port = JSON.parse(line).port
      break
    }
  }

  /** Resolves with the memory and the CPU time of the daemon; without a collection of garbage if only the latter matters. */
  async use(what: 'all' | 'cpu'): Promise<Use> {
    const told = once(this.#child ?? process, 'message')
    this.#child?.send(what)
    return ((await told) as [Use])[0]
  }

  async kill(signal: NodeJS.Signals): Promise<void> {
    const child = this.#child
    if (!child || child.exitCode !== null || child.signalCode !== null) return
    const ended = once(child, 'exit')
    child.kill(signal)
    await ended
  }
}

/** The processes with the clients. */
class ManyClients {
  readonly #children = [1, 2].map(() => fork(pathOf(programOf('spec/support/manyClients.ts')), { execArgv: [] }))
  readonly count: number

  constructor(count: number) {
    this.count = count
  }

  connect({ port, overTls }: Daemon): void {
    const half = this.count / 2
    this.#tell((at) => ({ connect: { port, first: at * half, count: half, overTls } }))
  }

  async report(): Promise<ManyReport> {
    const told = this.#children.map((child) => once(child, 'message'))
    this.#tell(() => 'report')
    const reports = (await Promise.all(told)).map(([report]) => report as ManyReport)
    const sum = (count: (report: ManyReport) => number) => reports.reduce((total, report) => total + count(report), 0)
    const codes = new Set(reports.flatMap(({ refused }) => Object.keys(refused)))
    return {
      registered: sum(({ registered }) => registered),
      versions: [
        Math.min(...reports.map(({ versions: [least] }) => least)),
        Math.max(...reports.map(({ versions: [, most] }) => most)),
      ],
      handshakeTimeouts: sum(({ handshakeTimeouts }) => handshakeTimeouts),
      evicted: sum(({ evicted }) => evicted),
      refused: Object.fromEntries([...codes].map((code) => [code, sum(({ refused }) => refused[code] ?? 0)])),
      changes: sum(({ changes }) => changes),
      repeatedChanges: sum(({ repeatedChanges }) => repeatedChanges),
      lists: sum(({ lists }) => lists),
      bytes: sum(({ bytes }) => bytes),
    }
  }

  /** Resolves when all clients are registered and know the same version of the list. */
  async settled(): Promise<{ registeredMs: number; report: ManyReport }> {
    const began = performance.now()
    let registeredMs = Number.NaN
    for (;;) {
      const report = await this.report()
      if (report.registered === this.count && Number.isNaN(registeredMs)) registeredMs = performance.now() - began
      const [least, most] = report.versions
      if (report.registered === this.count && least === most) return { registeredMs, report }
      if (performance.now() - began > 300_000) throw new Error(`not settled: ${JSON.stringify(report)}`)
      await new Promise((resolve) => setTimeout(resolve, 250))
    }
  }

  /** Resolves when all clients know this version. */
  async reached(version: number): Promise<void> {
    const told = this.#children.map(async (child) => {
      for (;;) {
        const [report] = (await once(child, 'message')) as [ManyReport]
        if (report.reached === version) return
      }
    })
    this.#tell(() => ({ watch: version }))
    await Promise.all(told)
  }

  #tell(command: (at: number) => ManyCommand): void {
    for (const [at, child] of this.#children.entries()) child.send(command(at))
  }

  end(): void {
    for (const child of this.#children) child.kill()
  }
}

/** Prints what the arrival of all clients took. */
function printArrival(
  what: string,
  registeredMs: number,
  report: ManyReport,
  { cpuSeconds }: Use,
  count: number,
): void {
  const { handshakeTimeouts, evicted, refused, changes, repeatedChanges, lists, bytes } = report
  console.log(
    `${what}: ${count} clients registered after ${(registeredMs / 1000).toFixed(1)} s; ${cpuSeconds.toFixed(1)} CPU-s of the ` +
      `server; ${handshakeTimeouts} handshake time-outs, ${evicted} evicted, refused ${JSON.stringify(refused)}; ` +
      `${lists} lists, ${changes} changes, ${repeatedChanges} of them known already, ${(bytes / 2 ** 20).toFixed(0)} MiB`,
  )
}

/** The defaults of `ospd serve` apply, except for these numbers of clients. */
function flagsFor(count: number): string[] {
  const flags = {
    'max-clients': count + 10,
    'max-links': count + 10,
    'links-per-address': count,
    'pending-links': count,
    handshakes: count,
    'hellos-per-second': 2_000,
  }
  return Object.entries(flags).flatMap(([flag, value]) => [`--${flag}`, String(value)])
}

/** A server and the clients that are connected to it. */
interface Populated {
  readonly daemon: Daemon
  readonly clients: ManyClients
  /** The version of the list that all clients know. */
  version: number
  readonly reachedMs: number[]
  readonly cpuSeconds: number[]
}

/** All clients arrive at once, at ospd and at a plain server; then a visitor comes and goes, at each server by turns. */
async function arrival(count: number, overTls: boolean): Promise<void> {
  const data = mkdtempSync(join(tmpdir(), 'ospd-bench-'))
  const ospd = new Daemon('ospd', overTls, 'dist/bin/ospd.js', (port) => [
    ...['serve', '--port', String(port), '--data', data, '--json', ...(overTls ? ['--tls', 'auto'] : [])],
    ...flagsFor(count),
  ])
  const identity = overTls ? [join(data, 'tls')] : []
  const plain = new Daemon('plain Node', overTls, programOf('spec/bench/plainPresence.ts'), (port) => [
    ...[String(port), ...identity],
  ])
  const populated: Populated[] = []
  try {
    for (const daemon of [ospd, plain]) populated.push(await populate(daemon, count))
    for (let visit = 0; visit < visitsMany; visit++) for (const each of populated) await receiveVisit(each)
    for (const { daemon, reachedMs, cpuSeconds } of populated) {
      console.log(
        `${daemon.name}: a change has reached all after ${median(reachedMs).toFixed(0)} ms (median of ${visitsMany}, at most ` +
          `${Math.max(...reachedMs).toFixed(0)}), ${median(cpuSeconds).toFixed(3)} CPU-s of the server (at most ` +
          `${Math.max(...cpuSeconds).toFixed(3)})`,
      )
    }
    // Node writes a profile only at an orderly exit.
    await Promise.all([plain.kill('SIGTERM'), populated[1]?.clients.end()])
    await ospd.kill(options.profile === undefined ? 'SIGKILL' : 'SIGTERM')
    await restart(ospd, populated[0]?.clients, count)
  } finally {
    for (const { clients } of populated) clients.end()
    await Promise.all([ospd.kill('SIGKILL'), plain.kill('SIGKILL')])
    rmSync(data, { recursive: true, force: true })
  }
}

async function populate(daemon: Daemon, count: number): Promise<Populated> {
  const clients = new ManyClients(count)
  try {
    await daemon.start()
    const before = await daemon.use('all')
    clients.connect(daemon)
    const { registeredMs, report } = await clients.settled()
    const after = await daemon.use('all')
    printArrival(`${daemon.name}, cold start`, registeredMs, report, after, count)
    await new Promise((resolve) => setTimeout(resolve, Number(options.idle) * 1_000))
    const idle = await daemon.use('all')
    const each = (bytes: number) => `${(bytes / count / 1024).toFixed(1)} KiB`
    console.log(
      `${daemon.name}: memory per client: ${each(after.usedBytes - before.usedBytes)} used, ` +
        `${each(after.residentBytes - before.residentBytes)} resident, ${each(idle.residentBytes - before.residentBytes)} after ` +
        `${options.idle} s without a change`,
    )
    return { daemon, clients, version: report.versions[1], reachedMs: [], cpuSeconds: [] }
  } catch (error) {
    clients.end()
    throw error
  }
}

/** Lets a visitor come and go, and measures how its arrival reaches the clients. */
async function receiveVisit(to: Populated): Promise<void> {
  const { daemon, clients, reachedMs, cpuSeconds } = to
  // The server delays a change that soon follows another one.
  await new Promise((resolve) => setTimeout(resolve, 2_000))
  const start = performance.now()
  const before = await daemon.use('cpu')
  const came = clients.reached(++to.version)
  const { port, overTls } = daemon
  const visitor = await BarePeer.register(overTls ? tls({ port, trust() {} }) : tcp({ port }), 'visitor')
  await came
  reachedMs.push(performance.now() - start)
  cpuSeconds.push((await daemon.use('cpu')).cpuSeconds - before.cpuSeconds)
  const left = clients.reached(++to.version)
  visitor.socket.destroy()
  await left
}

async function restart(daemon: Daemon, clients: ManyClients | undefined, count: number): Promise<void> {
  if (!clients) return
  await daemon.start()
  const { registeredMs, report } = await clients.settled()
  // The kill ended every link.
  const own = { ...report, evicted: report.evicted - count }
  printArrival(`${daemon.name}, after kill -9`, registeredMs, own, await daemon.use('all'), count)
}

/** Throws if a process cannot open enough files: each client takes a descriptor of the daemon. Node raises the soft limit. */
function checkDescriptors(count: number): void {
  const most = Number(/^Max open files\s+\d+\s+(\d+)/mu.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1])
  if (most < count + 2_000) throw new Error(`raise the limit of open files first: ulimit -Hn ${count + 2_000}`)
}

const count = Number(options.clients)
if (only.test('memory')) await inMemory(count)
if (only.test('tcp')) await overTcp(Math.min(count, 2_000))
if (only.test('arrival')) {
  checkDescriptors(count)
  await arrival(count, false)
}
if (only.test('tls')) await arrival(Math.min(count, 2_000), true)
