/**
 * The best plain pipe of Node: file streams and sockets with buffers of 1 MiB at both ends; no flush, no protocol. WORK is `plain`,
 * `sha256` (both ends digest) or `sha256-tls`. `pipe.ts receive WORK DIRECTORY` sends its port by IPC; `pipe.ts send WORK PORT
 * AT_ONCE FILE...` sends the milliseconds of the transfer.
 */
import { createHash } from 'node:crypto'
import { createReadStream, createWriteStream } from 'node:fs'
import { type AddressInfo, connect, createServer, type NetConnectOpts, type Socket } from 'node:net'
import { join } from 'node:path'
import { Transform } from 'node:stream'
import { type ConnectionOptions, connect as connectTls, createServer as createTlsServer } from 'node:tls'
import { selfSigned } from '../support/selfSigned.ts'

const [mode, work = '', ...rest] = process.argv.slice(2)
const isSecure = work === 'sha256-tls'
const highWaterMark = 1 << 20

/** Passes the bytes on, and digests them unless the work is plain. */
function digesting(): Transform {
  const digest = createHash('sha256')
  return new Transform({
    highWaterMark,
    transform(bytes, _encoding, done) {
      digest.update(bytes)
      done(null, bytes)
    },
  })
}

async function receive(directory: string): Promise<number> {
  let files = 0
  const store = (socket: Socket) => {
    const target = createWriteStream(join(directory, `${files++}`), { highWaterMark })
    const bytes = work === 'plain' ? socket : socket.pipe(digesting())
    bytes.pipe(target).on('close', () => socket.end('stored'))
  }
  const options = { highWaterMark, allowHalfOpen: true }
  const server = isSecure ? createTlsServer({ ...options, ...selfSigned() }, store) : createServer(options, store)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return (server.address() as AddressInfo).port
}

function sendFile(port: number, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const to = { port, host: '127.0.0.1', writableHighWaterMark: highWaterMark, rejectUnauthorized: false }
    const socket = isSecure
      ? connectTls({ ...to, allowHalfOpen: true } as ConnectionOptions)
      : connect(to as NetConnectOpts)
    socket.on('error', reject).on('data', () => {})
    socket.on('close', () => resolve())
    const bytes = createReadStream(path, { highWaterMark })
    if (work === 'plain') bytes.pipe(socket)
    else bytes.pipe(digesting()).pipe(socket)
  })
}

async function send([port = '', atOnce = '', ...paths]: readonly string[]): Promise<number> {
  const began = performance.now()
  const waiting = [...paths]
  const sender = async () => {
    for (let path = waiting.shift(); path !== undefined; path = waiting.shift()) await sendFile(Number(port), path)
  }
  await Promise.all(Array.from({ length: Number(atOnce) }, sender))
  return performance.now() - began
}

if (mode === 'receive') {
  process.send?.(await receive(rest[0] ?? ''))
  process.on('disconnect', () => process.exit())
} else {
  process.send?.(await send(rest))
  process.disconnect?.()
}
