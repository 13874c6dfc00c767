/**
 * `npm run bench`: upload throughput over loopback to a file system in memory, as a ratio to a plain `node:net` pipe in
 * the same run; and over TLS. Measured from adding the files until all are stored, flushed and acknowledged.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { randomFillSync } from 'node:crypto'
import { createReadStream, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect as dial, type NetConnectOpts } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect } from '../../lib/index.ts'
import { MiB } from '../../lib/limits.ts'
import { file, tcp, tls } from '../../lib/node.ts'

interface Load {
  readonly name: string
  readonly count: number
  readonly bytes: number
  readonly atOnce: number
}

const loads: readonly Load[] = [
  { name: '1 x 1 GiB', count: 1, bytes: 1024 * MiB, atOnce: 1 },
  { name: '5 x 200 MiB', count: 5, bytes: 200 * MiB, atOnce: 5 },
  { name: '200 x 1 MiB', count: 200, bytes: MiB, atOnce: 5 },
]
const digests = ['xxh128', 'sha256', 'md5'] as const
/** The row of SHA-256 over TLS. */
const overTls = 'tls'
const rounds = Number(process.env.ROUNDS ?? 5)

const base = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'ospd-bench-'))
const sources = join(base, 'sources')
const target = join(base, 'target')

function makeSources({ count, bytes }: Load): string[] {
  rmSync(sources, { recursive: true, force: true })
  mkdirSync(sources)
  const block = randomFillSync(new Uint8Array(Math.min(bytes, 16 * MiB)))
  return Array.from({ length: count }, (_, at) => {
    const path = join(sources, `${at}.bin`)
    for (let written = 0; written < bytes; written += block.length) {
      writeFileSync(path, block.subarray(0, Math.min(block.length, bytes - written)), { flag: 'a' })
    }
    return path
  })
}

/**
 * Memory that was returned to the host of the machine is slow to use again, so as much as a run needs is touched
 * before.
 */
function warm(bytes: number): void {
  const path = join(base, 'warm')
  const block = new Uint8Array(16 * MiB)
  for (let written = 0; written < bytes; written += block.length) writeFileSync(path, block, { flag: 'a' })
  rmSync(path)
}

async function receiver(kind: string): Promise<{ child: ChildProcess; port: number }> {
  rmSync(target, { recursive: true, force: true })
  mkdirSync(target)
  warm(1200 * MiB)
  const directory = kind === 'pipe' ? target : join(target, 'data')
  const child = fork(join(import.meta.dirname, 'receiver.ts'), [kind, directory], { execArgv: ['--import', 'tsx'] })
  const port = await new Promise<number>((resolve) => child.once('message', (told) => resolve(Number(told))))
  return { child, port }
}

async function ended(child: ChildProcess): Promise<void> {
  const gone = new Promise((resolve) => child.once('exit', resolve))
  child.disconnect()
  await gone
}

async function byPipe(paths: readonly string[], atOnce: number): Promise<number> {
  const { child, port } = await receiver('pipe')
  const left = [...paths]
  const one = (path: string) =>
    new Promise<void>((resolve, reject) => {
      const socket = dial({ port, host: '127.0.0.1', writableHighWaterMark: MiB } as NetConnectOpts)
      socket
        .on('error', reject)
        .on('data', () => {})
        .on('close', () => resolve())
      createReadStream(path, { highWaterMark: MiB }).pipe(socket)
    })
  const started = performance.now()
  await Promise.all(
    Array.from({ length: atOnce }, async () => {
      for (let path = left.shift(); path !== undefined; path = left.shift()) await one(path)
    }),
  )
  const ms = performance.now() - started
  await ended(child)
  return ms
}

async function byOspd(paths: readonly string[], digest: (typeof digests)[number], secure = false): Promise<number> {
  const { child, port } = await receiver(secure ? 'tls' : 'ospd')
  const to = secure ? tls({ port, trust: () => {} }) : tcp({ port })
  const client = await connect({ to, user: 'bench' })
  const started = performance.now()
  const uploads = await Promise.all(paths.map((path) => client.uploads.add(file(path), { digest })))
  await Promise.all(uploads.map(({ done: finished }) => finished))
  const ms = performance.now() - started
  await client.close()
  await ended(child)
  return ms
}

const median = (values: readonly number[]) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0

try {
  const chosen = process.argv[2]
  for (const load of loads.filter(({ name }) => !chosen || name.includes(chosen))) {
    const paths = makeSources(load)
    const mib = (load.count * load.bytes) / MiB
    const ms = new Map<string, number[]>(['pipe', ...digests, overTls].map((name) => [name, []]))
    for (let round = 0; round < rounds; round++) {
      ms.get('pipe')?.push(await byPipe(paths, load.atOnce))
      for (const digest of digests) ms.get(digest)?.push(await byOspd(paths, digest))
      ms.get(overTls)?.push(await byOspd(paths, 'sha256', true))
    }
    console.log(
      `\n${load.name}, ${rounds} rounds: median MiB/s, and the median of the ratios to the pipe of the same round`,
    )
    const pipes = ms.get('pipe') ?? []
    const plain = ms.get('sha256') ?? []
    const ofTcp = median((ms.get(overTls) ?? []).map((value, round) => (plain[round] ?? 0) / value))
    for (const [name, all] of ms) {
      const ratio = median(all.map((value, round) => (pipes[round] ?? 0) / value))
      console.log(
        `${name.padEnd(8)} ${(mib / (median(all) / 1000)).toFixed(0).padStart(6)} ${ratio.toFixed(2).padStart(6)}${name === overTls ? ` (${ofTcp.toFixed(2)} of sha256 over TCP)` : ''}`,
      )
    }
  }
} finally {
  rmSync(base, { recursive: true, force: true })
}
