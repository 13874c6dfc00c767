/**
 * `plainPresence.ts PORT [DIRECTORY]`: does what `ospd serve` does for an idle client and for a change of the presence list, with
 * as little work as Node allows. It answers each request with a fixed frame, stores only the socket of each client, and writes
 * the same bytes directly to the handle of each socket, bypassing its stream. With DIRECTORY, which contains an identity, it uses
 * TLS and writes to each TLS stream. Prints its port.
 */
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { createServer as createTlsServer } from 'node:tls'
import { crc32 } from 'node:zlib'
import { contextOf } from '../../lib/adapters/net/tls/identity.ts'
import { ownIdentity } from '../../lib/adapters/net/tls/ownIdentity.ts'
import { encodeFrame } from '../../lib/wire/frame.ts'
import { encode, type WireMessage } from '../../lib/wire/message.ts'
import { apps, events, rosterChange, rosterKind, version } from '../../lib/wire/protocol.ts'

/** Minimum time between two broadcasts. */
const gatherMs = 1_000
const member = { change: rosterChange.here, node: 1, userName: 'client-1' }

const [port, directory] = process.argv.slice(2)
const clients = new Set<Socket>()
let listVersion = 0
let sentVersion = 0
let timer: NodeJS.Timeout | undefined

/** The handle of a socket. Not public in node:net; a short write to it ends at once. */
type Handle = { writeBuffer(request: object, bytes: Uint8Array): number }
// @ts-expect-error: not public either.
const { WriteWrap } = process.binding('stream_wrap')
const request: object = new WriteWrap()

function send(socket: Socket, bytes: Uint8Array): void {
  if (directory !== undefined) {
    socket.write(bytes)
    return
  }
  const { _handle: handle } = socket as unknown as { _handle: Handle | null }
  if (handle?.writeBuffer(request, bytes)) socket.destroy()
}

function frameOf(message: WireMessage, seq = 0): Uint8Array {
  const { number: event, app } = events[message.event]
  return Buffer.concat(
    encodeFrame({ version, flags: 0, event, seq, app: apps[app], instance: 0, payload: encode(message) }, crc32),
  )
}

function changed(): void {
  listVersion++
  if (!timer) broadcast()
}

function broadcast(): void {
  timer = undefined
  if (sentVersion === listVersion) return
  const members = Array.from({ length: listVersion - sentVersion }, () => member)
  const bytes = frameOf({ event: 'RegistListNtf', listVersion, kind: rosterKind.changes, members })
  sentVersion = listVersion
  timer = setTimeout(broadcast, gatherMs)
  for (const socket of clients) send(socket, bytes)
}

const helloAck = frameOf({
  event: 'HelloAck',
  version,
  node: 1,
  bootId: Buffer.alloc(16),
  maxFrame: 65_536,
  keepAlive: 30_000,
  maxUploads: 1,
  maxRecipients: 1,
  features: 0,
  messageIdFor: 0,
  maxPut: 0,
})

function serve(socket: Socket): void {
  socket.on('error', () => {})
  socket.on('close', () => clients.delete(socket) && changed())
  socket.on('data', (bytes) => {
    // Each client sends its next frame after the reply.
    const event = bytes.readUInt16BE(6)
    const seq = bytes.readUInt32BE(8)
    if (event === events.HelloReq.number) send(socket, helloAck)
    if (event === events.PingReq.number) send(socket, frameOf({ event: 'PingAck', listVersion }, seq))
    if (event !== events.RegistReq.number) return
    changed()
    send(socket, frameOf({ event: 'RegistAck', instance: 1, listVersion, deliveryWindow: 1 }, seq))
    send(socket, frameOf({ event: 'RegistListNtf', listVersion, kind: rosterKind.whole, members: [] }))
    clients.add(socket)
  })
}

const server =
  directory === undefined
    ? createServer({ noDelay: true }, serve)
    : createTlsServer({ ...contextOf(await ownIdentity(directory)), minVersion: 'TLSv1.3', noDelay: true }, serve)
server.listen({ port: Number(port), host: '127.0.0.1', backlog: 65_535 }, () => {
  console.log(JSON.stringify(server.address() as AddressInfo))
})
