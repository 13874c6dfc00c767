/**
 * `npm run bench:attack [-- TEXT]`: measures the effect of each attack of `spec/support/attacks.ts` (or each whose name
 * contains TEXT) on an honest client of the built `ospd serve`, and on the memory and the log of the daemon. `SECONDS=`
 * sets the duration of each attack. Linux only. All attacks on one kind of server run one after another on the same
 * daemon. Each has four spans: before; the same attack against a second daemon of this kind, the twin, so that the machine is
 * equally busy; the attack; and after. The attackers run in a separate process. They and the second daemon have a lower
 * priority than the daemon and this process, so that they do not take their CPU time on two cores. Exits with 1 if a
 * bound is exceeded.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { cpus, getPriority, setPriority, tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { type Client, connect } from '../../lib/index.ts'
import { KiB } from '../../lib/limits.ts'
import { tcp, usersFile } from '../../lib/node.ts'
import { events } from '../../lib/wire/protocol.ts'
import { type Attack, usualBounds } from '../support/attack.ts'
import { knownUsers, type ServerKind, serverKinds } from '../support/attackedServers.ts'
import { attacks } from '../support/attacks.ts'
import { BareLink, same, type Target } from '../support/bareLink.ts'
import { memorySource, patterned } from '../support/memorySource.ts'
import { type Running, startNode } from '../support/processes.ts'

/** The experience of an honest client in one span of time. Times are in ms. */
interface Met {
  readonly pings: readonly number[]
  readonly uploads: readonly number[]
  readonly messages: readonly number[]
  /** From dialling to HELLO_ACK, including refusals and the waits that they require. */
  readonly logins: readonly number[]
  /** Descriptions of the failures. */
  readonly failures: readonly string[]
}

/** Users that an honest client needs. */
const honestUsers = ['honest', 'friend', 'visitor'] as const

/** A local address that no attacker uses. */
const from = 77

const pingEveryMs = 10
const pauseMs = 100
/** Time after which an upload, a message or a login counts as failed. */
const mostMs = 10_000

/**
 * Sends a ping every 10 ms, whether or not the previous one was answered. Meanwhile it uploads files of 1 KiB, sends
 * messages to a listening user, and lets another user log in, each repeatedly.
 */
