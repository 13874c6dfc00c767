/**
 * `npm run bench:messages [-- DIRECTORY] [--uploads]`: durable messages per second through a daemon on this machine, with offline
 * recipients, for several numbers of unanswered sends, to 1 and to 16 recipients, and the rate of their delivery and
 * removal afterwards; compared with one fdatasync in the same directory. Then the latency from send to handler, alone
 * and during five uploads. During the uploads, phases with messages, with bare durable appends and with neither take turns, and
 * the speed of the uploads is measured in each. With --uploads only the measurement during uploads.
 */
import { constants, fdatasyncSync, mkdtempSync, openSync, readdirSync, rmSync, statSync, writeSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { type Client, connect } from 'ospd'
import { tcp } from 'ospd/node'
import { MiB } from '../../lib/limits.ts'
import { type Running, startNode } from '../support/processes.ts'

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: { uploads: { type: 'boolean', default: false } },
})
const [directory = tmpdir()] = positionals
const base = mkdtempSync(join(directory, 'ospd-messages-'))
const text = 'x'.repeat(100)
/** Fewer than a daemon registers by default. */
const mailboxes = 90

const at = (sorted: readonly number[], part: number) => sorted[Math.floor((sorted.length - 1) * part)] ?? 0
const perSecond = (count: number, ms: number) => `${Math.round(count / (ms / 1_000)).toLocaleString('en')}/s`

/** Runs `use` with a daemon on a new data directory. */
async function withDaemon<T>(use: (port: number) => Promise<T>): Promise<T> {
  const data = join(base, 'data')
  const server: Running = startNode('dist/bin/ospd.js', ['serve', '--port', '0', '--data', data, '--quiet'])
  try {
    const [, port] = await server.printed(/ready on [^:]+:(\d+)/u)
    return await use(Number(port))
  } finally {
    await server.kill('SIGTERM')
    rmSync(data, { recursive: true })
  }
}

/** Median milliseconds of writing 4 KiB and an fdatasync. */
function flushMs(): number {
  const file = openSync(join(base, 'flush'), 'w')
  const block = new Uint8Array(4_096)
  const times = Array.from({ length: 300 }, () => {
    const began = performance.now()
    writeSync(file, block)
    fdatasyncSync(file)
    return performance.now() - began
  })
  return at(
    times.sort((a, b) => a - b),
    0.5,
  )
}

/**
 * Sends `count` messages, this many unanswered, each to `recipients` of the mailboxes in turn. Returns the
 * milliseconds.
 */
async function sendAll(client: Client, count: number, unanswered: number, recipients: number): Promise<number> {
  let next = 0
  const began = performance.now()
  const worker = async () => {
    while (next < count) {
      const first = next++
      await client.send(
        Array.from({ length: recipients }, (_, to) => `box-${(first + to) % mailboxes}`),
        text,
      )
    }
  }
  await Promise.all(Array.from({ length: unanswered }, worker))
  return performance.now() - began
}

/** Empties every mailbox. Returns the milliseconds. */
async function drainAll(port: number, count: number): Promise<number> {
  const clients = await Promise.all(
    Array.from({ length: mailboxes }, (_, box) => connect(tcp({ port }), { user: `box-${box}` })),
  )
  let left = count
  const began = performance.now()
  await new Promise<void>((resolve) => {
    for (const client of clients) {
      client.receive(() => {
        if (--left === 0) resolve()
      })
    }
  })
  const ms = performance.now() - began
  await Promise.all(clients.map((client) => client.close()))
  return ms
}

async function throughput(count: number, unanswered: number, recipients: number): Promise<void> {
  await withDaemon(async (port) => {
    const client = await connect(tcp({ port }), { user: 'sender' })
    await sendAll(client, Math.min(count, 2_000), unanswered, recipients)
    const ms = await sendAll(client, count, unanswered, recipients)
    const flush = flushMs()
    await client.close()
    const all = (count + Math.min(count, 2_000)) * recipients
    const drainMs = await drainAll(port, all)
    console.log(
      `${String(unanswered).padStart(3)} unanswered, ${String(recipients).padStart(2)} recipients: ` +
        `${perSecond(count, ms)} stored (${((count * flush) / ms).toFixed(1)} messages in the time of one fdatasync, ` +
        `${flush.toFixed(2)} ms), then ${perSecond(all, drainMs)} delivered and removed`,
    )
  })
}

