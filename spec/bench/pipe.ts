/**
 * The best plain pipe of Node: file streams and sockets with buffers of 1 MiB at both ends; no digest, no flush, no protocol.
 * `pipe.ts receive DIRECTORY` sends its port by IPC; `pipe.ts send PORT AT_ONCE FILE...` sends the milliseconds of the transfer.
 */
import { createReadStream, createWriteStream } from 'node:fs'
import { type AddressInfo, connect, createServer, type NetConnectOpts } from 'node:net'
import { join } from 'node:path'

const [mode, ...rest] = process.argv.slice(2)
const highWaterMark = 1 << 20

async function receive(directory: string): Promise<number> {
  let files = 0
  const server = createServer({ highWaterMark, allowHalfOpen: true }, (socket) => {
    const target = createWriteStream(join(directory, `${files++}`), { highWaterMark })
    socket.pipe(target).on('close', () => socket.end('stored'))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return (server.address() as AddressInfo).port
}

function sendFile(port: number, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: '127.0.0.1', writableHighWaterMark: highWaterMark } as NetConnectOpts)
    socket.on('error', reject).on('data', () => {})
    socket.on('close', () => resolve())
    createReadStream(path, { highWaterMark }).pipe(socket)
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