class HonestClient implements AsyncDisposable {
  readonly #target: Target
  readonly #link: BareLink
  readonly #clients: readonly Client[]
  readonly #over = new AbortController()
  readonly #received = new Map<string, () => void>()
  #met = {
    pings: [] as number[],
    uploads: [] as number[],
    messages: [] as number[],
    logins: [] as number[],
    failures: [] as string[],
  }
  #going: Promise<unknown> = Promise.resolve()
  #count = 0

  private constructor(target: Target, link: BareLink, clients: readonly Client[]) {
    this.#target = target
    this.#link = link
    this.#clients = clients
  }

  static async begin(target: Target): Promise<HonestClient> {
    const link = await BareLink.letIn(target, 'honest', { from, session: 'ping' })
    if (!link) throw new Error('the server refused the honest client')
    const clients = await Promise.all(
      ['honest', 'friend'].map((user) => {
        const token = target.tokens[user]
        return connect(tcp({ port: target.port }), {
          user,
          ...(token !== undefined && { token: async () => token }),
        })
      }),
    )
    const client = new HonestClient(target, link, clients)
    client.#start()
    return client
  }

  /** Returns the results since the last call. */
  take(): Met {
    const met = this.#met
    this.#met = { pings: [], uploads: [], messages: [], logins: [], failures: [] }
    return met
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#over.abort()
    await this.#going
    this.#link.stream.destroy()
    await Promise.all(this.#clients.map((client) => client.close()))
  }

  #start(): void {
    const [honest, friend] = this.#clients
    if (!honest || !friend) return
    friend.receive((message) => this.#received.get(message.text())?.())
    const content = patterned(KiB)
    const upload = async () => {
      const { done: finished } = await honest.upload(memorySource(`${this.#count++ % 50}`, content))
      await finished
    }
    const send = async () => {
      const text = `message ${this.#count++}`
      const received = new Promise<void>((resolve) => this.#received.set(text, resolve))
      await honest.send(['friend'], text)
      await received
      this.#received.delete(text)
    }
    this.#going = Promise.all([
      this.#ping(),
      this.#again('upload', upload, (ms) => this.#met.uploads.push(ms)),
      this.#again('message', send, (ms) => this.#met.messages.push(ms)),
      this.#again(
        'login',
        () => this.#login(),
        (ms) => this.#met.logins.push(ms),
      ),
    ])
  }

  async #ping(): Promise<void> {
    const { signal } = this.#over
    const sent = new Map<number, number>()
    this.#link.took = ({ event, seq }) => {
      const began = sent.get(seq)
      if (event !== events.PingAck.number || began === undefined) return
      sent.delete(seq)
      this.#met.pings.push(performance.now() - began)
    }
    const ping = same({ event: 'PingReq' })
    while (!signal.aborted && !this.#link.over) {
      sent.set(this.#link.seq + 1, performance.now())
      this.#link.ask(ping)
      await pause(pingEveryMs)
    }
    if (!signal.aborted) this.#met.failures.push('the link of pings was closed')
  }

  async #again(what: string, once: () => Promise<void>, met: (ms: number) => void): Promise<void> {
    const { signal } = this.#over
    while (!signal.aborted) {
      const began = performance.now()
      const timeout = new AbortController()
      const late = pause(mostMs, undefined, { signal: timeout.signal }).then(
        () => this.#met.failures.push(`${what}: not done in ${mostMs / 1_000} s`),
        () => {},
      )
      const done = once().then(
        () => met(performance.now() - began),
        (error) => {
          this.#met.failures.push(`${what}: ${error instanceof Error ? error.message : error}`)
        },
      )
      await Promise.race([done, late])
      timeout.abort()
      await pause(pauseMs)
    }
  }

  /** Opens a new link of a user who has none. */
  async #login(): Promise<void> {
    const ended = performance.now() + mostMs
    while (performance.now() < ended) {
      const link = await BareLink.letIn(this.#target, 'visitor', { from, session: `${this.#count++}` })
      if (link) {
        link.stream.destroy()
        await once(link.stream, 'close').catch(() => {})
        return
      }
      await pause(500)
    }
    throw new Error('refused repeatedly')
  }
}

const attackMs = Number(process.env.SECONDS ?? 10) * 1_000
const quietMs = Math.max(2_000, attackMs / 2)
/** Difference in `nice` between the attackers and the other processes. */
const below = 10

type Kind = keyof typeof serverKinds

/** A running daemon. */
interface Daemon extends AsyncDisposable {
  readonly target: Target
  readonly running: Running
  /** Number of log lines so far that do not name an honest user. */
  readonly lines: () => number
}

async function daemon(kind: Kind, under: readonly string[] = []): Promise<Daemon> {
  const { users, flags, fill }: ServerKind = serverKinds[kind]
  const data = mkdtempSync(join(tmpdir(), 'ospd-attack-'))
  await fill?.(data)
  const tokens: Record<string, string> = {}
  const file = usersFile(data)
  if (users) for (const name of [...knownUsers, ...honestUsers]) tokens[name] = await file.add(name)
  const running = startNode('dist/bin/ospd.js', ['serve', '--port', '0', '--data', data, ...flags], { under })
  let lines = 0
  let rest = ''
  const honest = new RegExp(`\\b(?:${honestUsers.join('|')})\\b`, 'u')
  running.child.stderr?.on('data', (text: string) => {
    const whole = (rest + text).split('\n')
    rest = whole.pop() ?? ''
    lines += whole.filter((line) => !honest.test(line)).length
  })
  const [, port = ''] = await running.printed(/ready on [^:]+:(\d+)/u)
  return {
    target: { port: Number(port), tokens },
    running,
    lines: () => lines,
    async [Symbol.asyncDispose]() {
      await running.kill('SIGTERM')
      rmSync(data, { recursive: true, force: true })
    },
  }
}