/** Milliseconds from send to handler of `count` messages, one after another. */
async function latencies(port: number, count: number): Promise<number[]> {
  const alice = await connect(tcp({ port }), { user: 'alice' })
  const bob = await connect(tcp({ port }), { user: 'bob' })
  const times: number[] = []
  let came: () => void = () => {}
  bob.receive(() => came())
  await bob.presence.ready()
  for (let n = 0; n < count; n++) {
    const began = performance.now()
    const handed = new Promise<void>((resolve) => {
      came = resolve
    })
    await Promise.all([handed.then(() => times.push(performance.now() - began)), alice.send(['bob'], text)])
    await pause(2)
  }
  await Promise.all([alice.close(), bob.close()])
  return times
}

/** Rounds of phases during the uploads, and the length of a phase without messages. The speed of a disk varies between them. */
const [rounds, phaseMs] = [12, 3_000]
const sumOf = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0)
const sorted = (times: readonly number[]) => times.toSorted((a, b) => a - b)

function show(name: string, times: readonly number[]): void {
  const [p50, p99, most] = [0.5, 0.99, 1].map((part) => at(sorted(times), part).toFixed(2))
  console.log(`send to handler, ${name}: p50 ${p50} ms, p99 ${p99} ms, at most ${most} ms (${times.length} messages)`)
}

/** Milliseconds of `count` durable appends of 4 KiB, one after another, with the pauses of `latencies`. */
async function appends(count: number): Promise<number[]> {
  const file = await open(join(base, 'appends'), constants.O_RDWR | constants.O_CREAT | constants.O_DSYNC)
  const block = new Uint8Array(4_096)
  const times: number[] = []
  for (let n = 0; n < count; n++) {
    const began = performance.now()
    await file.write(block, 0, block.length, n * block.length)
    times.push(performance.now() - began)
    await pause(2)
  }
  await file.close()
  return times
}

/** Starts to measure the bytes per second that uploads write; the returned function returns the result. */
function uploading(): () => number {
  const partial = join(base, 'data', 'partial')
  const written = () => readdirSync(partial).reduce((sum, name) => sum + statSync(join(partial, name)).size, 0)
  const [bytes, began] = [written(), performance.now()]
  return () => (written() - bytes) / ((performance.now() - began) / 1_000)
}

async function besideUploads(port: number): Promise<void> {
  const paths = Array.from({ length: 5 }, (_, file) => join(base, `${file}.bin`))
  for (const path of paths) {
    const handle = await open(path, 'w')
    await handle.truncate(8_192 * MiB)
    await handle.close()
  }
  const sending = startNode('dist/bin/osp.js', [
    'send',
    '--server',
    `127.0.0.1:${port}`,
    '--state',
    join(base, 'state'),
    '--digest',
    'xxh128',
    ...paths,
  ])
  await pause(500)
  const rates = { alone: [] as number[], messages: [] as number[], appends: [] as number[] }
  const [times, bare]: [number[], number[]] = [[], []]
  const during = async <T>(phase: keyof typeof rates, work: Promise<T>): Promise<T> => {
    const rate = uploading()
    const result = await work
    rates[phase].push(rate())
    return result
  }
  for (let round = 0; round < rounds; round++) {
    await during('alone', pause(phaseMs))
    times.push(...(await during('messages', latencies(port, 200))))
    bare.push(...(await during('appends', appends(200))))
  }
  await during('alone', pause(phaseMs))
  show(sending.child.exitCode === null ? 'during five uploads' : 'during five uploads that ended too early', times)
  const [p50, p99] = [0.5, 0.99].map((part) => at(sorted(bare), part).toFixed(2))
  console.log(`a bare durable append during the uploads: p50 ${p50} ms, p99 ${p99} ms`)
  const [alone, messages, appended] = [rates.alone, rates.messages, rates.appends].map((each) =>
    Math.round(at(sorted(each), 0.5) / MiB),
  )
  const kept = sorted(rates.messages.map((rate, round) => (2 * rate) / sumOf(rates.alone.slice(round, round + 2))))
  const [low, middle, high] = [0.25, 0.5, 0.75].map((part) => at(kept, part).toFixed(2))
  console.log(
    `the uploads: ${alone} MiB/s alone, ${messages} during messages, ${appended} during bare appends (medians); during ` +
      `messages ${middle} of the speed alone before and after (quartiles ${low} to ${high}, ${rounds} rounds)`,
  )
  await sending.kill()
}

try {
  for (const recipients of options.uploads ? [] : [1, 16]) {
    for (const unanswered of [1, 32, 100, 256]) {
      await throughput(unanswered === 1 ? 2_000 : 40_000 / (recipients === 1 ? 1 : 4), unanswered, recipients)
    }
  }
  await withDaemon(async (port) => {
    await latencies(port, 200)
    if (!options.uploads) show('alone', await latencies(port, 2_000))
    await besideUploads(port)
  })
} finally {
  rmSync(base, { recursive: true, force: true })
}
