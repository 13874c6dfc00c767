import assert from 'node:assert/strict'
import { createHash, randomFillSync, randomInt } from 'node:crypto'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { MiB } from '../../lib/limits.ts'
import { type Running, startNode } from '../support/processes.ts'
import { spec } from '../support/spec.ts'

/** A TCP proxy on loopback that counts the bytes of clients, and whose target can change. */
interface CountingProxy extends AsyncDisposable {
  readonly port: number
  /** The port on loopback to which new links are connected. */
  target: number
  /** Bytes that clients have sent so far. */
  readonly sentBytes: number
  /** Resolves when clients have sent this many bytes in total. */
  reached(bytes: number): Promise<void>
}

async function proxy(): Promise<CountingProxy> {
  const open = new Set<Socket>()
  const waiting = new Set<() => void>()
  let sentBytes = 0
  const self = { target: 0 }

  const server = createServer((client) => {
    const upstream = connect({ port: self.target, host: '127.0.0.1' })
    for (const socket of [client, upstream]) {
      open.add(socket)
      socket.on('close', () => open.delete(socket))
    }
    client.on('error', () => upstream.destroy()).on('close', () => upstream.destroy())
    upstream.on('error', () => client.destroy()).on('close', () => client.destroy())
    client.on('data', (bytes) => {
      sentBytes += bytes.length
      for (const look of waiting) look()
    })
    client.pipe(upstream)
    upstream.pipe(client)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo

  return {
    port,
    get target() {
      return self.target
    },
    set target(port: number) {
      self.target = port
    },
    get sentBytes() {
      return sentBytes
    },
    reached: (bytes) =>
      new Promise((resolve) => {
        const look = () => {
          if (sentBytes < bytes) return
          waiting.delete(look)
          resolve()
        }
        waiting.add(look)
        look()
      }),
    async [Symbol.asyncDispose]() {
      for (const socket of open) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

const names = ['a.bin', 'b.bin', 'c.bin', '丁.bin', 'e 😀.bin']
const fileBytes = 64 * MiB
const allBytes = names.length * fileBytes

async function daemon(data: string, between: CountingProxy): Promise<Running> {
  const running = startNode('dist/bin/ospd.js', ['serve', '--port', '0', '--data', data])
  const [, port] = await running.printed(/ospd ready on 127\.0\.0\.1:(\d+)/u)
  between.target = Number(port)
  return running
}

const send = (paths: readonly string[], port: number, state: string) =>
  startNode('dist/bin/osp.js', [
    'send',
    '--server',
    `127.0.0.1:${port}`,
    '--user',
    'alice',
    '--state',
    state,
    '--limit-rate',
    '48M',
    ...paths,
  ])

const digestOf = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')

/** The processes to kill, in random order, each at a random number of sent bytes. */
function drawKills(): { victim: 'server' | 'client'; atBytes: number }[] {
  const victims: ('server' | 'client')[] = ['server', 'server', 'server', 'client', 'client']
  const share = allBytes / victims.length
  return victims
    .map((victim) => ({ victim, order: randomInt(1000) }))
    .sort((a, b) => a.order - b.order)
    .map(({ victim }, at) => ({ victim, atBytes: Math.floor(share * (at + 0.05 + randomInt(900) / 1000)) }))
}

spec('five files of 64 MiB at once', (it) => {
  it('are stored correctly although the server is killed three times and the client twice', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'ospd-kills-'))
    const data = join(directory, 'data')
    const kills = drawKills()
    const drawn = kills.map(({ victim, atBytes }) => `${victim} at ${(atBytes / MiB).toFixed(1)} MiB`).join(', ')
    await using between = await proxy()
    let server = await daemon(data, between)
    let client: Running | undefined
    try {
      const digests = new Map<string, string>()
      const paths = names.map((name) => join(directory, name))
      for (const path of paths) {
        const bytes = randomFillSync(new Uint8Array(fileBytes))
        digests.set(path, digestOf(bytes))
        await writeFile(path, bytes)
      }
      client = send(paths, between.port, join(directory, 'state'))
      for (const { victim, atBytes } of kills) {
        await Promise.race([between.reached(atBytes), client.ended])
        assert.equal(client.child.exitCode, null, `the client ended too early: ${client.stderr} (${drawn})`)
        if (victim === 'server') {
          await server.kill()
          server = await daemon(data, between)
        } else {
          await client.kill()
          client = send(paths, between.port, join(directory, 'state'))
        }
      }
      const { code } = await client.ended
      assert.equal(code, 0, `${client.stderr} (${drawn})`)
      for (const [at, path] of paths.entries()) {
        const stored = await readFile(join(data, 'files', 'alice', names[at] ?? ''))
        assert.equal(digestOf(stored), digests.get(path), `${path} (${drawn})`)
      }
      assert.deepEqual(await readdir(join(data, 'partial')), [], 'a partial file is left')
      const times = between.sentBytes / allBytes
      assert.ok(times < 1.5, `${times.toFixed(2)} times the files' size was sent (${drawn})`)
    } finally {
      await client?.kill()
      await server.kill()
      await rm(directory, { recursive: true })
    }
  })
})