/** Resident memory, in MiB. */
function resident({ running: { child } }: Daemon): number {
  const status = readFileSync(`/proc/${child.pid}/status`, 'utf8')
  return Number(/VmRSS:\s+(\d+) kB/u.exec(status)?.[1] ?? 0) / 1024
}

/** CPU time of a process in ms: the time on a CPU, and the time in which its main thread waited for one. */
function cpuOf({ pid }: ChildProcess): { readonly usedMs: number; readonly waitedMs: number } {
  const [, fields = ''] = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')
  const [user = 0, system = 0] = fields.split(' ').slice(11, 13).map(Number)
  const [, waitedNs = 0] = readFileSync(`/proc/${pid}/schedstat`, 'utf8').split(' ').map(Number)
  return { usedMs: 10 * (user + system), waitedMs: waitedNs / 1e6 }
}

/** Measures the CPU time of a process from now on; the returned function returns it in percent of a core. */
function watchCpu(child: ChildProcess): () => string {
  const from = cpuOf(child)
  const began = performance.now()
  return () => {
    const to = cpuOf(child)
    const part = (ms: number) => ((100 * ms) / (performance.now() - began)).toFixed(0)
    return `${part(to.usedMs - from.usedMs)} % (waited ${part(to.waitedMs - from.waitedMs)} %)`
  }
}

const at = (times: readonly number[], part: number) =>
  [...times].sort((a, b) => a - b)[Math.max(0, Math.ceil(part * times.length) - 1)] ?? Number.NaN

/** Attackers in a separate process. */
async function attackers(attack: Attack, target: Target): Promise<ChildProcess> {
  const child = fork(import.meta.filename, ['--attack', attack.name, JSON.stringify(target)], {
    execArgv: ['--import', 'tsx'],
  })
  if (child.pid !== undefined) setPriority(child.pid, Math.min(19, getPriority() + below))
  await once(child, 'message')
  return child
}

async function ended(child: ChildProcess): Promise<void> {
  const exit = once(child, 'exit')
  child.kill('SIGKILL')
  await exit
}

/** Attacks `target` for `attackMs`; resolves with the CPU time of the attackers. */
async function attacked(attack: Attack, target: Target): Promise<string> {
  const child = await attackers(attack, target)
  if (child.exitCode !== null) throw new Error(`the attackers of "${attack.name}" exited early`)
  const had = watchCpu(child)
  let answered = 0
  const began = performance.now()
  let last = began
  child.on('message', (count: number) => {
    answered = count
    last = performance.now()
  })
  await pause(attackMs)
  const perSecond = (1_000 * answered) / Math.max(1, last - began)
  const used = `${had()}, ${perSecond.toFixed(0)} answers/s`
  await ended(child)
  return used
}

interface Span {
  readonly name: string
  readonly met: Met
}

const line = ({ name, met: { pings, uploads, messages, logins } }: Span) => {
  const ms = (times: readonly number[], part: number) => at(times, part).toFixed(0).padStart(5)
  const others = Object.entries({ uploads, messages, logins }).map(
    ([what, times]) => `${String(times.length).padStart(4)} ${what} ${ms(times, 0.5)} / ${ms(times, 1)}`,
  )
  return `    ${name.padEnd(8)} ${ms(pings, 0.5)} / ${ms(pings, 0.99)} / ${ms(pings, 1)}  ${others.join('  ')}`
}

