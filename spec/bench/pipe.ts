/**
 * The fastest pipes of Node without a protocol. WORK is `plain` (file streams and sockets with buffers of 1 MiB at both ends, no
 * flush) or a digest, with or without `-tls` (one file at a time; buffers of 1 MiB are used again, both ends digest, and the copy
 * is flushed and compared). `pipe.ts receive WORK DIRECTORY` sends its port by IPC; `pipe.ts send WORK PORT AT_ONCE FILE...`
 * sends the milliseconds of the transfer.
 */
import { createHash } from 'node:crypto'
import fs, { createReadStream, createWriteStream, openSync } from 'node:fs'
import { type AddressInfo, connect, createServer, type NetConnectOpts, type Socket } from 'node:net'
import { join } from 'node:path'
import {
  type ConnectionOptions,
  connect as connectTls,
  createServer as createTlsServer,
  type TLSSocket,
} from 'node:tls'
import { promisify } from 'node:util'
import { directSecureStream, directStream } from '../../lib/adapters/net/directSocket.ts'
import { loadXxh128 } from '../../lib/adapters/node/xxh128.ts'
import { MiB } from '../../lib/limits.ts'
import { selfSigned } from '../support/selfSigned.ts'

const [mode, work = '', ...rest] = process.argv.slice(2)
const isSecure = work.endsWith('-tls')
const highWaterMark = MiB
const buffers = 4
const xxh128 = await loadXxh128()
const makeDigest = () => (work.startsWith('xxh128') ? xxh128() : createHash('sha256'))
const hex = (digest: Uint8Array) => Buffer.from(digest).toString('hex')
const [read, write, datasync] = [promisify(fs.read), promisify(fs.write), promisify(fs.fdatasync)]

/** Stores the bytes that arrive on a connection, and answers with the digest. Reads the next buffer while one is written. */
function store(socket: Socket, path: string): void {
  const free: Buffer[] = Array.from({ length: buffers }, () => Buffer.allocUnsafeSlow(MiB))
  const take = () => free.pop() ?? Buffer.allocUnsafeSlow(MiB)
  let buffer = take()
  const direct = isSecure ? directSecureStream(socket as TLSSocket, buffer) : directStream(socket, buffer)
  if (!direct) throw new Error('the connection cannot be read into buffers')
  const { stream, use } = direct
  stream.allowHalfOpen = true
  const [digest, file] = [makeDigest(), openSync(path, 'w')]
  let [filled, offset, waiting] = [0, 0, 0]
  let writes = Promise.resolve()
  const put = () => {
    const [full, length, at] = [buffer, filled, offset]
    offset += length
    filled = 0
    waiting++
    buffer = take()
    writes = writes.then(async () => {
      await write(file, full, 0, length, at)
      free.push(full)
      if (waiting-- === buffers) stream.resume()
    })
    digest.update(full.subarray(0, length))
  }
  use({
    get target() {
      return buffer.subarray(filled)
    },
    received(_target, length) {
      filled += length
      if (filled === MiB) put()
      return waiting < buffers
    },
  })
  stream.on('end', async () => {
    put()
    await writes
    await datasync(file)
    stream.end(hex(digest.digest()))
  })
  stream.resume()
}

async function receive(directory: string): Promise<number> {
  let files = 0
  const accept = (socket: Socket) => {
    const path = join(directory, `${files++}`)
    if (work === 'plain')
      socket.pipe(createWriteStream(path, { highWaterMark })).on('close', () => socket.end('stored'))
    else store(socket, path)
  }
  const options = { highWaterMark, allowHalfOpen: true, pauseOnConnect: work !== 'plain' && !isSecure }
  const server = isSecure ? createTlsServer({ ...options, ...selfSigned() }, accept) : createServer(options, accept)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return (server.address() as AddressInfo).port
}

/** Reads the next buffer of a file while one is digested and sent. Returns the digest. */
async function sendDigested(socket: Socket, path: string): Promise<string> {
  const free: Buffer[] = Array.from({ length: buffers }, () => Buffer.allocUnsafeSlow(MiB))
  const [digest, file] = [makeDigest(), openSync(path, 'r')]
  let freed = () => {}
  const readNext = async () => {
    while (free.length === 0) await new Promise<void>((resolve) => (freed = resolve))
    const buffer = free.pop() as Buffer
    return { buffer, length: (await read(file, buffer, 0, MiB, null)).bytesRead }
  }
  for (let next = readNext(); ; ) {
    const { buffer, length } = await next
    if (length === 0) break
    next = readNext()
    digest.update(buffer.subarray(0, length))
    socket.write(buffer.subarray(0, length), () => {
      free.push(buffer)
      freed()
    })
  }
  socket.end()
  return hex(digest.digest())
}

async function sendFile(port: number, path: string): Promise<void> {
  const to = { port, host: '127.0.0.1', writableHighWaterMark: highWaterMark, rejectUnauthorized: false }
  const options = { ...to, allowHalfOpen: true }
  const socket = isSecure ? connectTls(options as ConnectionOptions) : connect(options as NetConnectOpts)
  let answer = ''
  const closed = new Promise((resolve, reject) => socket.on('close', resolve).on('error', reject))
  socket.on('data', (bytes) => {
    answer += bytes
  })
  socket.on('end', () => socket.end())
  if (work === 'plain') createReadStream(path, { highWaterMark }).pipe(socket)
  const digest = work === 'plain' ? 'stored' : await sendDigested(socket, path)
  await closed
  if (answer !== digest) throw new Error(`the copy of ${path} is different`)
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