/** Runs one attack; returns the exceeded bounds. */
async function measure(attack: Attack, server: Daemon, twin: Daemon, honest: HonestClient): Promise<readonly string[]> {
  const bounds = { ...usualBounds, ...attack.bounds }
  const spans: Span[] = []
  const span = async <T>(name: string, run: () => Promise<T>): Promise<T> => {
    honest.take()
    const result = await run()
    spans.push({ name, met: honest.take() })
    return result
  }
  await span('before', () => pause(quietMs))
  await span('twin', () => attacked(attack, twin.target))
  const memory = resident(server)
  const lines = server.lines()
  const had = watchCpu(server.running.child)
  let most = memory
  const look = setInterval(() => {
    most = Math.max(most, resident(server))
  }, 100)
  const attackersCpu = await span('attack', () => attacked(attack, server.target))
  const serverCpu = had()
  const written = server.lines() - lines
  await span('after', () => pause(quietMs))
  clearInterval(look)
  const p99 = (name: string) => at(spans.find((one) => one.name === name)?.met.pings ?? [], 0.99)
  const usual = Math.max(p99('before'), p99('twin'))
  const broken: string[] = []
  for (const name of ['attack', 'after']) {
    const more = p99(name) - usual
    // Without any ping it is not a number.
    if (!(more <= bounds.pingMs)) broken.push(`pings ${name}: p99 +${more.toFixed(0)} ms, at most +${bounds.pingMs}`)
  }
  const growth = most - memory
  if (growth > bounds.memoryMiB) broken.push(`memory: +${growth.toFixed(0)} MiB, at most +${bounds.memoryMiB}`)
  // The spans of the server begin before or during the attack.
  const mostLines = bounds.lines * (1 + Math.ceil(attackMs / 10_000))
  if (written > mostLines) broken.push(`log: ${written} lines, at most ${mostLines}`)
  for (const { name, met } of spans) broken.push(...new Set(met.failures.map((failure) => `${name}: ${failure}`)))
  console.log(`${broken.length > 0 ? 'BROKEN' : 'ok    '} ${attack.name}`)
  for (const one of spans) console.log(line(one))
  console.log(
    `    pings +${(p99('attack') - usual).toFixed(0)} ms (at most +${bounds.pingMs}); ` +
      `memory ${memory.toFixed(0)} MiB, +${growth.toFixed(0)} (at most +${bounds.memoryMiB}); ` +
      `log ${written} lines (at most ${mostLines}); ` +
      `of a core: server ${serverCpu}, attackers ${attackersCpu}`,
  )
  for (const what of broken) console.log(`    BROKEN ${what}`)
  return broken
}

/** Runs attacks on one kind of server; returns the names of those that exceeded a bound. */
async function measureAll(kind: Kind, chosen: readonly Attack[]): Promise<readonly string[]> {
  if (chosen.length === 0) return []
  await using server = await daemon(kind)
  await using twin = await daemon(kind, ['nice', '-n', `${below}`])
  const failed: string[] = []
  await using honest = await HonestClient.begin(server.target)
  for (const attack of chosen) if ((await measure(attack, server, twin, honest)).length > 0) failed.push(attack.name)
  return failed
}

async function main(text: string): Promise<void> {
  const wanted = attacks.filter(({ name }) => name.includes(text))
  console.log(
    `${wanted.length} attacks of ${attackMs / 1_000} s each, on ${cpus().length} cores. Attackers are ${below} steps of nice ` +
      'below the server and its honest client.\n' +
      'twin: the same attack on another daemon, at the priority of the attackers. The bounds of pings apply to p99 during and\n' +
      'after the attack, minus the greater of p99 before it and p99 while the twin is attacked: the cost of the attack in the server.\n' +
      'waited: the time in which the main thread was ready to run and had no core. If it is more than a few percent for the server,\n' +
      'the machine is too busy for these measurements.\n' +
      'Columns: pings p50 / p99 / maximum; uploads, messages and logins of the honest client, p50 / maximum; all in ms.\n',
  )
  const failed: string[] = []
  for (const kind of Object.keys(serverKinds) as Kind[]) {
    failed.push(
      ...(await measureAll(
        kind,
        wanted.filter(({ server = 'open' }) => server === kind),
      )),
    )
  }
  console.log(failed.length > 0 ? `\n${failed.length} of ${wanted.length} broke a bound:` : '\nAll bounds were kept.')
  for (const name of failed) console.log(`  ${name}`)
  if (failed.length > 0) process.exitCode = 1
}

const [first = '', name, target] = process.argv.slice(2)
if (first === '--attack' && target !== undefined) {
  const attack = attacks.find((one) => one.name === name)
  process.send?.(0)
  setInterval(() => process.send?.(BareLink.answered), 500)
  await attack?.run(JSON.parse(target), new AbortController().signal)
} else await main(first)
